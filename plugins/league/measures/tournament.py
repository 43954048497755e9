"""Everybody against everybody: a table of scores, Elo ratings and a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from matplotlib.figure import Figure
from torch import Tensor

from framework.randomness import key
from plugins.league.arena import Arena, scores
from plugins.league.measures.elo import Ratings, ratings
from plugins.league.opponents import Opponent


@dataclass(frozen=True)
class Table:
    """Results between P players: `matches [P, P]`, and the rows' `scores [P, P]`, 0 on the diagonal."""

    names: list[str]
    matches: Tensor
    scores: Tensor

    @property
    def rates(self) -> Tensor:
        """The mean score of a row's player against a column's, `[P, P]`; one half where none was played."""
        return torch.where(self.matches > 0, self.scores / self.matches.clamp(min=1), 0.5)

    def ratings(self) -> Ratings:
        return ratings(self.matches, self.scores)


def tournament(players: Mapping[str, Opponent], arena: Arena, seed: int) -> Table:
    """All matches of an arena between each two players, half of them with either as the first."""
    names, count = list(players), len(players)
    played, won = torch.zeros(count, count), torch.zeros(count, count)
    for i in range(count):
        for j in range(i):
            where = key(seed, f"{names[i]}/{names[j]}") % 2**31
            points = scores(arena.duel(players[names[i]], players[names[j]], where))
            score = float(points.sum())
            played[i, j] = played[j, i] = len(points)
            won[i, j], won[j, i] = score, len(points) - score
    return Table(names, played, won)


def standings(table: Table, snapshots: Sequence[str]) -> dict[str, float]:
    """Elo ratings with their errors, and how far the last player in the table is above the first of `snapshots`."""
    found = table.ratings()
    points, errors = found.points.tolist(), found.errors.tolist()
    metrics: dict[str, float] = {}
    for name, rating, error in zip(table.names, points, errors, strict=True):
        metrics |= {f"elo/{name}": rating, f"elo_error/{name}": error}
    if snapshots:
        metrics["elo_rise"] = points[-1] - metrics[f"elo/{snapshots[0]}"]
    return metrics


def spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` names, the first and the last among them, evenly spread."""
    if len(names) <= count:
        return list(names)
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def heat_map(table: Table) -> Figure:
    """The rows' mean scores against the columns."""
    rates, count = table.rates, len(table.names)
    figure = Figure(figsize=(2.4 + 0.55 * count, 1.6 + 0.5 * count), layout="constrained", dpi=110)
    axes = figure.subplots()
    shown = axes.imshow(rates.numpy(), cmap="RdBu", vmin=0, vmax=1)
    axes.set_xticks(range(count), table.names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(count), table.names, fontsize=8)
    for i in range(count):
        for j in range(count):
            if i != j:
                rate = float(rates[i, j])
                shade = "white" if abs(rate - 0.5) > 0.3 else "black"
                axes.text(j, i, f"{rate:.2f}", ha="center", va="center", color=shade, fontsize=7)
    axes.set_title("Mean score of the row against the column")
    figure.colorbar(shown, ax=axes, shrink=0.8)
    return figure


def elo_figure(names: list[str], found: Ratings) -> Figure:
    """Ratings with two standard errors either way."""
    figure = Figure(figsize=(1.5 + 0.55 * len(names), 3.6), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.errorbar(
        range(len(names)), found.points.tolist(), (2 * found.errors).tolist(), fmt="o", capsize=3
    )
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set(ylabel="Elo", title="Elo about the mean, ± 2 standard errors")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
