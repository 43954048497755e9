"""diffobj export: write a trained detector as ONNX or torch.export: diffobj export run=RUN_FOLDER format=onnx

    diffobj export run=RUN_FOLDER [format=onnx|torch_export] [output=FILE] [height=N] [width=N] [checkpoint=best|last]
                   [images=50] [task.KEY=VALUE ...]

What is written takes images `[batch, 3, height, width]` of float32 from 0 to 255 (any batch, this height and width) and
gives boxes `[batch, k, 4]` in pixels, scores `[batch, k]` and labels `[batch, k]`, best first. It is then run on some
test images and compared with the model: a box that is off by 0.01 pixels or more is an error. So is a detection that
only one of them has, unless scores decide on it that differ by less than 0.0001 of themselves: which of these is the
higher one depends on the order in which a processor adds. Where objects can be told by several levels of a pyramid, and
in the aligned family, repeats (boxes of a label that agree by 0.65) are left to the user.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.commands.run_arguments import load_run
from framework.errors import UserError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.detection.models.anchor_free import AnchorFree, Maps
    from plugins.detection.sample import Detections
    from plugins.detection.task import Detection

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}
TOLERANCE = 0.01  # pixels
ROUNDING = 1e-4  # scores that differ by less than this share of themselves may change places
FLOOR = 0.001  # detections of lower scores do not count, unless an image has none of higher ones
Found = tuple["Tensor", "Tensor", "Tensor"]


def run(arguments: Sequence[str]) -> int:
    """Load a run, write the file, compare, and print what was written as JSON."""
    loaded, _, options = load_run(
        "export", arguments, ("format", "output", "height", "width", "images")
    )
    form = options.get("format", "onnx")
    if form not in FORMATS:
        raise UserError(f"format = '{form}'; {suggestion(form, FORMATS)}")
    task = loaded.task
    import torch

    from plugins.detection.models.anchor_free import AnchorFree
    from plugins.detection.task import Detection

    if not (isinstance(task, Detection) and isinstance(task.model, AnchorFree)):
        raise UserError(f"{loaded.folder}: only detectors of the anchor-free family are exported")
    numbers = {key: whole(options, key) for key in ("height", "width", "images")}
    height, width = (rounded(numbers[key] or task.size, task.model) for key in ("height", "width"))
    output = Path(options.get("output", loaded.folder / f"model{FORMATS[form]}"))
    count = numbers["images"] or 50
    write = {"onnx": write_onnx, "torch_export": write_exported}[form]
    images = images_to_compare(task, count, height, width)
    model = task.model.cpu().eval()
    with torch.no_grad():  # and in float32, whatever the precision was that it was trained in
        again = write(model, images[:2], output, task.most)
        apart = difference(model, again, images, task.most)
    if apart >= TOLERANCE:
        output.unlink()
        wrong = f"a box is off by {apart:.3g} pixels"
        if apart == float("inf"):
            wrong = "a detection of one label and score is in the model or in the file alone"
        raise UserError(f"{output}: {wrong}; nothing was written")
    told = {
        "file": str(output),
        "format": form,
        "input": ["batch", 3, height, width],
        "categories": task.categories,
        "images compared": len(images),
        "largest difference in pixels": apart,
    }
    print(json.dumps(told))
    return 0


def whole(options: dict[str, str], key: str) -> int | None:
    """A whole number above 0, if it was given."""
    text = options.get(key)
    if text is None:
        return None
    if not (text.isdecimal() and int(text)):
        raise UserError(f"{key} = '{text}': expected a whole number above 0")
    return int(text)


def rounded(side: int, model: AnchorFree) -> int:
    """The next multiple of what the model's images are multiples of."""
    return -(-side // model.multiple) * model.multiple


def images_to_compare(task: Detection, count: int, height: int, width: int) -> Tensor:
    """Test images on canvases of one size, `[n, 3, height, width]` float32; noise where there are no images here."""
    import torch

    from plugins.detection.sample import PADDING

    if not task.has_data:
        draw = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (count, 3, height, width), generator=draw).float()
    source = task.splits.test
    images = torch.full((min(count, len(source)), 3, height, width), float(PADDING))
    for number in range(len(images)):
        image = source.sample(number).image[:, :height, :width]
        images[number, :, : image.shape[1], : image.shape[2]] = image
    return images


