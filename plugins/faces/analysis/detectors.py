"""Detectors of faces: a trained run, a network's file, the bundled one, or the cascade of an installed library."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor
from torchvision.ops import nms

from framework import UserError
from plugins.faces.analysis.bundled import BUNDLED, BundledDetector
from plugins.faces.analysis.cutting import Places
from plugins.faces.analysis.network_files import (
    DetectorStatement,
    file_fingerprint,
    is_network_file,
    load_network,
    statement_of,
)
from plugins.faces.data.photographs import as_pixels

if TYPE_CHECKING:
    from plugins.faces.tasks.face_task import FaceTask

MTCNN = "mtcnn"
# The IoU from which on two detections are one face.
SAME_FACE = 0.4
# Pixels of the shorter side below which the cascade cannot look, and of the smallest face that it looks for.
SMALLEST_PICTURE, SMALLEST_FACE = 24, 20


class Detector(Protocol):
    """Where the faces of an RGB photograph are."""

    def places(self, photograph: Pillow.Image) -> Places: ...

    def fingerprint(self) -> str: ...


class RunDetector:
    """The detector of a trained run of `faces` or `face_detection`."""

    def __init__(self, task: FaceTask) -> None:
        self.task = task

    def places(self, photograph: Pillow.Image) -> Places:
        with self.task.inference():
            faces = self.task.faces_in(photograph)
        return Places(faces["boxes"], faces["scores"], faces["landmarks"])

    def fingerprint(self) -> str:
        return self.task.fingerprint()


class MtcnnDetector:
    """MTCNN of facenet-pytorch, a cascade that was trained on photographs of people (Zhang et al. 2016).

    Its weights come with the package; nothing is downloaded.

    Raises:
        UserError: the package is not installed.
    """

    def __init__(self) -> None:
        try:
            library = importlib.import_module("facenet_pytorch")
        except ModuleNotFoundError as error:
            raise UserError(
                f"detector = mtcnn needs facenet-pytorch ({error}): pip install --no-deps facenet-pytorch tqdm requests"
            ) from None
        self.cascade = library.MTCNN(keep_all=True, device="cpu", min_face_size=SMALLEST_FACE)

    def places(self, photograph: Pillow.Image) -> Places:
        if min(photograph.size) < SMALLEST_PICTURE:
            return no_places()
        with torch.no_grad():
            boxes, scores, landmarks = self.cascade.detect(photograph, landmarks=True)
        if boxes is None:
            return no_places()
        values = (
            torch.as_tensor(numpy.asarray(v, numpy.float32)) for v in (boxes, scores, landmarks)
        )
        return Places.sorted(*values)

    def fingerprint(self) -> str:
        total = hashlib.sha256(MTCNN.encode())
        for name, value in sorted(self.cascade.state_dict().items()):
            total.update(name.encode() + value.numpy().tobytes())
        return total.hexdigest()[:16]


class FileDetector:
    """A detector from a file; see `network_files`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.statement = statement_of(DetectorStatement, path)
        self.network = load_network(path)

    def places(self, photograph: Pillow.Image) -> Places:
        factor = 1.0
        if self.statement.longest is not None:
            factor = min(1.0, self.statement.longest / max(photograph.size))
        size = tuple(max(1, round(n * factor)) for n in photograph.size)
        small = photograph.resize((size[0], size[1]), Pillow.Resampling.BILINEAR)
        if self.statement.square is not None:
            small = on_grey(small, self.statement.square, self.path)
        outputs = self.network(self.statement.prepared(as_pixels(small)[None]))
        boxes, scores, landmarks = self.checked(outputs)
        likely = (scores >= self.statement.score).nonzero()[:, 0]
        kept = likely[nms(boxes[likely], scores[likely], SAME_FACE)]
        return Places.sorted(boxes[kept] / factor, scores[kept], landmarks[kept] / factor)

    def checked(self, outputs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs, of the shapes that they are to have.

        Raises:
            UserError: other shapes, or scores outside 0..1.
        """
        if len(outputs) >= 2 and outputs[0].dim() == 2 and outputs[0].shape[1:] == (4,):
            boxes, scores, count = outputs[0].float(), outputs[1].float(), len(outputs[0])
            points = outputs[2].float() if len(outputs) > 2 else torch.full((count, 10), torch.nan)
            fits = scores.numel() == count and points.numel() == 10 * count
            if (
                fits
                and bool(((scores >= 0) & (scores <= 1)).all())
                and bool(boxes.isfinite().all())
            ):
                return boxes, scores.reshape(count), points.reshape(count, 5, 2)
        shapes = ", ".join(str(list(output.shape)) for output in outputs)
        raise UserError(
            f"{self.path}: it returned {shapes}; expected boxes [K, 4], scores [K] in 0..1, landmarks [K, 5, 2]"
        )

    def fingerprint(self) -> str:
        return file_fingerprint(self.path, self.statement)


def on_grey(photograph: Pillow.Image, side: int, path: Path) -> Pillow.Image:
    """A photograph at the top left of a grey square.

    Raises:
        UserError: it is larger.
    """
    if max(photograph.size) > side:
        raise UserError(f"{path}.json: longest: expected {side} at most, as square is")
    square = Pillow.new("RGB", (side, side), (127, 127, 127))
    square.paste(photograph)
    return square


def no_places() -> Places:
    return Places(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 5, 2))


def make_detector(source: str | Path | Detector) -> Detector:
    """A detector by what names it: "bundled", "mtcnn", the folder of a run, or a network's file.

    Raises:
        UserError: it cannot be loaded, or does not detect.
    """
    if not isinstance(source, str | Path):
        if not hasattr(source, "places"):
            raise UserError(f"detector = {source!r}: expected bundled, mtcnn, a folder or a file")
        return source
    if str(source) == MTCNN:
        return MtcnnDetector()
    if str(source) == BUNDLED:
        return BundledDetector()
    path = Path(source).expanduser()
    if is_network_file(path):
        return FileDetector(path)
    from framework import load
    from plugins.faces.tasks.scene_task import SceneTask

    if not path.is_dir():
        raise UserError(
            f"detector = '{source}': expected bundled, mtcnn, the folder of a run of faces or face_detection, or a "
            "network's file (.onnx, .pt)"
        )
    task = load(path).task
    if not isinstance(task, SceneTask):
        raise UserError(f"detector = '{source}': this run does not detect faces")
    return RunDetector(task)
