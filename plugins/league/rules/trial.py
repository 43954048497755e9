"""A look at rules that a user has written: a few matches by chance, in which every answer is held to the contract."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Dict, Discrete, MultiDiscrete
from torch import Tensor

from framework.errors import UserError
from framework.randomness import seeded
from plugins.games.environments.games import Observation
from plugins.league.rules.contract import Rules

# The most moves that are looked at, on all boards together.
MOVES = 400
# The part of the boards that are played at once.
MOVING = 0.7
T = TypeVar("T")


class Trial:
    """Plays on the boards of some rules, and refuses what is not as the contract says."""

    def __init__(self, rules: Rules) -> None:
        self.rules, self.name = rules, type(rules).__name__

    def run(self) -> None:
        """Play until all matches have ended.

        Raises:
            UserError: names what the rules have answered, and what is expected.
        """
        rules, count = self.rules, self.rules.boards
        self.check_spaces()
        with seeded(0):
            self.asked("begin", rules.restart)
            going_on = torch.ones(count, dtype=torch.bool, device=rules.device)
            moves = torch.zeros(count, dtype=torch.long, device=rules.device)
            while bool(going_on.any()) and int(moves.sum()) < MOVES:
                # Some boards wait.
                which = going_on & (torch.rand(count).to(rules.device) < MOVING)
                moves += which
                going_on = going_on & ~self.move(going_on, which)
                if bool((going_on & (moves >= rules.longest)).any()):
                    late = f"a match that goes on after {rules.longest} moves"
                    raise self.refusal("play", late, "an end by then, as its longest says")

    def move(self, going_on: Tensor, which: Tensor) -> Tensor:
        """Play a move that is allowed on some of the boards; which matches ended with it."""
        rules, count = self.rules, self.rules.boards
        to_move = self.asked("to_move", lambda: rules.to_move)
        self.check("to_move", to_move, (2, count), torch.bool)
        if not torch.equal(to_move.any(0), going_on):
            found = f"{to_move.tolist()} where matches go on: {going_on.tolist()}"
            raise self.refusal(
                "to_move", found, "a player on each of these boards, and nobody elsewhere"
            )
        actions = []
        for player in (0, 1):
            view = torch.full((count,), player, device=rules.device)
            self.check_observation(self.asked("observe", partial(rules.observe, view)))
            mask = self.asked("mask", partial(rules.mask, view))
            self.check("mask", mask, (count, rules.choices), torch.bool)
            actions.append(self.chosen(mask, to_move[player]))
        gained, ended = self.of_two("play", lambda: rules.play(torch.stack(actions), which))
        self.check("play", gained, (count,), None)
        self.check("play", ended, (count,), torch.bool)
        if not bool(gained.isfinite().all()):
            raise self.refusal("play", f"gains {gained.tolist()}", "finite numbers")
        if bool(gained[~which].any()) or bool(ended[~which].any()):
            found = "a gain or an end on a board that was not to be played"
            raise self.refusal("play", found, "0 and false there")
        return ended

    def chosen(self, mask: Tensor, decides: Tensor) -> Tensor:
        """Any of the actions that are allowed, `[N, ...]`."""
        sizes = getattr(self.rules.action_space, "nvec", None)
        parts = [mask] if sizes is None else mask.split([int(n) for n in sizes], -1)
        if not bool(torch.stack([part.any(-1) for part in parts]).all(0)[decides].all()):
            raise self.refusal("mask", "no action for a player who is to move", "one at least")
        found = [
            torch.rand(part.shape).to(part.device).masked_fill(~part, -1).argmax(-1)
            for part in parts
        ]
        return found[0] if sizes is None else torch.stack(found, -1)

    # --- answers ------------------------------------------------------------------------------------------------------

    def check_spaces(self) -> None:
        rules = self.rules
        longest = getattr(rules, "longest", None)
        if not (isinstance(longest, int) and longest > 0):
            raise self.refusal(
                "longest", repr(longest), "the most moves of a match, a whole number from 1 on"
            )
        action: Any = getattr(rules, "action_space", None)
        seen: Any = getattr(rules, "observation_space", None)
        served = isinstance(action, Discrete | MultiDiscrete)
        if not served or numpy.ndim(action.start) > 1 or numpy.any(action.start):
            raise self.refusal(
                "action_space", repr(action), "Discrete or MultiDiscrete, whose actions begin at 0"
            )
        if not isinstance(seen, Space):
            raise self.refusal("observation_space", repr(seen), "a space of gymnasium's")

    def check_observation(self, seen: Observation) -> None:
        space = self.rules.observation_space
        if not isinstance(space, Dict):
            self.check_seen("observe", seen, space)
            return
        if not (isinstance(seen, dict) and seen.keys() == space.spaces.keys()):
            raise self.refusal(
                "observe", kind_of(seen), f"tensors by the names {list(space.spaces)}"
            )
        for name, part in space.spaces.items():
            self.check_seen(f"observe()['{name}']", seen[name], part)

    def check_seen(self, what: str, seen: object, space: Space[Any]) -> None:
        shape = (self.rules.boards, *(space.shape or ()))
        self.check(what, seen, shape, None)
        assert isinstance(seen, Tensor)
        if not bool(torch.isfinite(seen).all()):
            raise self.refusal(what, "numbers that are not finite", "finite ones")

    def check(
        self, what: str, value: object, shape: tuple[int, ...], kind: torch.dtype | None
    ) -> None:
        """Refuse what is not a tensor of that shape, and of that kind."""
        fits = (
            isinstance(value, Tensor)
            and tuple(value.shape) == shape
            and kind in (None, value.dtype)
        )
        if not fits:
            words = f"a tensor {list(shape)}" + (f" of {kind}" if kind is not None else "")
            raise self.refusal(what, kind_of(value), words)

    def asked(self, what: str, ask: Callable[[], T]) -> T:
        """What the rules answer; an error of theirs is named."""
        try:
            return ask()
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"task.game = {self.name}: its {what} raised {reason}") from error

    def of_two(self, what: str, ask: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        answer = self.asked(what, ask)
        if not (isinstance(answer, tuple) and len(answer) == 2):
            raise self.refusal(what, kind_of(answer), "gains and ends, two tensors")
        return answer

    def refusal(self, what: str, found: str, expected: str) -> UserError:
        return UserError(f"task.game = {self.name}: its {what} gives {found}; expected {expected}")


def kind_of(value: object) -> str:
    """What something is, in words."""
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    return f"something of type {type(value).__name__}"
