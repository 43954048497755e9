"""The strategy game as rules of a two-player game."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy
import torch
from gymnasium.spaces import Box, Dict, MultiDiscrete
from pydantic import Field
from torch import Tensor

from framework.config.types import Count
from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules
from plugins.league.rules.strategy.board import LARGEST, SMALLEST, Geometry
from plugins.league.rules.strategy.boards import Boards
from plugins.league.rules.strategy.observation import PLANES, views
from plugins.league.rules.strategy.orders import ACTIONS
from plugins.league.rules.strategy.picture import picture
from plugins.league.rules.strategy.sight import seen_rows
from plugins.league.rules.strategy.step import Tables, legal, step

if TYPE_CHECKING:
    from plugins.league.rules.strategy.kernel import Kernel

# Material that is as good as the whole board: `progress` is near 1.
DECISIVE = 40.0


class Strategy(Rules):
    """Gather, build and fight on a small board under fog of war; who loses the base loses.

    A match ends when a base falls: 1 to the other side, 0 where both fall at once. After `longest` steps who has more
    material wins.

    Args:
        size: of the board, in cells.
        slots: K, units that a side can have, its base included.
        workers: with which each side begins.
        sight: how far a unit sees, in rows and columns.
        longest: steps of a match.
    """

    frames_per_second: ClassVar[float] = 6.0

    def __init__(
        self,
        boards: int,
        device: torch.device | str = "cpu",
        *,
        size: Annotated[int, Field(ge=SMALLEST, le=LARGEST)] = 8,
        slots: Annotated[int, Field(ge=4, le=64)] = 12,
        workers: Annotated[int, Field(ge=1, le=2)] = 2,
        sight: Annotated[int, Field(ge=1, le=LARGEST)] = 2,
        longest: Count = 200,
    ) -> None:
        super().__init__(boards, device)
        self.size, self.slots, self.workers = size, slots, workers
        self.sight, self.longest = sight, longest
        self.observation_space = Dict(
            {
                "map": Box(0, 255, (len(PLANES), size, size), numpy.uint8),
                "cells": MultiDiscrete([size**2 + 1] * slots),
            }
        )
        self.action_space = MultiDiscrete([ACTIONS] * slots)
        self.geometry = Geometry.of(size, self.device)
        self.tables = Tables(self.geometry, slots, self.device)
        # Loops for the CPU; None: the boards are played in torch, with the same results.
        self.kernel = self.compiled()
        # What follows from a state, and the state that it follows from.
        self.known: dict[str, Tensor] = {}
        self.known_of: State | None = None

    def compiled(self) -> Kernel | None:
        """The loops that numba compiles, for the CPU and where it is installed (extra [selfplay])."""
        if self.device.type != "cpu" or find_spec("numba") is None:
            return None
        from plugins.league.rules.strategy.kernel import Kernel

        return Kernel(self.geometry, self.slots, self.sight, self.longest)

    def begin(self, count: int) -> State:
        return dict(vars(Boards.begin(self.geometry, count, self.slots, self.workers)))

    @property
    def position(self) -> Boards:
        return Boards(**self.state)

    @property
    def to_move(self) -> Tensor:
        return (~self.state["over"]).expand(2, -1)

    def observe(self, player: Tensor) -> dict[str, Tensor]:
        if self.kernel is not None:
            return self.kernel.observe(self.state, player)
        return {name: of_player(both, player) for name, both in self.views.items()}

    def mask(self, player: Tensor) -> Tensor:
        if self.kernel is not None:
            return self.kernel.mask(self.state, player)
        return of_player(self.legal, player).flatten(1)

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        before = self.position
        running = which & ~before.over
        if self.kernel is not None:
            after = self.kernel.step(before, actions, running)
        else:
            after = step(self.tables, before, self.content, actions.transpose(0, 1), running)
        # [N, 2]
        stands = after.kind[:, :, 0] > 0
        fallen = ~stands.all(1)
        late = after.clock >= self.longest
        if self.kernel is not None and not bool(late.any()):
            # Nobody asks for it.
            better = torch.zeros(len(late))
        else:
            material = after.material()
            better = (material[:, 0] - material[:, 1]).sign()
        decided = stands[:, 0].to(better.dtype) - stands[:, 1].to(better.dtype)
        payoff = torch.where(fallen, decided, better)
        ended = running & (fallen | late)
        after.over = before.over | ended
        self.state = {field.name: getattr(after, field.name) for field in fields(after)}
        return payoff * ended, ended

    def progress(self) -> Tensor:
        """What player 0's material is ahead of the other's, from -1 to 1."""
        material = self.position.material()
        return ((material[:, 0] - material[:, 1]) / DECISIVE).clamp(-1, 1)

    def picture(self, board: int) -> Frame:
        return picture(self, board)

    # --- what follows from a state ------------------------------------------------------------------------------------

    @property
    def content(self) -> Tensor:
        """What stands on each cell, `[N, P]`."""
        if "content" not in self.now():
            self.known["content"] = self.position.content(self.geometry)
        return self.known["content"]

    @property
    def legal(self) -> Tensor:
        """Which actions either player's units may take, `[N, 2, K, 13]`."""
        if "legal" not in self.now():
            self.known["legal"] = legal(self.tables, self.position, self.content)
        return self.known["legal"]

    @property
    def seen(self) -> Tensor:
        """What each player sees, `[N, 2, size + 2]`; see `sight`."""
        if "seen" not in self.now():
            state = self.state
            self.known["seen"] = seen_rows(self.geometry, state["kind"], state["cell"], self.sight)
        return self.known["seen"]

    @property
    def views(self) -> dict[str, Tensor]:
        """What either player is shown, `[N, 2, ...]`."""
        if "map" not in self.now():
            self.known |= views(self.geometry, self.position, self.seen, self.longest)
        return {name: self.known[name] for name in ("map", "cells")}

    def now(self) -> dict[str, Tensor]:
        """What is known of the state as it is; nothing where it has changed."""
        if self.known_of is not self.state:
            self.known, self.known_of = {}, self.state
        return self.known


def of_player(both: Tensor, player: Tensor) -> Tensor:
    """Of `[N, 2, ...]` the part of `player [N]`, `[N, ...]`."""
    rows = torch.arange(0, 2 * len(player), 2, device=player.device) + player
    return both.flatten(0, 1).index_select(0, rows)
