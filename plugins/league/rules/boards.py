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
# Boards whose moves a processor's cache holds.
IN_CACHE = 2048


class BoardRules(Rules):
    """Players take turns in placing a stone; whoever makes a line wins, a full board is a draw.

    The state keeps the stones of the one who is to move and those of both, so that a move is an exclusive or
    (Pons 2015). At a thousand boards a step costs by the call: what can be one is one.
    """

    perfect_information = True
    # The bit of each cell, from the upper row to the lower one.
    bits: ClassVar[tuple[tuple[int, ...], ...]]

    def __init__(self, boards: int, device: torch.device | str = "cpu") -> None:
        super().__init__(boards, device)
        self.cells = torch.tensor(self.bits, device=self.device)
        self.full = sum(1 << bit for row in self.bits for bit in row)

    @abstractmethod
    def free(self, occupied: Tensor) -> Tensor:
        """Where a stone may be placed, bool `[N, A]`, from all stones `[N]`."""

    @abstractmethod
    def placed(self, occupied: Tensor, action: Tensor) -> Tensor:
        """The bit that an action sets, `[N]`."""

    @abstractmethod
    def has_won(self, stones: Tensor) -> Tensor:
        """Whether a player's stones `[N]` hold a line, `[N]`."""

    def begin(self, count: int) -> State:
        none = torch.zeros(count, dtype=torch.long, device=self.device)
        return {"own": none, "occupied": none, "second": none.bool(), "ended": none.bool()}

    @property
    def to_move(self) -> Tensor:
        second = self.state["second"]
        # Of booleans, > is "and not".
        return torch.stack([~second, second]) > self.state["ended"]

    def observe(self, player: Tensor) -> Tensor:
        """The player's own stones and the other's as planes, `[N, 2, rows, columns]`."""
        own, occupied = self.state["own"], self.state["occupied"]
        # The other's stones where the player is not to move.
        seen = own ^ (occupied & -(player ^ self.state["second"]))
        return self.planes(torch.stack([seen, seen ^ occupied])).transpose(0, 1)

    def planes(self, stones: Tensor) -> Tensor:
        """Whole numbers `[2, N]` as planes of bytes, `[2, N, rows, columns]`."""
        return (stones.view(2, -1, 1, 1) >> self.cells & 1).to(torch.uint8)

    def mask(self, player: Tensor) -> Tensor:
        return self.free(self.state["occupied"])

    def play(self, actions: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        own, occupied, second, ended = (
            self.state[name] for name in ("own", "occupied", "second", "ended")
        )
        which = which > ended
        of_first, of_second = actions.unbind()
        stone = self.placed(occupied, torch.where(second, of_second, of_first))
        filled = occupied | stone
        won = self.has_won(own | stone) & which
        over = won | ((filled == self.full) & which)
        self.state = {
            "own": torch.where(which, own ^ occupied, own),
            "occupied": torch.where(which, filled, occupied),
            "second": second ^ which,
            "ended": ended | over,
        }
        # Booleans less booleans, as bytes: 1 where the first player has won, -1 where the second one has.
        gained = (won > second).view(torch.int8) - (won & second).view(torch.int8)
        return gained.float(), over

    def restart(self, which: Tensor | None = None) -> None:
        if which is None or not self.state:
            super().restart()
            return
        # An empty board is all zeros.
        own, occupied, second, ended = (
            self.state[name] for name in ("own", "occupied", "second", "ended")
        )
        self.state = {
            "own": own.masked_fill(which, 0),
            "occupied": occupied.masked_fill(which, 0),
            "second": second > which,
            "ended": ended > which,
        }

    def gains(self) -> Tensor:
        parts = zip(*(self.state[n].split(IN_CACHE) for n in ("own", "occupied")), strict=True)
        return torch.cat([self.wins(own, occupied) for own, occupied in parts])

    def wins(self, own: Tensor, occupied: Tensor) -> Tensor:
        """1 where an action wins, `[M, A]`, from the mover's stones and all, `[M]`."""
        every = torch.arange(self.choices, device=self.device).repeat(len(own))
        stones = self.placed(occupied.repeat_interleave(self.choices), every)
        won = self.has_won(own.repeat_interleave(self.choices) | stones)
        return won.view(-1, self.choices).float()

    # --- pictures and words -------------------------------------------------------------------------------------------

    def stones(self, board: int) -> list[list[int | None]]:
        """Whose stone lies on each cell; None: nobody's."""
        own, occupied, second = (
            int(self.state[name][board]) for name in ("own", "occupied", "second")
        )
        both = (own ^ occupied, own) if second else (own, own ^ occupied)

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
