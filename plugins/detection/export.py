"""A trained detector as a file that runs without this framework: ONNX or torch.export, compared with the model.

The file takes images `[batch, 3, height, width]` of float32, RGB from 0 to 255, of any batch and of any sides that are
multiples of the model's size divisor, and returns boxes `[batch, k, 4]` in these images' pixels, scores and labels
`[batch, k]`, best first. Suppression is inside; what it removes, and what is missing to k, has the score 0.

How a photograph becomes such an image, the labels' names, the thresholds and the version are in the file: under the key
`diffobj` of ONNX's metadata, and as the extra file `diffobj.json` of torch.export. `plugins/detection/README.md` has a
runner of numpy and onnxruntime. No image of the user's is in the file.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

import framework
from framework.config.types import Count
from framework.errors import UserError
from plugins.detection.data.splits import Splits
from plugins.detection.deployed import deployed
from plugins.detection.export_check import TOLERANCE, difference
from plugins.detection.export_formats import (
    SUFFIXES,
    Format,
    Sides,
    format_of,
    write_exported,
    write_onnx,
)
from plugins.detection.models.detector import Detector
from plugins.detection.sample import PADDING, pad_and_stack
from plugins.detection.tiles import Tiles

__all__ = ["SUFFIXES", "Exported", "export_detector"]

REFUSED = "torchvision's detectors cannot be exported; nano, tiny, small, aligned_* and set_* can"
# Shapes of the noise that is compared where there are no test images: height and width over the longer side.
SHAPES = ((1.0, 1.0), (0.75, 1.0), (0.5625, 1.0), (1.0, 0.5625))


class Exportable(Protocol):
    """What an export needs of a task."""

    model: Detector
    size: int
    max_detections: int
    score_threshold: float
    categories: list[str]
    category_ids: list[int]
    tiles: Tiles

    @property
    def has_data(self) -> bool: ...

    @property
    def splits(self) -> Splits: ...

    @property
    def thresholds(self) -> list[float]: ...


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path, format: the file.
        height, width: of the images that it takes; None: any multiple of the size divisor.
        images: how many images it was compared on.
        difference: the largest difference of a box from the model's, in pixels.
    """

    path: Path
    format: Format
    height: int | None
    width: int | None
    images: int
    difference: float


def export_detector(
    task: Exportable,
    path: Path,
    *,
    format: Format | None = None,
    height: Count | None = None,
    width: Count | None = None,
    images: Count = 50,
) -> Exported:
    """Write a task's model, in float32 whatever its training precision was, and compare the file with it.

    Args:
        format: None: by the suffix of `path`, `.onnx` or `.pt2`.
        height, width: fixed sides of the images, rounded up to the model's `size_divisor`; None: any.
        images: test images to compare on, in their own shapes; noise of several shapes where the data is not there.

    Raises:
        UserError: a model of torchvision's, tiles, an unknown suffix, a missing package, or a file that computes
            something else, which is deleted.
    """
    format = format or format_of(path)
    if task.tiles.side is not None:
        raise UserError(
            f"task.tiles.side = {task.tiles.side}: an exported file searches one image; export with "
            "task.tiles.side=null, and cut its images into tiles where it is used"
        )
    # An exporter would fix sides of one cell by the order of the memory.
    model = copy.deepcopy(task.model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    module = deployed(model, task.max_detections)
    if module is None:
        raise UserError(REFUSED)
    divisor = model.size_divisor
    tall, wide = (
        None if side is None else -(-side // divisor) * divisor for side in (height, width)
    )
    write = {"onnx": write_onnx, "torch_export": write_exported}[format]
    examples = images_to_compare(task, images, divisor, tall, wide)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        again = write(module, path, Sides(divisor, tall, wide), metadata(task))
        apart = difference(model, again, examples, task.max_detections)
    if not apart < TOLERANCE:
        path.unlink()
        wrong = f"a box is off by {apart:.3g} pixels"
        if apart == float("inf"):
            wrong = "a detection of one label and score is in the model or in the file alone"
        raise UserError(f"{path}: {wrong}; nothing was written")
    return Exported(path, format, tall, wide, len(examples), apart)


def metadata(task: Exportable) -> dict[str, Any]:
    """What a user of the file needs to know: what goes in, what comes out, and what it means."""
    return {
        "version": framework.__version__,
        "model": type(task.model).__name__,
        "categories": list(task.categories),
        "category_ids": list(task.category_ids),
        "thresholds": list(task.thresholds),
        "score_threshold": task.score_threshold,
        "max_detections": task.max_detections,
        "size": task.size,
        "size_divisor": task.model.size_divisor,
        "padding": PADDING,
        "input": "images: float32 [batch, 3, height, width], RGB, 0 to 255; sides are multiples of size_divisor",
        "preparation": "upright by EXIF; resized so that the longer side is `size`, the other one rounded, by bilinear "
        "interpolation with antialiasing; rounded to whole numbers; at the top left of a canvas of `padding` whose "
        "sides are the next multiples of size_divisor",
        "output": "boxes [batch, k, 4] as x0, y0, x1, y1 in the canvas's pixels; scores [batch, k], 0 where there is "
        "none; labels [batch, k], indices into categories; a detection counts from thresholds[label] on",
    }


def images_to_compare(
    task: Exportable, count: int, divisor: int, height: int | None, width: int | None
) -> list[Tensor]:
    """Test images as `predict` gives them to the model, `[1, 3, H, W]` float32 each; noise where there are none."""
    found: Sequence[Tensor]
    if task.has_data:
        source = task.splits.test
        found = [source.sample(number).image for number in range(min(count, len(source)))]
    else:
        found = noise(task.size, count)
    if height is None and width is None:
        return [pad_and_stack([image], divisor).float() for image in found]
    return [on_canvas(image, height, width, divisor) for image in found]


def noise(size: int, count: int) -> Sequence[Tensor]:
    """Images `[3, H, W]` of noise in several shapes, the longer side `size`."""
    draw = torch.Generator().manual_seed(0)
    shapes = [SHAPES[number % len(SHAPES)] for number in range(count)]
    return [
        torch.randint(0, 256, (3, *(max(1, round(part * size)) for part in shape)), generator=draw)
        for shape in shapes
    ]


def on_canvas(image: Tensor, height: int | None, width: int | None, divisor: int) -> Tensor:
    """An image, cut where it is larger, on a canvas of fixed sides, `[1, 3, H, W]`."""
    sides = [
        fixed or -(-side // divisor) * divisor
        for fixed, side in zip((height, width), image.shape[1:], strict=True)
    ]
    canvas = torch.full((1, 3, *sides), float(PADDING))
    cut = image[:, : sides[0], : sides[1]]
    canvas[0, :, : cut.shape[1], : cut.shape[2]] = cut
    return canvas
