"""What keeps a joint network's features from staying at chance: routes and remedies, one table.

    python -m experiments.face_routes.study [FOLDER] [STEPS]

Trains `experiment=faces` for 200 steps in FOLDER (outputs/face_routes by default), each variant on the same scenes and
with the same seed; a run that is there already is not repeated. Writes learning.png beside this file.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from framework.commands import train
from framework.media import Image

HERE = Path(__file__).parent
SIZE = (
    "task.data.scenes=1200",
    "task.data.tested_scenes=120",
    "task.data.tested_people=40",
    "task.margin_from=50",
    "task.ramp=75",
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
        ("task.route=centre", "task.shared=late"),
    ),
    Variant("centre", ("task.route=centre",)),
    Variant("joint, late features", ("task.shared=late",)),
    Variant("joint, both features", ("task.shared=both",)),
    Variant("joint", ()),
    Variant("aligned_features", ("task.route=aligned_features",)),
    Variant("two_stage", ("task.route=two_stage",)),
    Variant("joint, full margin from the start", ("task.margin_from=0", "task.ramp=0")),
    Variant("joint, identity weighs 5 times", ("task.identity_weight=5",)),
)


def run(variant: Variant, steps: int, folder: Path) -> Path:
    """Train, unless it was done before; returns the run's folder."""
    place = folder / variant.label.replace(", ", "_").replace(" ", "_")
    if not (place / "result.json").exists():
        print(f"{variant.label} ...", file=sys.stderr, flush=True)
        with contextlib.redirect_stdout(io.StringIO()):
            train.run(
                [
                    "experiment=faces",
                    *SIZE,
                    *variant.arguments,
                    f"trainer.steps={steps}",
                    "monitor.progress=none",
                    f"hydra.run.dir={place}",
                ]
            )
    return place


def curve(place: Path) -> list[tuple[int, float]]:
    """(step, identity loss as a share of chance) of a run."""
    records = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    tag = "train/identity_over_chance"
    return [(record["step"], record[tag]) for record in records if tag in record]


def line(label: str, place: Path) -> str:
    """A row of the table."""
    metrics = json.loads((place / "result.json").read_text())["metrics"]
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
    axes.set(xlabel="step", ylabel="identity loss as a share of chance", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3)
    Image.from_figure("learning", figure).save(HERE)


if __name__ == "__main__":
    main(
        Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/face_routes"),
        int(sys.argv[2] if len(sys.argv) > 2 else 200),
    )
