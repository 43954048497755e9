"""Digits in 20 bits by several estimators, each allowed the same number of objective evaluations: prints the table.

    python -m experiments.digits_estimators.study [FOLDER]

Trains `experiment=digits_bernoulli` in FOLDER (outputs/digits_estimators by default), one run folder for each
estimator, learning rate and seed; a run that is there already is not repeated. Writes learning.png beside this file.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import records, result, trained
from framework.media import Image

EVALUATIONS = 4  # of the objective, for each digit in each step
SEEDS = (0, 1, 2)
RATES = (0.003, 0.01)
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One estimator with the options that make it take `EVALUATIONS` evaluations."""

    label: str
    options: tuple[str, ...]


def entry(label: str, estimator: str, samples: int, *more: str) -> Entry:
    return Entry(label, (f"estimator={estimator}", f"estimator.samples={samples}", *more))


ENTRIES = (
    entry("reinforce, no baseline", "reinforce", EVALUATIONS, "estimator.baseline=none"),
    entry("reinforce, moving average", "reinforce", EVALUATIONS),
    entry("rloo", "rloo", EVALUATIONS),
    entry("disarm", "disarm", EVALUATIONS // 2),
    entry("rebar", "rebar", EVALUATIONS // 2),
    entry("relax", "relax", EVALUATIONS),
    entry("relax, relaxed_cost", "relax", EVALUATIONS // 2, "estimator.relaxed_cost=true"),
    entry("gumbel (biased)", "gumbel", EVALUATIONS // 2),
    entry("straight_through (biased)", "straight_through", EVALUATIONS),
    entry("reinmax (biased)", "reinmax", EVALUATIONS),
)


def run(entry: Entry, rate: float, seed: int, folder: Path) -> Path:
    """Train, unless it was done before; returns the run's folder."""
    name = entry.label.replace(" ", "_").replace(",", "")
    place = folder / name / f"rate_{rate}" / f"seed_{seed}"
    options = [*entry.options, f"optimizer.learning_rate={rate}", f"seed={seed}"]
    return trained(place, "experiment=digits_bernoulli", *options)


def cell(places: Sequence[Path]) -> str:
    """The negative ELBO of the held-out digits: mean and standard deviation over seeds, then each seed's."""
    bounds = [result(place)["metrics"]["negative_elbo"] for place in places]
    each = ", ".join(f"{bound:.2f}" for bound in bounds)
    return f"{statistics.fmean(bounds):.2f} ± {statistics.stdev(bounds):.2f} ({each})"


def curve(place: Path) -> list[tuple[int, float]]:
    """(step, negative ELBO of held-out digits) of a run."""
    tag = "evaluation/negative_elbo"
    found = [record for record in records(place) if record.get(tag) is not None]
    return [(record["step"], record[tag]) for record in found]


def mean_curve(places: Sequence[Path]) -> list[tuple[int, float]]:
    """The mean curve of several seeds."""
    seeds = zip(*(curve(place) for place in places), strict=True)
    return [(points[0][0], statistics.fmean(bound for _, bound in points)) for points in seeds]


def picture(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """The mean learning curve of each estimator."""
    figure = Figure(figsize=(8, 4.5), layout="constrained", dpi=100)
    axes = figure.subplots()
    for label, points in curves.items():
        dashed = "--" if "biased" in label else "-"
        axes.plot(*zip(*points, strict=True), dashed, marker="o", ms=3, lw=1.5, label=label)
    axes.set(xlabel="step", ylabel="negative ELBO of held-out digits (nats)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0] if arguments else "outputs/digits_estimators")
    heads = " | ".join(f"learning rate {rate}" for rate in RATES)
    print(f"| estimator | {heads} |\n|---|{'---|' * len(RATES)}", flush=True)
    curves = {}
    for entry in ENTRIES:
        places = {rate: [run(entry, rate, seed, folder) for seed in SEEDS] for rate in RATES}
        cells = " | ".join(cell(places[rate]) for rate in RATES)
        print(f"| {entry.label} | {cells} |", flush=True)
        curves[entry.label] = mean_curve(places[RATES[0]])
    Image.from_figure("learning", picture(curves)).save(HERE)


if __name__ == "__main__":
    main(given_arguments(__doc__))
