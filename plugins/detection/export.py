"""diffobj export: write a trained detector as ONNX or torch.export: diffobj export run=RUN_FOLDER format=onnx

    diffobj export run=RUN_FOLDER [format=onnx|torch_export] [output=FILE] [height=N] [width=N] [checkpoint=best|last]
                   [images=50] [task.KEY=VALUE ...]

What is written takes images `[batch, 3, height, width]` of float32 from 0 to 255 (any batch, this height and width) and
gives boxes `[batch, k, 4]` in pixels, scores `[batch, k]` and labels `[batch, k]`, best first. It is then run on some
test images and compared with the model: a box that is off by 0.01 pixels or more is an error. Where objects can be told
by several levels of a pyramid, repeats (boxes of a label that agree by 0.65) are left to the user.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.commands.trained import trained
from framework.errors import UserError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.detection.models.anchor_free import AnchorFree
    from plugins.detection.task import Detection

FORMATS = {"onnx": ".onnx", "torch_export": ".pt2"}
TOLERANCE = 0.01  # pixels
Found = tuple["Tensor", "Tensor", "Tensor"]


def run(arguments: Sequence[str]) -> int:
    """Load a run, write the file, compare, and print what was written as JSON."""
    loaded = trained("export", arguments, ("format", "output", "height", "width", "images"))
    form = loaded.options.get("format", "onnx")
    if form not in FORMATS:
        raise UserError(f"format = '{form}'; {suggestion(form, FORMATS)}")
    task = loaded.task
    from plugins.detection.models.anchor_free import AnchorFree
    from plugins.detection.task import Detection

    if not (isinstance(task, Detection) and isinstance(task.model, AnchorFree)):
        raise UserError(f"{loaded.folder}: only detectors of the anchor-free family are exported")
    numbers = {key: whole(loaded.options, key) for key in ("height", "width", "images")}
    height, width = (rounded(numbers[key] or task.size, task.model) for key in ("height", "width"))
    output = Path(loaded.options.get("output", loaded.folder / f"model{FORMATS[form]}"))
    count = numbers["images"] or 50
    with loaded.in_use():
        images = images_to_compare(task, count, height, width)
        write = {"onnx": write_onnx, "torch_export": write_exported}[form]
        again = write(task.model.cpu(), images[:2], output, task.most)
        apart = difference(task.model, again, images, task.most)
    if apart >= TOLERANCE:
        output.unlink()
        raise UserError(f"{output}: a box is off by {apart:.3g} pixels; nothing was written")
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
    import torch
    from torch import nn

    class Deployed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Found:
            boxes, scores, labels = self.model.peaks(self.model(images), most)
            height, width = images.shape[-2:]
            edge = torch.tensor([width, height, width, height], dtype=boxes.dtype)
            return torch.minimum(boxes.clamp(min=0), edge), scores, labels

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
    """The largest distance in pixels between a side of the model's box and of the written file's nearest one.

    Boxes are compared in both directions and per label; detections below a score of 0.001 do not count.
    """
    ours = deployed(model, most)
    largest = 0.0
    for image in images.split(1):
        one, other = (clear(found) for found in (ours(image), again(image)))
        for a, b in ((one, other), (other, one)):
            if len(a) and not len(b):
                return float("inf")
            if len(a):
                apart = (a.unsqueeze(1) - b.unsqueeze(0)).abs().amax(-1).amin(1).max()
                largest = max(largest, float(apart))
    return largest


def clear(found: Found) -> Tensor:
    """Boxes of one image with what tells apart objects of different labels and scores, `[k, 6]`."""
    import torch

    boxes, scores, labels = (part[0] for part in found)
    keep = scores > 0.001
    return torch.cat([boxes[keep], 1000.0 * labels[keep, None], scores[keep, None]], 1)
