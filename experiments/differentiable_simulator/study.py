"""One policy by gradients through a simulator and without it, for equal CPU seconds: prints tables, draws the curves.

    python -m experiments.differentiable_simulator.study [FOLDER] [seeds=3]

Trains `experiment=cartpole_smooth` and `experiment=pendulum` in FOLDER (outputs/differentiable_simulator by default),
one run folder for each estimator and seed; a run that is there already is not repeated. All seconds are CPU seconds of
one thread, evaluation left out. Writes learning.png beside this file.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import records, result, trained
from framework.media import Image

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One estimator on one game: its options, and its steps between evaluations (about a tenth of the time)."""

    estimator: str
    options: tuple[str, ...]
    every: int


@dataclass(frozen=True)
class Problem:
    """A differentiable game: the CPU seconds of each run, the return that counts as learned, the plot's lower end."""

    title: str
    experiment: str
    seconds: int
    learned: float
    lowest: float
    entries: tuple[Entry, ...]


def entry(estimator: str, rate: float, every: int, *options: str) -> Entry:
    return Entry(estimator, (f"optimizer.learning_rate={rate}", *options), every)


EVOLUTION = ("estimator.sigma=0.1", "estimator.directions=8", "estimator.samples=32")
PROBLEMS = (
    Problem(
        "A cart-pole with a smooth reward, 100 steps",
        "cartpole_smooth",
        12,
        95.0,
        0.0,
        (
            entry("reparameterisation", 0.03, 10),
            entry("reinforce", 0.01, 30),
            entry("rloo", 0.02, 30),
            entry("alpha_order", 0.03, 5, "estimator.groups=2", "estimator.samples=32"),
            entry("evolution_strategies", 0.05, 2, *EVOLUTION),
        ),
    ),
    Problem(
        "Pendulum, 200 steps",
        "pendulum",
        12,
        -300.0,
        -1700.0,
        (
            entry("reparameterisation", 0.005, 8, "estimator.samples=32"),
            entry("reinforce", 0.02, 15),
            entry("rloo", 0.02, 15),
            entry("alpha_order", 0.02, 4, "estimator.groups=2", "estimator.samples=32"),
            entry("evolution_strategies", 0.05, 1, *EVOLUTION),
        ),
    ),
)


def run(problem: Problem, entry: Entry, seed: int, folder: Path) -> Path:
    """Train for the problem's seconds, unless it was done before; returns the run's folder."""
    place = folder / problem.experiment / entry.estimator / f"seed_{seed}"
    options = [
        f"experiment={problem.experiment}",
        f"estimator={entry.estimator}",
        *entry.options,
        f"trainer.seconds={problem.seconds}",
        f"trainer.evaluate_every={entry.every}",
        f"seed={seed}",
        *("scheduler=constant", "trainer.steps=100000", "trainer.clip_norm=1"),
        *("trainer.log_every=100000", "monitor.tensorboard=false", "task.video_frames=1"),
        "task.evaluation_episodes=30",
        *("trainer.quality.every=0", "trainer.threads=1"),
    ]
    # The clock by which a run ends.
    with patch("time.monotonic", time.process_time):
        return trained(place, *options)


def curve(place: Path) -> list[tuple[float, float]]:
    """(CPU seconds, greedy return) of a run."""
    tag = "evaluation/return_mean"
    return [(record["seconds"], record[tag]) for record in records(place) if tag in record]


def table(problem: Problem, places: dict[str, list[Path]]) -> str:
    """What each estimator reached in the given seconds."""
    lines = [
        f"| {problem.title} | return after {problem.seconds} s | best | steps | seconds to {problem.learned:g} |",
        "|---|---|---|---|---|",
    ]
    for estimator, runs in places.items():
        curves = [curve(place) for place in runs]
        last = [points[-1][1] for points in curves]
        best = statistics.fmean(max(value for _, value in points) for points in curves)
        each = ", ".join(f"{value:.0f}" for value in last)
        steps = statistics.fmean(result(place)["steps"] for place in runs)
        when = [
            next((seconds for seconds, value in points if value >= problem.learned), None)
            for points in curves
        ]
        reached = ", ".join("never" if w is None else f"{w:.1f}" for w in when)
        lines.append(
            f"| {estimator} | {statistics.fmean(last):.1f} ± {statistics.stdev(last):.1f} ({each}) | {best:.1f} "
            f"| {steps:.0f} | {reached} |"
        )
    return "\n".join(lines)


def picture(results: Sequence[tuple[Problem, dict[str, list[Path]]]]) -> Figure:
    """The greedy return over CPU seconds: a line for each seed, a colour for each estimator."""
    figure = Figure(figsize=(11, 4), layout="constrained", dpi=95)
    for axes, (problem, places) in zip(figure.subplots(1, len(results)), results, strict=True):
        for number, (estimator, runs) in enumerate(places.items()):
            for place in runs:
                label = estimator if place == runs[0] else None
                points = zip(*curve(place), strict=True)
                axes.plot(*points, color=f"C{number}", lw=1.4, alpha=0.85, label=label)
        axes.axhline(problem.learned, color="grey", lw=0.8, ls="--")
        axes.set(title=problem.title, xlabel="CPU seconds", ylabel="greedy return")
        axes.set_ylim(bottom=problem.lowest)
        axes.spines[["top", "right"]].set_visible(False)
        if problem is results[0][0]:
            axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def main(arguments: Sequence[str]) -> None:
    places_given = [a for a in arguments if not a.startswith("seeds=")]
    folder = Path(*places_given or ["outputs/differentiable_simulator"])
    seeds = [int(a.removeprefix("seeds=")) for a in arguments if a.startswith("seeds=")] or [3]
    results = []
    for problem in PROBLEMS:
        places = {
            entry.estimator: [run(problem, entry, seed, folder) for seed in range(seeds[0])]
            for entry in problem.entries
        }
        results.append((problem, places))
        print(table(problem, places) + "\n", flush=True)
    Image.from_figure("learning", picture(results)).save(HERE)


if __name__ == "__main__":
    main(given_arguments(__doc__))