def deployed(model: AnchorFree, most: int) -> Any:
    """The model as what is exported: images to boxes, scores and labels, tensors all of them."""
    from torch import nn

    from plugins.detection.models.anchor_free import cut_off

    class Deployed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Found:
            boxes, scores, labels = self.model.peaks(self.model(images), most)
            return cut_off(boxes, images), scores, labels

    return Deployed().eval()


def write_onnx(
    model: AnchorFree, example: Tensor, path: Path, most: int
) -> Callable[[Tensor], Found]:
    """Write ONNX; returns the written file as a function, run by onnxruntime.

    Raises:
        UserError: onnx, onnxruntime or onnxscript is not installed.
    """
    import torch

    for package in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"ONNX needs '{package}': pip install 'diffobj[export]'")
    import onnxruntime

    names = ["boxes", "scores", "labels"]
    program = torch.onnx.export(
        deployed(model, most),
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

    def again(images: Tensor) -> Found:
        boxes, scores, labels = session.run(names, {"images": images.numpy()})
        return torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels)

    return again


def write_exported(
    model: AnchorFree, example: Tensor, path: Path, most: int
) -> Callable[[Tensor], Found]:
    """Write torch.export's file; returns the written file as a function."""
    import torch

    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    program = torch.export.export(deployed(model, most), (example,), dynamic_shapes=(batch,))
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tied weights are told of though there are none
        torch.export.save(program, path)
    loaded = torch.export.load(path).module()

    def again(images: Tensor) -> Found:
        boxes, scores, labels = loaded(images)
        return boxes, scores, labels

    return again


def difference(
    model: AnchorFree, again: Callable[[Tensor], Found], images: Tensor, most: int
) -> float:
    """The largest distance in pixels between a side of the file's box and of the model's; infinite where one lacks.

    What the file finds must be among the peaks that the model allows, and the model's certain peaks among what the file
    finds.
    """
    from plugins.detection.sample import Detections

    largest = 0.0
    for image in images.split(1):
        maps = model(image)
        best = max(float(logits.sigmoid().max()) for logits, _, _ in maps)
        floor = min(FLOOR, best / 2)
        theirs = Detections(*(part[0] for part in again(image))).above(floor)
        possible, certain = peaks_up_to_rounding(maps, image, most, floor)
        largest = max(largest, farthest(theirs, possible), farthest(certain, theirs))
    return largest


def peaks_up_to_rounding(
    maps: Sequence[Maps], image: Tensor, most: int, floor: float
) -> tuple[Detections, Detections]:
    """The places of an image `[1, 3, H, W]` that rounding may make peaks, and those that are found in spite of it.

    The latter are higher by the margin than their eight neighbours, the best peak that is left out, and the floor.
    """
    from torch.nn import functional

    from plugins.detection.models.anchor_free import cut_off, told
    from plugins.detection.sample import Detections

    possible: list[Detections] = []
    certain: list[Detections] = []
    for logits, distances, stride in maps:
        scores = logits[0].sigmoid()  # [C, H, W]
        around = functional.unfold(functional.pad(scores.unsqueeze(1), [1] * 4), 3)  # [C, 9, H W]
        around[:, 4] = 0.0  # the place itself
        scores = scores.flatten(1)
        lead, margin = scores - around.amax(1), ROUNDING * scores
        peak = lead >= -margin
        left_out = float(functional.pad(scores[peak], [0, most + 1]).topk(most + 1).values[-1])
        safe = scores - margin > max(floor, left_out)
        boxes = cut_off(told(distances, stride)[0], image)
        for kept, chosen in ((possible, peak), (certain, (lead > margin) & safe)):
            label, cell = chosen.nonzero(as_tuple=True)
            kept.append(Detections(boxes[cell], scores[chosen], label))
    return joined(possible), joined(certain)


def joined(levels: Sequence[Detections]) -> Detections:
    """Detections of several levels as one."""
    import torch

    from plugins.detection.sample import Detections

    return Detections(*(torch.cat(part) for part in zip(*levels, strict=True)))


def farthest(wanted: Detections, among: Detections) -> float:
    """How far in pixels a wanted box is at most from the nearest one of the same label and, up to rounding, score."""
    if not len(wanted.boxes):
        return 0.0
    if not len(among.boxes):
        return float("inf")
    score = wanted.scores.unsqueeze(1)
    alike = (wanted.labels.unsqueeze(1) == among.labels) & (
        (score - among.scores).abs() <= ROUNDING * score
    )
    apart = (wanted.boxes.unsqueeze(1) - among.boxes).abs().amax(-1)
    near = apart.where(alike & ~apart.isnan(), float("inf")).amin(1)
    return float(near.max())
