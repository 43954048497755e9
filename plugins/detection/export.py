"""A trained detector as a file that runs without this framework: ONNX or torch.export, compared with the model.

The file takes images `[batch, 3, height, width]` of float32 from 0 to 255 (any batch, this height and width) and
returns boxes `[batch, k, 4]` in pixels, scores `[batch, k]` and labels `[batch, k]`, best first. Models with several
pyramid levels and the aligned family need non-maximum suppression (per class, IoU 0.65), which is left to the user.

The file is run on test images and compared with the model: a box that is off by 0.01 pixels or more is an error. So
is a detection that only one of them has, unless scores decide on it that differ by less than 0.0001 of themselves:
which of these is the higher one depends on the order in which a processor adds.
"""

from __future__ import annotations

import copy
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework.config.types import Count
from framework.errors import UserError
from framework.extras import missing
from plugins.detection.data.splits import Splits
from plugins.detection.models.anchor_free import AnchorFree, Maps, clip_boxes, decode_boxes
from plugins.detection.models.detector import Detector
from plugins.detection.sample import PADDING, Detections

Format = Literal["onnx", "torch_export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
# The largest permitted distance of two boxes, in pixels.
TOLERANCE = 0.01
# Scores whose relative difference is smaller may change places.
ROUNDING = 1e-4
# Detections with lower scores are not compared, unless an image has none with higher ones.
MIN_SCORE = 0.001
Outputs = tuple[Tensor, Tensor, Tensor]


class Exportable(Protocol):
    """What an export needs of a task: its model, the size of its images, and test images where they are there."""

    model: Detector
    size: int
    max_detections: int

    @property
    def has_data(self) -> bool: ...

    @property
    def splits(self) -> Splits: ...


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path, format: the file.
        height, width: of the images that it takes.
        images: how many images it was compared on.
        difference: the largest difference of a box from the model's, in pixels.
    """

    path: Path
    format: Format
    height: int
    width: int
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
        height, width: of the images, rounded up to the model's `size_divisor`; None: the task's image size.
        images: test images to compare on; noise where the data set is not there.

    Raises:
        UserError: a model of another family, an unknown suffix, a missing package, or a file that computes something
            else, which is deleted.
    """
    if not isinstance(task.model, AnchorFree):
        raise UserError("only detectors of the anchor-free family can be exported")
    format = format or format_of(path)
    model = copy.deepcopy(task.model).cpu().eval()
    tall, wide = (rounded(side or task.size, model) for side in (height, width))
    write = {"onnx": write_onnx, "torch_export": write_exported}[format]
    examples = images_to_compare(task, images, tall, wide)
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        again = write(model, examples[:2], path, task.max_detections)
        apart = difference(model, again, examples, task.max_detections)
    if apart >= TOLERANCE:
        path.unlink()
        wrong = f"a box is off by {apart:.3g} pixels"
        if apart == float("inf"):
            wrong = "a detection of one label and score is in the model or in the file alone"
        raise UserError(f"{path}: {wrong}; nothing was written")
    return Exported(path, format, tall, wide, len(examples), apart)


def format_of(path: Path) -> Format:
    """The format of a file name."""
    for format, suffix in SUFFIXES.items():
        if path.suffix == suffix:
            return format
    raise UserError(
        f"export: '{path}': expected a name that ends in {' or '.join(SUFFIXES.values())}"
    )


def rounded(side: int, model: AnchorFree) -> int:
    """The side rounded up to a multiple of the model's `size_divisor`."""
    return -(-side // model.size_divisor) * model.size_divisor


def images_to_compare(task: Exportable, count: int, height: int, width: int) -> Tensor:
    """Test images on canvases of one size, `[n, 3, height, width]` float32; noise where the data is not there."""
    if not task.has_data:
        draw = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (count, 3, height, width), generator=draw).float()
    source = task.splits.test
    images = torch.full((min(count, len(source)), 3, height, width), float(PADDING))
    for number in range(len(images)):
        image = source.sample(number).image[:, :height, :width]
        images[number, :, : image.shape[1], : image.shape[2]] = image
    return images


class Deployed(nn.Module):
    """The module that is exported: images to boxes, scores and labels."""

    def __init__(self, model: AnchorFree, max_detections: int) -> None:
        super().__init__()
        self.model, self.max_detections = model, max_detections
        self.eval()

    def forward(self, images: Tensor) -> Outputs:
        boxes, scores, labels = self.model.peaks(self.model(images), self.max_detections)
        return clip_boxes(boxes, images), scores, labels


def write_onnx(
    model: AnchorFree, example: Tensor, path: Path, max_detections: int
) -> Callable[[Tensor], Outputs]:
    """Write ONNX; returns the file as a function, run by onnxruntime.

    Raises:
        UserError: onnx, onnxruntime or onnxscript is not installed.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise missing("export", f"ONNX needs '{package}'")
    import onnxruntime

    names = ["boxes", "scores", "labels"]
    program = torch.onnx.export(
        Deployed(model, max_detections),
        (example,),
        input_names=["images"],
        output_names=names,
        dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1, max=1024)}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def again(images: Tensor) -> Outputs:
        boxes, scores, labels = session.run(names, {"images": images.numpy()})
        return torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels)

    return again


def write_exported(
    model: AnchorFree, example: Tensor, path: Path, max_detections: int
) -> Callable[[Tensor], Outputs]:
    """Write torch.export's file; returns the file as a function."""
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    program = torch.export.export(
        Deployed(model, max_detections), (example,), dynamic_shapes=(batch,)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    # It warns of tied weights, though there are none.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path)
    loaded = torch.export.load(path).module()

    def again(images: Tensor) -> Outputs:
        boxes, scores, labels = loaded(images)
        return boxes, scores, labels

    return again


def difference(
    model: AnchorFree, again: Callable[[Tensor], Outputs], images: Tensor, max_detections: int
) -> float:
    """The largest distance in pixels between a side of the file's box and of the model's; infinite where one lacks.

    The file's detections must be among the peaks that rounding allows the model, and the model's certain peaks among
    the file's detections.
    """
    largest = 0.0
    for image in images.split(1):
        maps = model(image)
        best = max(float(logits.sigmoid().max()) for logits, _, _ in maps)
        min_score = min(MIN_SCORE, best / 2)
        boxes, scores, labels = again(image)
        theirs = Detections(boxes[0], scores[0], labels[0]).above(min_score)
        possible, certain = peaks_up_to_rounding(maps, image, max_detections, min_score)
        largest = max(largest, farthest(theirs, possible), farthest(certain, theirs))
    return largest


def peaks_up_to_rounding(
    maps: Sequence[Maps], image: Tensor, max_detections: int, min_score: float
) -> tuple[Detections, Detections]:
    """The cells of an image `[1, 3, H, W]` that may be peaks up to rounding, and those that are peaks in spite of it.

    The latter are higher by the margin than their eight neighbours, the best peak left out, and `min_score`.
    """
    possible: list[Detections] = []
    certain: list[Detections] = []
    for logits, distances, stride in maps:
        # [C, H, W], and the 3x3 neighbours [C, 9, H W] without the cell itself.
        scores = logits[0].sigmoid()
        around = functional.unfold(functional.pad(scores.unsqueeze(1), [1] * 4), 3)
        around[:, 4] = 0.0
        scores = scores.flatten(1)
        lead, margin = scores - around.amax(1), ROUNDING * scores
        peak = lead >= -margin
        left_out = float(
            functional.pad(scores[peak], [0, max_detections + 1])
            .topk(max_detections + 1)
            .values[-1]
        )
        safe = scores - margin > max(min_score, left_out)
        boxes = clip_boxes(decode_boxes(distances, stride)[0], image)
        for kept, chosen in ((possible, peak), (certain, (lead > margin) & safe)):
            label, cell = chosen.nonzero(as_tuple=True)
            kept.append(Detections(boxes[cell], scores[chosen], label))
    return concatenated(possible), concatenated(certain)


def concatenated(levels: Sequence[Detections]) -> Detections:
    """The detections of several levels as one."""
    return Detections(
        torch.cat([level.boxes for level in levels]),
        torch.cat([level.scores for level in levels]),
        torch.cat([level.labels for level in levels]),
    )


def farthest(expected: Detections, among: Detections) -> float:
    """The largest distance in pixels of an expected box to the nearest one of its label and, up to rounding, score."""
    if not len(expected.boxes):
        return 0.0
    if not len(among.boxes):
        return float("inf")
    score = expected.scores.unsqueeze(1)
    same = (expected.labels.unsqueeze(1) == among.labels) & (
        (score - among.scores).abs() <= ROUNDING * score
    )
    apart = (expected.boxes.unsqueeze(1) - among.boxes).abs().amax(-1)
    near = apart.where(same & ~apart.isnan(), float("inf")).amin(1)
    return float(near.max())
