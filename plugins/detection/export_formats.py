"""Writing a module as ONNX or torch.export, with what a user of the file needs to know in it, and running the file.

Neither file holds images: the example that a module is traced with is empty. Heights and widths are free, in multiples
of the model's size divisor, unless they are fixed.
"""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from framework.errors import UserError
from framework.extras import missing
from plugins.detection.deployed import Outputs

Format = Literal["onnx", "torch_export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}
OUTPUTS = ["boxes", "scores", "labels"]
# The key of the metadata in an ONNX file, and their file in torch.export's.
ONNX_KEY, EXTRA_FILE = "diffobj", "diffobj.json"
MAX_BATCH, MAX_SIDE = 1024, 8192


@dataclass(frozen=True)
class Sides:
    """The heights and widths that a file takes: multiples of `divisor`, or fixed ones."""

    divisor: int
    height: int | None = None
    width: int | None = None

    def example(self) -> Tensor:
        """Empty images of two different sides."""
        height, width = self.height or 2 * self.divisor, self.width or 3 * self.divisor
        return torch.zeros(2, 3, height, width)

    def dynamic(self) -> dict[int, Any]:
        """torch.export's description of what is free."""
        free: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}
        for axis, name, side in ((2, "rows", self.height), (3, "columns", self.width)):
            if side is None:
                units = torch.export.Dim(name, min=1, max=MAX_SIDE // self.divisor)
                free[axis] = self.divisor * units
        return free


def exported(module: nn.Module, sides: Sides) -> torch.export.ExportedProgram:
    return torch.export.export(module, (sides.example(),), dynamic_shapes=(sides.dynamic(),))


def write_onnx(
    module: nn.Module, path: Path, sides: Sides, metadata: Mapping[str, Any]
) -> Callable[[Tensor], Outputs]:
    """Write ONNX; returns the file as a function, run by onnxruntime.

    Raises:
        UserError: onnx, onnxruntime or onnxscript is not installed.
    """
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise missing("export", f"ONNX needs '{package}'")
    import onnxruntime

    program = torch.onnx.export(
        exported(module, sides),
        input_names=["images"],
        output_names=OUTPUTS,
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise UserError(f"{path}: torch wrote no ONNX")
    program.model.metadata_props[ONNX_KEY] = json.dumps(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def again(images: Tensor) -> Outputs:
        boxes, scores, labels = session.run(OUTPUTS, {"images": images.numpy()})
        return torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(labels)

    return again


def write_exported(
    module: nn.Module, path: Path, sides: Sides, metadata: Mapping[str, Any]
) -> Callable[[Tensor], Outputs]:
    """Write torch.export's file; returns the file as a function."""
    program = exported(module, sides)
    path.parent.mkdir(parents=True, exist_ok=True)
    # It warns of tied weights, though there are none.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, path, extra_files={EXTRA_FILE: json.dumps(metadata)})
    # Its guards would refuse sides of one unit, for the order of the memory alone.
    loaded = torch.export.load(path).module(check_guards=False)

    def again(images: Tensor) -> Outputs:
        boxes, scores, labels = loaded(images)
        return boxes, scores, labels

    return again


def format_of(path: Path) -> Format:
    """The format of a file name."""
    for format, suffix in SUFFIXES.items():
        if path.suffix == suffix:
            return format
    raise UserError(
        f"export: '{path}': expected a name that ends in {' or '.join(SUFFIXES.values())}"
    )
