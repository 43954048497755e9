"""Games that another library plays, one board at a time in Python: N of its matches as `Rules`.

What the tensors of the state hold is each match's history, from which it can be played again: copies, checkpoints and
theory need no more. The matches themselves are kept beside it for as long as they belong to it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Protocol, Self

import numpy
import torch
from torch import Tensor

from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules

# Where a shorter history has no entry.
NOTHING = -1
# A match whose history is this long ends as it stands: tensors have room for no more (of chess 17,695 moves).
LONGEST = 1000


class Played(Protocol):
    """One match.

    Attributes:
        history: whole numbers, not negative, from which `PlayedRules.again` plays the match once more.
    """

    history: list[int]

    @property
    def to_move(self) -> tuple[bool, bool]:
        """Whether each player decides now; neither once the match has ended."""

    def legal(self, player: int) -> Sequence[int]:
        """The actions that a player may take now."""

    def observe(self, player: int) -> numpy.ndarray[Any, Any]:
        """What a player may know."""

    def act(self, actions: tuple[int, int]) -> float:
        """Play a move, of both where both decide, and return what player 0 gains by it."""

    def words(self, player: int) -> str:
        """The board as that player may see it."""


class PlayedRules(Rules):
    """N matches of another library's game, looped over in Python."""

    frames_per_second: ClassVar[float] = 1.0

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        # The matches of the state `held_of`.
        self.held: list[Played] = []
        self.held_of: State | None = None

    @abstractmethod
    def new(self) -> Played:
        """A new match; what chance deals comes from torch's global generator."""

    @abstractmethod
    def again(self, history: list[int]) -> Played:
        """The match that has this history."""

    # --- matches and tensors ------------------------------------------------------------------------------------------

    @property
    def matches(self) -> list[Played]:
        """The matches that the state is of."""
        if self.held_of is not self.state:
            rows = self.state["history"].cpu().numpy()
            self.held = [self.again(row[row != NOTHING].tolist()) for row in rows]
            self.held_of = self.state
        return self.held

    def hold(self, matches: list[Played]) -> None:
        self.held, self.boards = matches, len(matches)
        self.state = self.held_of = self.state_of(matches)

    def state_of(self, matches: Iterable[Played]) -> State:
        histories = [match.history for match in matches]
        # One move may write two entries.
        rows = numpy.full((len(histories), self.longest + 1), NOTHING, dtype=numpy.int32)
        for row, history in zip(rows, histories, strict=True):
            row[: len(history)] = history
        return {"history": torch.from_numpy(rows).to(self.device)}

    def decides(self, match: Played) -> tuple[bool, bool]:
        return match.to_move if len(match.history) < self.longest else (False, False)

    def tensor(self, values: Sequence[Any], kind: torch.dtype) -> Tensor:
        return torch.tensor(values, dtype=kind, device=self.device)

    # --- the contract of rules ----------------------------------------------------------------------------------------

    def begin(self, count: int) -> State:
        return self.state_of([self.new() for _ in range(count)])

    def restart(self, which: Tensor | None = None) -> None:
        if which is None or not self.state:
            self.hold([self.new() for _ in range(self.boards)])
        elif bool(which.any()):
            pairs = zip(self.matches, which.tolist(), strict=True)
            self.hold([self.new() if again else match for match, again in pairs])

    @property
    def to_move(self) -> Tensor:
        rows = [self.decides(match) for match in self.matches]
        return self.tensor(rows, torch.bool).view(-1, 2).T

    def observe(self, player: Tensor) -> Tensor:
        seen = self.each(lambda match, number: match.observe(number), player)
        shape = self.observation_space.shape
        assert shape is not None
        # Copied: a library may write into its own array later.
        stacked = numpy.stack(seen) if seen else numpy.zeros((0, *shape))
        kind = self.observation_space.dtype
        return torch.from_numpy(stacked.astype(kind).reshape(-1, *shape)).to(self.device)

    def mask(self, player: Tensor) -> Tensor:
        mask = numpy.zeros((self.boards, self.choices), dtype=bool)
        for row, legal in enumerate(self.each(lambda match, one: match.legal(one), player)):
            mask[row, legal] = True
        return torch.from_numpy(mask).to(self.device)

    def each(self, ask: Callable[[Played, int], Any], player: Tensor) -> list[Any]:
        """What each match answers about its player, `player [N]`."""
        return [ask(*pair) for pair in zip(self.matches, player.tolist(), strict=True)]

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        gained, ended = [0.0] * self.boards, [False] * self.boards
        matches, pairs = list(self.matches), actions.T.tolist()
        for row, played in enumerate(which.tolist()):
            match = matches[row]
            if played and any(self.decides(match)):
                gained[row] = match.act(tuple(pairs[row]))
                ended[row] = not any(self.decides(match))
        self.hold(matches)
        return self.tensor(gained, torch.float), self.tensor(ended, torch.bool)

    def words(self, board: int, player: int) -> str:
        return self.matches[board].words(player)

    # --- copies -------------------------------------------------------------------------------------------------------

    def select(self, boards: Tensor) -> Self:
        copy = super().select(boards)
        # Of another state: played again when they are asked for.
        copy.held, copy.held_of = [], None
        return copy
