"""What a policy does in the information sets of a small game that its own play comes to most often."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from plugins.league.measures.game_tree import GameTree

# Rows; of larger games the most frequent.
MOST_ROWS = 24
SIDES = ("first player", "second player")


def policy_figure(tree: GameTree, table: Tensor, title: str) -> Figure:
    """The probabilities `[I, A]` of a table as bars, the first player's information sets above the second's."""
    visits = tree.visits(table)
    often = visits.topk(min(MOST_ROWS, tree.count)).indices
    # Each player's in the order of the game.
    rows = sorted(often.tolist(), key=lambda row: (int(tree.player[row]), row))
    shown = table[rows]
    figure = Figure(figsize=(10, 1.5 + 0.36 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots()
    left = torch.zeros(len(rows))
    for action in range(table.shape[1]):
        part = shown[:, action]
        axes.barh(range(len(rows)), part, left=left, label=tree.examples.action_word(action))
        left = left + part
    labels = [f"{SIDES[int(tree.player[row])]}: {seen_in(tree, row)}" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=7)
    axes.invert_yaxis()
    for place, row in enumerate(rows):
        axes.text(1.01, place, f"{float(visits[row]):.3f}", va="center", fontsize=7)
    axes.set(xlim=(0, 1), xlabel="probability; beside it how often play comes there", title=title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(y=0.01)
    figure.legend(ncols=6, fontsize=8, loc="outside lower center", frameon=False)
    return figure


def seen_in(tree: GameTree, row: int) -> str:
    """An information set in words, as far as the game has any."""
    try:
        lines = tree.examples.words(row, int(tree.player[row])).splitlines()
    except NotImplementedError:
        return f"information set {row}"
    # What comes after follows from them.
    return "\n".join(lines[:2])
