"""What each player has won against each other: the table by which opponents are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from framework.saved_state import check_saved

# Matches that a win rate remembers: the players go on learning.
REMEMBERED = 1000.0
# What is believed before a match: one win in two.
UNKNOWN = 0.5


# An opponent, how many matches, and the sum of the scores.
Matches = tuple[str, float, float]


def by_opponent(opponents: Sequence[str], scores: Tensor) -> list[Matches]:
    """Matches `[E]` of one player, added up."""
    names = list(dict.fromkeys(opponents))
    which = torch.tensor([names.index(name) for name in opponents], dtype=torch.long)
    matches = torch.bincount(which, minlength=len(names)).tolist()
    sums = torch.zeros(len(names)).index_add(0, which, scores.cpu().float()).tolist()
    return list(zip(names, matches, sums, strict=True))


class Payoffs:
    """Matches and scores of one player against another, by their names; a draw counts one half."""

    def __init__(self) -> None:
        # (player, opponent) -> (matches, sum of scores)
        self.table: dict[tuple[str, str], tuple[float, float]] = {}

    def add(self, player: str, matches: Iterable[Matches]) -> None:
        """Count matches of a player."""
        for name, number, score in matches:
            before = self.table.get((player, name), (0.0, 0.0))
            total, won = before[0] + number, before[1] + score
            shrink = min(1.0, REMEMBERED / total)
            self.table[player, name] = total * shrink, won * shrink

    def win_rate(self, player: str, opponent: str) -> float:
        """The score of a match, 0 to 1, drawn to one half where few were played."""
        matches, won = self.table.get((player, opponent), (0.0, 0.0))
        return (won + UNKNOWN) / (matches + 1)

    def forget(self, player: str) -> None:
        """Forget what a player has won: it begins again."""
        self.table = {pair: seen for pair, seen in self.table.items() if player not in pair}

    def state_dict(self) -> list[list[Any]]:
        return [[*pair, *seen] for pair, seen in self.table.items()]

    def load_state_dict(self, state: Any) -> None:
        check_saved("the payoffs", {"rows": state}, rows=list[list[Any]])
        self.table = {(str(a), str(b)): (float(n), float(won)) for a, b, n, won in state}
