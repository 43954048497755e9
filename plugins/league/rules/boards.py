"""Games of stones on a board of at most 63 bits: each player's stones are the bits of one whole number."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import State
from plugins.league.rules.contract import Rules

# Pixels of a cell, and the colours of the board, of free cells and of both players.
CELL = 48
WOOD, FREE = (58, 90, 150), (238, 240, 244)
COLOURS = ((214, 60, 52), (244, 196, 48))
SIGNS = "XO"


class BoardRules(Rules):
    """Players take turns in placing a stone; whoever makes a line wins, a full board is a draw.

    The state keeps the stones of the one who is to move and of the other, and swaps them with each move.
    """

    perfect_information = True
    # The bit of each cell, from the upper row to the lower one.
    bits: ClassVar[tuple[tuple[int, ...], ...]]

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        self.cells = torch.tensor(self.bits, device=self.device)

    @abstractmethod
    def free(self, occupied: Tensor) -> Tensor:
        """Where a stone may be placed, `[N, A]`, from all stones `[N]`."""

    @abstractmethod
    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        """The bit that an action sets, `[N]`."""

    @abstractmethod
    def has_won(self, stones: Tensor) -> Tensor:
        """Whether a player's stones `[N]` hold a line, `[N]`."""

    def begin(self, count: int) -> State:
        none = torch.zeros(count, dtype=torch.long, device=self.device)
        return {"own": none, "other": none, "moves": none, "ended": none.bool()}

    @property
    def to_move(self) -> Tensor:
        second = (self.state["moves"] & 1).bool()
        # Of booleans, > is "and not".
        return torch.stack([~second, second]) > self.state["ended"]

    def observe(self, player: Tensor) -> Tensor:
        """The player's own stones and the other's as planes, `[N, 2, rows, columns]`."""
        own, other = self.state["own"], self.state["other"]
        # Swapped where the player is not to move.
        swap = (own ^ other) & -((player ^ self.state["moves"]) & 1)
        return self.planes(torch.stack([own ^ swap, other ^ swap])).transpose(0, 1)

    def planes(self, stones: Tensor) -> Tensor:
        """Whole numbers `[2, N]` as planes of bytes, `[2, N, rows, columns]`."""
        return (stones.view(2, -1, 1, 1) >> self.cells & 1).to(torch.uint8)

    def mask(self, player: Tensor) -> Tensor:
        return self.free(self.state["own"] | self.state["other"])

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        own, other, moves, ended = (self.state[n] for n in ("own", "other", "moves", "ended"))
        # Of booleans, > is "and not".
        which = which > ended
        mover = moves & 1
        second = mover.bool()
        of_first, of_second = actions.unbind()
        placed = own | self.placed(own | other, torch.where(second, of_second, of_first))
        won = which & self.has_won(placed)
        moves = moves + which
        over = won | (which & (moves == self.longest))
        self.state = {
            "own": torch.where(which, other, own),
            "other": torch.where(which, placed, other),
            "moves": moves,
            "ended": ended | over,
        }
        return (1.0 - 2.0 * mover).mul_(won), over

    def restart(self, which: Tensor | None = None) -> None:
        if which is None or not self.state:
            super().restart()
        else:
            # An empty board is all zeros.
            self.state = {name: value.masked_fill(which, 0) for name, value in self.state.items()}

    # --- pictures and words -------------------------------------------------------------------------------------------

    def stones(self, board: int) -> list[list[int | None]]:
        """Whose stone lies on each cell; None: nobody's."""
        state = self.state
        second = int(state["moves"][board]) & 1
        both = [
            int(state[name][board]) for name in (("other", "own") if second else ("own", "other"))
        ]

        def owner(bit: int) -> int | None:
            return next((player for player in range(2) if both[player] >> bit & 1), None)

        return [[owner(bit) for bit in row] for row in self.bits]

    def picture(self, board: int) -> Frame:
        rows = self.stones(board)
        picture = Image.new("RGB", (CELL * len(rows[0]), CELL * len(rows)), WOOD)
        pen = ImageDraw.Draw(picture)
        for y, row in enumerate(rows):
            for x, player in enumerate(row):
                colour = FREE if player is None else COLOURS[player]
                corner = CELL * x + 5, CELL * y + 5
                pen.ellipse((*corner, corner[0] + CELL - 11, corner[1] + CELL - 11), colour)
        return numpy.asarray(picture)

    def words(self, board: int, player: int) -> str:
        rows = [" ".join("." if s is None else SIGNS[s] for s in row) for row in self.stones(board)]
        return "\n".join([*rows, *self.labels(), f"You are {SIGNS[player]}."])

    def labels(self) -> list[str]:
        """Lines below the board."""
        return []
