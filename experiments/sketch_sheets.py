"""Every style of sketching on three photographs, a sheet for each style.

    python -m experiments.sketch_sheets FOLDER [STYLE ...]

The photographs come with scikit-image (`pip install scikit-image`): a cat, a cup and a portrait. FOLDER receives
STYLE.jpg, three drawings side by side, and STYLE_PHOTOGRAPH.png and .svg of each. The sheet `overlap` shows an etching
without and with a cost of ink that lies on other ink. Prints the processor seconds of each drawing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from experiments.benchmarks.etching import photographs_of
from experiments.command import given_arguments
from framework.errors import UserError, suggestion
from plugins.sketching.drawn import STYLES, sketch

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "astronaut.png")
# Pixels of a sheet's height, and between drawings; of a large drawing's longer side.
HEIGHT, GAP, LARGE = 300, 10, 1200
QUALITY = 75
# Of the sheet `overlap`.
COSTS = (0.0, 0.3)


def main(folder: str | None = None, *chosen: str) -> None:
    """Draw the sheets."""
    if folder is None:
        raise UserError("where to? python -m experiments.sketch_sheets FOLDER [STYLE ...]")
    torch.set_num_threads(1)
    for style in chosen:
        if style not in (*STYLES, "overlap"):
            raise UserError(f"style = '{style}'; {suggestion(style, (*STYLES, 'overlap'))}")
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    photographs = photographs_of("skimage", PHOTOGRAPHS)
    for style in chosen or (*STYLES, "overlap"):
        if style == "overlap":
            cases = [(photographs[0], {"overlap_cost": cost}) for cost in COSTS]
            drawings = [
                drawn(place, f"overlap_{n}", "etching", *case) for n, case in enumerate(cases)
            ]
        else:
            drawings = [
                drawn(place, f"{style}_{path.stem}", style, path, {}) for path in photographs
            ]
        sheet(drawings).save(place / f"{style}.jpg", quality=QUALITY, optimize=True)


def drawn(
    place: Path, name: str, style: str, photograph: Path, options: dict[str, Any]
) -> Image.Image:
    """One drawing, written to files and returned large."""
    begun = time.process_time()
    drawing = sketch(photograph, style=style, **options)
    print(f"{name:>24} {time.process_time() - begun:6.1f} CPU-s", flush=True)
    drawing.save(place / f"{name}.svg")
    return Image.open(drawing.save(place / f"{name}.png", LARGE))


def sheet(drawings: list[Image.Image]) -> Image.Image:
    """Drawings side by side on white, all of one height."""
    small = [
        one.resize((round(one.width * HEIGHT / one.height), HEIGHT), Image.Resampling.LANCZOS)
        for one in drawings
    ]
    width = sum(one.width for one in small) + GAP * (len(small) - 1)
    paper, left = Image.new("RGB", (width, HEIGHT), "white"), 0
    for one in small:
        paper.paste(one, (left, 0))
        left += one.width + GAP
    return paper


if __name__ == "__main__":
    main(*given_arguments(__doc__))
