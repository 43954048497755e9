"""The picture that only the course needs, docs/course/pictures/branch.png: `python -m experiments.course_figures`."""

from __future__ import annotations

import matplotlib
import torch
from matplotlib import pyplot
from torch import Tensor

from experiments.command import given_arguments
from framework import relaxed
from framework.plugin import ROOT

FOLDER = ROOT / "docs" / "course" / "pictures"
FOUL = 40.0


def metres(angle: Tensor) -> Tensor:
    """The range of a throw at `angle` degrees."""
    return 80 * torch.sin(2 * torch.deg2rad(angle))


def averaged(angle: Tensor, spread: float) -> Tensor:
    """The mean range of throws about `angle`, fouls included, by a sum over 2,001 points."""
    noise = torch.linspace(-4, 4, 2001)
    weights = torch.softmax(-(noise**2) / 2, 0)
    thrown = angle[:, None] + spread * noise
    return (torch.where(thrown > FOUL, metres(thrown), 0.0) * weights).sum(1)


def branch() -> None:
    """A throw with a foul line: hard, relaxed, and averaged over an unsteady hand."""
    angle = torch.linspace(20, 60, 401, requires_grad=True)
    soft = relaxed.where(angle - FOUL, metres(angle), torch.zeros(()), width=2.0).detach()
    angle = angle.detach()
    hard = torch.where(angle > FOUL, metres(angle), 0.0)
    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(angle, hard, color="0.7", linewidth=4, label="as written: no slope below 40°")
    axes.plot(angle, soft, label="relaxed, width 2°")
    axes.plot(angle, averaged(angle, 5.0), label="average of throws, hand shaking by 5°")
    axes.set(xlabel="angle (degrees)", ylabel="range (m)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FOLDER / "branch.png", dpi=110)


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    matplotlib.use("Agg")
    FOLDER.mkdir(exist_ok=True)
    branch()
