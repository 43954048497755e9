"""A trained face network as a file that runs without this framework: ONNX (`.onnx`) or torch.export (`.pt2`).

The file holds weights and no photograph; what goes in and comes out is stated beside it (see `network_files.py`), so
that it is a detector or an embedder for every command here, too. It is compared with the model on random pictures, and
deleted where it computes something else. A detector's file looks at a photograph in one size, that of the training.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework import UserError
from framework.atomic import write_atomically
from framework.extras import missing
from plugins.detection.models.anchor_free import decode_boxes
from plugins.faces.analysis.network_files import (
    DetectorStatement,
    EmbedderStatement,
    Statement,
    load_network,
)
from plugins.faces.models.face_finder import STRIDE, FaceFinder, decode_landmarks
from plugins.faces.models.face_model import DISPLAY_THRESHOLD
from plugins.faces.models.networks import unit
from plugins.faces.models.recogniser import Recogniser

SUFFIXES = (".onnx", ".pt2")
# The largest difference of an embedding's number, and in pixels of a box.
TOLERANCE, PIXELS = 1e-3, 0.05
# Detections of an exported detector, those without a face among them.
DETECTIONS = 50
# The score from which on detections are compared.
SURE = 0.05


class ExportedEmbedder(nn.Module):
    """Faces `[N, 3, side, side]`, grey levels 0..255 as floats, to embeddings `[N, D]` of norm 1."""

    def __init__(self, model: Recogniser) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        x, embedder = images / 255, self.model.embedder
        own = unit(unit(embedder(x)) + unit(embedder(x.flip(3))))
        if self.model.whitened is None or not self.model.beside:
            return own
        return self.model.together(own, [self.model.whitened(x, n) for n in self.model.beside])


class ExportedFinder(nn.Module):
    """A photograph `[1, 3, H, W]`, grey levels 0..255 as floats, to boxes `[K, 4]`, scores `[K]`, points `[K, 5, 2]`.

    H and W are those of the example that it is exported with.
    """

    def __init__(self, finder: FaceFinder) -> None:
        super().__init__()
        self.finder = finder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        outputs = self.finder.raw_outputs(images)
        scores = outputs.logits.sigmoid()
        highest = functional.max_pool2d(scores, 3, 1, 1)
        maxima = torch.where(scores == highest, scores, torch.zeros_like(scores)).flatten(1)
        best, cells = maxima[0].topk(DETECTIONS)
        boxes = decode_boxes(outputs.distances, STRIDE)[0, cells]
        return boxes, best, decode_landmarks(outputs.landmarks)[0, cells]


def export_embedder(model: Recogniser, path: Path) -> Path:
    """Write an embedder, with what it takes stated beside it; returns the path.

    Raises:
        UserError: another suffix, a package that is not installed, or a file that computes something else.
    """
    side = model.embedder.side
    noise = random_pictures(2, side, side)
    batch = {0: torch.export.Dim("batch", min=1, max=1024)}
    write(ExportedEmbedder(model), path, noise, batch, ["embeddings"])
    state(EmbedderStatement(side=side, mean=0.0, scale=1.0, framing="crop"), path)
    network = load_network(path)
    compare(path, [network(noise[:1])[0]], [ExportedEmbedder(model)(noise[:1])], TOLERANCE)
    return path


def export_finder(finder: FaceFinder, path: Path, side: int) -> Path:
    """Write a detector of photographs with `side` pixels; returns the path, and raises as `export_embedder`."""
    noise = random_pictures(1, side, side)
    write(ExportedFinder(finder), path, noise, {}, ["boxes", "scores", "landmarks"])
    state(DetectorStatement(longest=side, square=side, score=DISPLAY_THRESHOLD), path)
    compare(path, sure(load_network(path)(noise)), sure(ExportedFinder(finder)(noise)), PIXELS)
    return path


def sure(outputs: Sequence[Tensor]) -> list[Tensor]:
    """The boxes of the likelier detections from left to right, since equal scores may change places."""
    boxes = outputs[0][outputs[1] > SURE]
    return [boxes[boxes[:, 0].argsort(stable=True)]]


def random_pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth noise `[count, 3, height, width]` of grey levels 0..255."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return 255 * functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


def write(
    module: nn.Module, path: Path, example: Tensor, dynamic: Mapping[int, object], names: list[str]
) -> None:
    """Write a module; only the shapes of the example are kept."""
    if path.suffix not in SUFFIXES:
        raise UserError(f"export: '{path}': expected a name that ends in {' or '.join(SUFFIXES)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module.eval(), (torch.zeros_like(example),), dynamic_shapes=(dynamic or None,)
        )
        if path.suffix == ".pt2":
            torch.export.save(program, path)
            return
        for package in ("onnx", "onnxruntime", "onnxscript"):
            if importlib.util.find_spec(package) is None:
                raise missing("export", f"ONNX needs '{package}'")
        written = torch.onnx.export(
            program, input_names=["images"], output_names=names, dynamo=True, verbose=False
        )
    if written is None:
        raise UserError(f"{path}: torch wrote no ONNX")
    written.save(str(path))


def state(statement: Statement, path: Path) -> None:
    """State beside a file what goes in and comes out."""
    place = path.with_name(f"{path.name}.json")
    write_atomically(place, statement.model_dump_json(indent=1).encode())


def compare(path: Path, found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Delete a file that computes something else than its model.

    Raises:
        UserError: it does.
    """
    differences = [
        float((a - b).abs().max())
        if a.shape == b.shape and a.numel()
        else float(a.shape != b.shape)
        for a, b in zip(found, expected, strict=True)
    ]
    if not max(differences) < tolerance:
        path.unlink()
        raise UserError(f"{path}: the file differs from the model by {max(differences):.3g}")
