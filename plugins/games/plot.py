"""A game's picture: the mean return of the episodes that ended, over the steps played."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure


def returns_over_training(environment: str, returns: Sequence[tuple[int, float]]) -> Figure:
    """Draw the learning curve; `returns` are (steps played, mean return of the episodes that ended in a record)."""
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.plot(*zip(*returns, strict=True), color="tab:blue", lw=1.2)
    axes.set(xlabel="steps played", ylabel="mean return of the episodes", title=environment)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure
