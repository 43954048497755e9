"""A game's picture: the mean return of each step's episodes over the training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure


def returns_over_training(environment: str, returns: Sequence[float]) -> Figure:
    """Draw the learning curve; `returns[i]` is the mean return of the episodes played for step i."""
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    axes.plot(returns, color="tab:blue", lw=1.5)
    axes.set(xlabel="optimiser step", ylabel="mean return of the episodes", title=environment)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure
