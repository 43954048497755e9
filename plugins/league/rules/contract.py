"""The contract of a two-player zero-sum game: N boards played at once, tensors in and tensors out, on one device.

The rules know nothing of who plays. Where both players decide at once `to_move` is true for both, and one call of
`play` takes both actions; where they take turns, it is true for one of them. Random starts come from torch's global
generator, which the caller seeds, so that boards are the same again with the same seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from gymnasium import Space
from gymnasium.spaces import Discrete, MultiDiscrete
from torch import Tensor

from plugins.games.environments.games import Frame, Observation, choose
from plugins.games.environments.native.games import State


class Rules(ABC):
    """N boards of a game of two players; what one wins the other loses.

    Args:
        boards: N.
        device: of every tensor.

    Attributes:
        observation_space: of one player of one board, without the mask of actions.
        action_space: of one player: `Discrete`, an action is `[N]`, or `MultiDiscrete`, `[N, K]`.
        longest: no match has more moves than this: one, or one of either player where they move at once.
        state: all there is to know about the boards, which `select` and checkpoints copy; empty before `restart`.
    """

    players: ClassVar[int] = 2
    # Both players see all of the board, and one of them is to move: a search may look ahead.
    perfect_information: bool = False
    frames_per_second: ClassVar[float] = 2.0
    longest: int
    observation_space: Space[Any]
    action_space: Space[Any]

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        self.boards = boards
        self.device = torch.device(device)
        self.state: State = {}

    @property
    def choices(self) -> int:
        """Entries of a mask of actions: A, or the sum of the sizes of several choices."""
        if isinstance(self.action_space, MultiDiscrete):
            return int(self.action_space.nvec.sum())
        assert isinstance(self.action_space, Discrete)
        return int(self.action_space.n)

    @property
    def action_shape(self) -> tuple[int, ...]:
        """`()`, or `(K,)` for several choices."""
        return tuple(self.action_space.shape or ())

    # --- playing ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self, count: int) -> State:
        """The first states of `count` new matches."""

    @property
    @abstractmethod
    def to_move(self) -> Tensor:
        """Who decides now, `[2, N]`; nobody on boards whose match has ended."""

    @abstractmethod
    def observe(self, player: Tensor) -> Observation:
        """What a player may know, itself always first; `player [N]` says whose view each board is seen in."""

    @abstractmethod
    def mask(self, player: Tensor) -> Tensor:
        """Which actions that player may take, `[N, choices]`; one at least while the match goes on."""

    @abstractmethod
    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Play one move on some boards; the others stay as they are, and so do boards whose match has ended.

        Args:
            actions: `[2, N, ...]`, of either player; that of a player who is not to move is ignored.
            which: `[N]`, the boards on which it is played.

        Returns:
            what player 0 gains by this move (player 1 loses it), `[N]`, and on which boards the match ended with it,
            `[N]`. A match that reaches `longest` moves ends.
        """

    def restart(self, which: Tensor | None = None) -> None:
        """Begin a new match on these boards, `which [N]`; None: on all."""
        if which is None or not self.state:
            self.state = self.begin(self.boards)
        elif self.device.type != "cpu":
            # To count them would synchronise.
            first = self.begin(self.boards)
            self.state = {n: choose(which, first[n], value) for n, value in self.state.items()}
        elif len(rows := which.nonzero().squeeze(1)):
            first = self.begin(len(rows))
            self.state = {n: value.index_copy(0, rows, first[n]) for n, value in self.state.items()}

    # --- shaping, pictures, words -------------------------------------------------------------------------------------

    def progress(self) -> Tensor | None:
        """A potential of player 0's position, `[N]`, whose change may be added to what is learned from; never to what
        is measured. None: the game has none.
        """
        return None

    def gains(self) -> Tensor | None:
        """What each action would gain at once for whoever is to move, `[N, A]`, of no meaning where it is not allowed.

        For games in which a search can know this without playing. None: it has to play.
        """
        return None

    def picture(self, board: int) -> Frame:
        """A board as a person would like to see it."""
        raise NotImplementedError

    def words(self, board: int, player: int) -> str:
        """A board as that player may see it, in lines for a terminal."""
        raise NotImplementedError

    def reveal(self, board: int) -> str:
        """What both may know once a match is over; empty where nothing was hidden."""
        return ""

    def action_word(self, action: int) -> str:
        """What an action is called in a terminal."""
        return str(action)

    # --- copies and theory --------------------------------------------------------------------------------------------

    def select(self, boards: Tensor) -> Self:
        """Copies of some boards, `boards [M]` their indices, any of them several times."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.boards = len(boards)
        copy.state = {name: value[boards] for name, value in self.state.items()}
        return copy

    def joined(self, others: Sequence[Self]) -> Self:
        """Copies of these boards, and after them of the others'."""
        copy = self.select(torch.arange(self.boards, device=self.device))
        copy.boards += sum(other.boards for other in others)
        copy.state = {
            name: torch.cat([value, *(other.state[name] for other in others)])
            for name, value in self.state.items()
        }
        return copy

    def deals(self) -> tuple[State, Tensor]:
        """Every first state of a match, and its probability `[M]`.

        Chance must have no part later: what is drawn later is dealt before and hidden until then.

        Raises:
            NotImplementedError: there are too many.
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """The boards as they stand."""
        return dict(self.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.state = {name: value.to(self.device) for name, value in state.items()}
