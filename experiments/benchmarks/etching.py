"""Etchings of ten photographs that no option was chosen by: how right their tones are, and what they cost.

    python -m experiments.benchmarks.etching [FOLDER]

The photographs come with the packages scikit-learn and scikit-image (`pip install scikit-image`). For each: the tone
error, which is the mean absolute difference of drawing and target after a blur of 0.6 % of the longer side; the share
of lines within 1 degree of an axis (2.2 % if they had no preferred direction); processor seconds. FOLDER: the drawings
are written there as SVG and PNG.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

from experiments.command import given_arguments
from framework.errors import UserError
from plugins.sketching.drawn import Drawn, sketch
from plugins.sketching.images.photo import blurred
from plugins.sketching.strokes.drawing import Drawing

# By package, where its photographs lie, and which are drawn.
FOLDERS = {"sklearn": "datasets/images", "skimage": "data"}
PHOTOGRAPHS = {
    "sklearn": ("china.jpg", "flower.jpg"),
    "skimage": (
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "gravel.png",
        "moon.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
}
# Degrees.
NEAR_AN_AXIS = 1.0


def main(folder: str | None = None) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f"{'photograph':>20} {'tone error':>11} {'axis lines':>11} {'CPU s':>6}")
    rows = []
    for path in photographs():
        begun = time.process_time()
        drawing = sketch(path, style="etching")
        seconds = time.process_time() - begun
        rows.append((tone_error(drawing), axis_share(drawing), seconds))
        print(f"{path.stem:>20} {rows[-1][0]:11.4f} {rows[-1][1]:11.1%} {seconds:6.1f}", flush=True)
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            drawing.save(Path(folder) / f"{path.stem}.svg")
            drawing.save(Path(folder) / f"{path.stem}.png", 1024)
    worst = [max(column) for column in zip(*rows, strict=True)]
    print(f"{'largest':>20} {worst[0]:11.4f} {worst[1]:11.1%} {worst[2]:6.1f}")


def photographs() -> list[Path]:
    """The ten files."""
    return [
        path for package, names in PHOTOGRAPHS.items() for path in photographs_of(package, names)
    ]


def photographs_of(package: str, names: Sequence[str]) -> list[Path]:
    """Photographs that come with a package.

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the photographs come with the package {package}, which is missing")
    return [Path(spec.submodule_search_locations[0]) / FOLDERS[package] / name for name in names]


@torch.no_grad()
def tone_error(drawing: Drawn) -> float:
    """The mean absolute difference of the flat drawing and its target, seen from a distance."""
    model, target = drawing.sketch.model, drawing.sketch.loss.target
    difference = model(profile="flat") - target
    return float(blurred(difference, 0.006 * model.side).abs().mean())


@torch.no_grad()
def axis_share(drawing: Drawn) -> float:
    """The share of lines that lie within a degree of an axis."""
    model = drawing.sketch.model
    assert isinstance(model, Drawing)
    ends = model.ends()
    x, y = torch.from_numpy(ends[:, 1] - ends[:, 0]).unbind(1)
    angle = torch.rad2deg(torch.atan2(y, x)) % 90
    return float((torch.minimum(angle, 90 - angle) < NEAR_AN_AXIS).double().mean())


if __name__ == "__main__":
    main(*given_arguments(__doc__, most=1))
