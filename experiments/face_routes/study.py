"""What keeps a joint network's embeddings from staying at chance: feature sources and remedies, one table.

    python -m experiments.face_routes.study [FOLDER] [STEPS]

Trains `experiment=faces` for 200 steps in FOLDER (outputs/face_routes by default), each variant on the same scenes and
with the same seed; a run that is there already is not repeated. Writes learning.png beside this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from experiments.command import given_arguments
from experiments.runs import records, result, trained
from framework.media import Image

HERE = Path(__file__).parent
SIZE = (
    "task.data.scenes=1200",
    "task.data.test_scenes=120",
    "task.data.test_people=40",
    "task.margin_start=50",
    "task.margin_warmup=75",
    "trainer.precision=bfloat16",
    "monitor.tensorboard=false",
)


@dataclass(frozen=True)
class Variant:
    """One row of the table."""

    label: str
    arguments: tuple[str, ...]


VARIANTS = (
    Variant(
        "centre, late features",
        ("task.feature_source=centre", "task.feature_level=late"),
    ),
    Variant("centre", ("task.feature_source=centre",)),
    Variant("joint, late features", ("task.feature_level=late",)),
    Variant("joint, both features", ("task.feature_level=both",)),
    Variant("joint", ()),
    Variant("aligned_features", ("task.feature_source=aligned_features",)),
    Variant("two_stage", ("task.feature_source=two_stage",)),
    Variant("joint, full margin from the start", ("task.margin_start=0", "task.margin_warmup=0")),
    Variant("joint, identity weighs 5 times", ("task.identity_weight=5",)),
)


def run(variant: Variant, steps: int, folder: Path) -> Path:
    """Train, unless it was done before; returns the run's folder."""
    place = folder / variant.label.replace(", ", "_").replace(" ", "_")
    overrides = [*SIZE, *variant.arguments, f"trainer.steps={steps}"]
    return trained(place, "experiment=faces", *overrides)


def curve(place: Path) -> list[tuple[int, float]]:
    """(step, identity loss divided by that at chance) of a run."""
    tag = "train/identity_over_chance"
    return [(record["step"], record[tag]) for record in records(place) if tag in record]


def line(label: str, place: Path) -> str:
    """A row of the table."""
    metrics = result(place)["metrics"]
    low, high = metrics["eer_low"], metrics["eer_high"]
    share = curve(place)[-1][1]
    return (
        f"| {label} | {share:.2f} | {metrics['AP50']:.3f} | {metrics['eer']:.3f} ({low:.3f} to {high:.3f}) "
        f"| {metrics['large_eer']:.3f} |"
    )


def main(folder: Path, steps: int) -> None:
    """All variants, the table, the picture."""
    print(
        "| variant | identity / chance | AP50 | EER (95 % over people) | EER, faces from 24 pixels |"
    )
    print("|---|---|---|---|---|")
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for number, variant in enumerate(VARIANTS):
        place = run(variant, steps, folder)
        print(line(variant.label, place), flush=True)
        axes.plot(*zip(*curve(place), strict=True), label=variant.label, color=f"C{number}")
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="step", ylabel="identity loss / loss at chance", ylim=(0.7, 1.15))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    Image.from_figure("learning", figure).save(HERE)


if __name__ == "__main__":
    folder, people, *_ = [*given_arguments(__doc__, most=2), "", ""]
    main(Path(folder or "outputs/face_routes"), int(people or 200))
