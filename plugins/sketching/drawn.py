"""Sketching from Python: one function from a picture to a finished drawing.

from plugins.sketching.drawn import sketch

drawing = sketch("photo.jpg", style="etching", strokes=3000)
drawing.svg(), drawing.png(2000), drawing.plotter(page="a4").svg
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

import framework
from framework import TrainingPlan, UserError
from framework.arguments import as_count, as_path
from framework.config.validation import check_options
from framework.errors import suggestion
from framework.photographs import photograph_of
from framework.randomness import seeded
from plugins.sketching import presentation
from plugins.sketching.scene.drawing import SceneDrawing
from plugins.sketching.sketch import Sketch
from plugins.sketching.strokes.paper import Plot, plotted

# A style's experiment.
STYLES = {
    "etching": "sketch_etching",
    "pen": "sketch",
    "pencil": "sketch_pencil",
    "brush": "sketch_brush",
    "shapes": "sketch_shapes",
    "stipple": "sketch_stipple",
    "minimal": "sketch_minimal",
    "papercut": "sketch_papercut",
    "oneline": "sketch_oneline",
    "hatching": "sketch_hatching",
}


@dataclass(frozen=True)
class Drawn:
    """A finished drawing, and the sketch that it was fitted by."""

    sketch: Sketch

    def svg(self) -> str:
        """The drawing as SVG."""
        return self.sketch.svg()

    def pixels(self, size: int | None = None) -> NDArray[Any]:
        """The drawing as a pen would draw it, `[H, W, 3]` uint8, its longer side `size` pixels; None: the canvas's.

        Raises:
            UserError: a size below 1 or above 10,000.
        """
        model = self.sketch.model
        if size is not None and (not isinstance(size, int) or not 1 <= size <= 10_000):
            raise UserError(f"size = {size!r}: expected 1 to 10,000 pixels, a whole number")
        with torch.no_grad():
            return presentation.pixels(
                model(profile="flat", scale=(size or model.side) / model.side)
            ).numpy()

    def png(self, size: int | None = None) -> bytes:
        """`pixels` as a PNG file's bytes."""
        packed = io.BytesIO()
        Pillow.fromarray(self.pixels(size)).save(packed, "PNG")
        return packed.getvalue()

    def plotter(self, **options: Any) -> Plot:
        """The drawing for a pen plotter; options and errors as in `strokes.paper.plotted`.

        A drawing that was made with several pens has as many, unless `pens` says otherwise.
        """
        model, inks = self.sketch.model, self.sketch.start.pens
        options = {"pens": 1 if inks is None else len(inks)} | options
        options = check_options(plotted, options, "plotter")
        if isinstance(model, SceneDrawing):
            raise UserError("a plotter draws strokes; this drawing started from an SVG's shapes")
        with torch.no_grad():
            return plotted(model.strokes, model.primitive, model.canvas, model.style, **options)

    def save(self, path: str | Path, size: int | None = None) -> Path:
        """Write a .svg or .png file.

        Raises:
            UserError: another suffix, or a folder that is not there.
        """
        place = as_path("path", path)
        if not place.parent.is_dir():
            raise UserError(f"{place}: there is no folder {place.parent}")
        if place.suffix.lower() == ".svg":
            place.write_text(self.svg(), encoding="utf-8")
        elif place.suffix.lower() == ".png":
            place.write_bytes(self.png(size))
        else:
            raise UserError(f"{place}: expected a name that ends in .svg or .png")
        return place


def sketch(
    image: str | Path | Pillow.Image | NDArray[Any] | Tensor,
    *,
    style: str = "etching",
    strokes: int | None = None,
    size: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Drawn:
    """Draw a picture.

    Args:
        image: a file, a PIL image, pixels `[H, W, 3]` or `[H, W]`, or a tensor `[3, H, W]`; integers from 0 to 255 or
            floats from 0 to 1.
        style: etching, pen, pencil, brush, shapes, stipple, minimal, papercut, oneline or hatching.
        strokes: how many; None: as many as the style has.
        size: pixels of the canvas's longer side; None: the style's.
        steps: of the fit; None: the style's.
        seed: of the first strokes and the respawns.
        options: any other option of the task `sketch`, such as `paper=[1.0, 0.95, 0.9]`.

    Raises:
        UserError: no readable picture, an unknown style or option, or a value out of range; one line.
    """
    if style not in STYLES:
        raise UserError(f"style = '{style}'; {suggestion(str(style), tuple(STYLES))}")
    if "input" in options:
        raise UserError(
            f"input = {options['input']!r}: the picture is the first argument of `sketch`"
        )
    pixels = photograph_of(image)
    settings = framework.compose(f"experiment={STYLES[style]}")
    chosen = {"strokes": strokes, "size": size}
    given = {key: value for key, value in chosen.items() if value is not None} | options
    checked = check_options(Sketch, settings.task.options | given, "sketch")
    plan = TrainingPlan(
        seed=seed,
        steps=settings.trainer.steps if steps is None else as_count("steps", steps, 1),
        learning_rate=float(settings.optimizer.options["learning_rate"]),
    )
    with seeded(seed):
        task = Sketch(**checked | {"input": pixels})
    return Drawn(task.fit(plan, seed))
