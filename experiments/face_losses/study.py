"""Twelve identity losses on the same synthetic faces, over three seeds: prints the table.

    python -m experiments.face_losses.study [FOLDER]

Trains `experiment=faces_recognition` at a small size in FOLDER (outputs/face_losses by default), one run folder for
each loss and seed; a run that is there already is not repeated. Each seed has people of its own to learn from and
others to test on, the same for every loss. Writes the picture losses.png beside this file.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import result, trained
from framework.media import Image

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent
SIZE = (
    "task.data.people=200",
    "task.data.pictures=10",
    "task.data.side=24",
    "task.network.widths=[16,32,64]",
    "task.batch_size=96",
    "task.data.test_people=60",
    "task.margin_warmup=36",
    "scheduler.warmup=12",
    "trainer.steps=150",
    "trainer.precision=bfloat16",
    "monitor.tensorboard=false",
)


@dataclass(frozen=True)
class Entry:
    """A loss by name, with what it needs."""

    name: str
    options: str = ""
    in_pairs: bool = False

    @property
    def arguments(self) -> list[str]:
        options = f", {self.options}" if self.options else ""
        pairs = ["task.pictures_per_person=4"] if self.in_pairs else []
        return [f"task.loss={{name: {self.name}{options}}}", *pairs]

    @property
    def label(self) -> str:
        return (
            f"{self.name}, {self.options.replace('gradient: ', '')}" if self.options else self.name
        )


ENTRIES = (
    Entry("softmax"),
    Entry("normalised_softmax"),
    Entry("cosface"),
    Entry("arcface", "gradient: exact"),
    Entry("arcface", "gradient: clamped"),
    Entry("arcface", "gradient: straight_through"),
    Entry("sub_centre_arcface"),
    Entry("adaface"),
    Entry("magface"),
    Entry("curricularface"),
    Entry("supcon", in_pairs=True),
    Entry("contrastive", in_pairs=True),
    Entry("triplet_semi_hard", in_pairs=True),
    Entry("triplet_batch_hard", in_pairs=True),
)


def run(entry: Entry, seed: int, folder: Path) -> dict[str, float]:
    """Train, unless it was done before; returns the final metrics."""
    place = folder / entry.label.replace(", ", "_") / f"seed_{seed}"
    trained(place, "experiment=faces_recognition", *SIZE, *entry.arguments, f"seed={seed}")
    metrics: dict[str, float] = result(place)["metrics"]
    return metrics


def line(label: str, runs: Sequence[dict[str, float]], prefix: str = "") -> str:
    """A row of the table: the mean over seeds, each seed, and how wide the interval over people is."""
    eers = [metrics[f"{prefix}eer"] for metrics in runs]
    tars = [metrics[f"{prefix}tar_at_far_0.01"] for metrics in runs]
    wide = ""
    if not prefix:
        half = statistics.mean((m["eer_high"] - m["eer_low"]) / 2 for m in runs)
        wide = f"± {half:.3f}"
    each = ", ".join(f"{eer:.3f}" for eer in eers)
    return (
        f"| {label} | {statistics.mean(eers):.3f} ({each}) | {wide} | {statistics.mean(tars):.3f} |"
    )


def picture(found: dict[str, list[dict[str, float]]]) -> Image:
    """Each seed's EER as a dot with its interval over people."""
    figure = Figure(figsize=(7, 4.2), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for height, runs in enumerate(found.values()):
        for seed, metrics in enumerate(runs):
            place = -height + 0.22 * (1 - seed)
            axes.plot(
                [metrics["eer_low"], metrics["eer_high"]], [place, place], color="C0", alpha=0.4
            )
            axes.plot(metrics["eer"], place, "o", color="C0", markersize=4)
    axes.set_yticks([-k for k in range(len(found))], list(found))
    axes.set_xlabel("EER of unseen people (dot: a seed, line: 95 % over people)")
    axes.grid(axis="x", alpha=0.3)
    return Image.from_figure("losses", figure)


def main(folder: Path) -> None:
    """All runs, the seeds one after another, so that each seed's people are rendered once; then the table."""
    found: dict[str, list[dict[str, float]]] = {entry.label: [] for entry in ENTRIES}
    for seed in SEEDS:
        for entry in ENTRIES:
            found[entry.label].append(run(entry, seed, folder))
    print("| loss | EER: mean (each seed) | 95 % over people | TAR at FAR 0.01 |")
    print("|---|---|---|---|")
    for label, runs in found.items():
        print(line(label, runs))
    some = next(iter(found.values()))
    for prefix in ("even_pixels_", "raw_pixels_", "random_network_"):
        print(line(f"{prefix.strip('_').replace('_', ' ')} (no training)", some, prefix))
    picture(found).save(HERE)


if __name__ == "__main__":
    main(Path(*given_arguments(__doc__, most=1) or ["outputs/face_losses"]))
