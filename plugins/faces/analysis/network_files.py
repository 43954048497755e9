"""Networks from files (ONNX, TorchScript, torch.export), with what goes in and comes out stated beside them.

Beside `model.onnx` may lie `model.onnx.json`; what it leaves out has the defaults below.

A detector gets one RGB photograph `[1, 3, H, W]` float32 and returns boxes `[K, 4]` xyxy in the pixels that it got,
scores `[K]` and, optionally, landmarks `[K, 5, 2]` or `[K, 10]`, in this order.

    {"kind": "detector", "longest": null, "square": null, "mean": 0, "scale": 1, "channels": "RGB", "score": 0.5}

An embedder gets faces `[N, 3, side, side]` float32 and returns features `[N, D]`, whose length does not matter.

    {"kind": "embedder", "side": 112, "mean": 127.5, "scale": 0.00784, "channels": "RGB", "framing": "arcface"}

What goes in is (x - mean) * scale of grey levels 0..255. A file of a network is a program: use only those you trust.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from framework import UserError
from framework.extras import import_extra
from plugins.faces.analysis.cutting import Framing

ONNX, TORCHSCRIPT, EXPORTED = {".onnx"}, {".pt", ".ts", ".torchscript"}, {".pt2"}
MAX_STATEMENT = 10_000


class Statement(BaseModel):
    """What goes into a network: (x - mean) * scale of grey levels 0..255, in the order of `channels`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    mean: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    channels: Literal["RGB", "BGR"] = "RGB"

    def prepared(self, images: Tensor) -> Tensor:
        """Images `[N, 3, H, W]` uint8 as the network takes them."""
        x = (images.float() - self.mean) * self.scale
        return x.flip(1) if self.channels == "BGR" else x


class DetectorStatement(Statement):
    """Of a detector.

    Attributes:
        longest: pixels to which a longer photograph is resized.
        square: the side of the grey square at whose top left a photograph lies, for networks that take one size alone.
        score: of a face at least.
    """

    kind: Literal["detector"] = "detector"
    longest: Annotated[int, Field(ge=16, le=10_000)] | None = None
    square: Annotated[int, Field(ge=16, le=10_000)] | None = None
    score: Annotated[float, Field(ge=0, le=1)] = 0.5


class EmbedderStatement(Statement):
    """Of an embedder; `side`: of the square faces that it gets, `framing`: where the landmarks lie in them."""

    kind: Literal["embedder"] = "embedder"
    side: Annotated[int, Field(ge=8, le=1024)] = 112
    mean: Annotated[float, Field(allow_inf_nan=False)] = 127.5
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1 / 127.5
    framing: Framing = "arcface"


Network = Callable[[Tensor], list[Tensor]]
Stated = TypeVar("Stated", bound=Statement)


def is_network_file(source: str | Path) -> bool:
    """Whether a name is that of a network's file, by its suffix."""
    return Path(source).suffix.lower() in ONNX | TORCHSCRIPT | EXPORTED


def statement_of(kind: type[Stated], path: Path) -> Stated:
    """What lies beside a network's file, or the defaults.

    Raises:
        UserError: it is malformed; names the first field that is wrong.
    """
    place = path.with_name(f"{path.name}.json")
    if not place.exists():
        return kind()
    try:
        return kind.model_validate_json(place.read_bytes()[:MAX_STATEMENT])
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise UserError(f"{place}: {ascii(where[:60])[1:-1]}: {first['msg']}") from None
    except OSError as error:
        raise UserError(f"{place}: {error.strerror}") from None


def load_network(path: Path) -> Network:
    """A network's file as a function of one tensor.

    Raises:
        UserError: it cannot be read, or ONNX's runtime is not installed.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; expected a network, .onnx, .pt or .pt2")
    suffix = path.suffix.lower()
    if suffix in ONNX:
        return onnx_network(path)
    return exported_network(path) if suffix in EXPORTED else torchscript_network(path)


def onnx_network(path: Path) -> Network:
    runtime = import_extra("onnxruntime", "export", "networks in ONNX need onnxruntime")
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    # Its errors share no class.
    except Exception as error:
        raise unreadable(path, error) from None
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise UserError(f"{path}: {len(inputs)} inputs; expected one")

    def run(images: Tensor) -> list[Tensor]:
        try:
            outputs = session.run(None, {inputs[0].name: images.numpy()})
        except Exception as error:
            raise unreadable(path, error) from None
        return [torch.as_tensor(output) for output in outputs]

    return run


def torchscript_network(path: Path) -> Network:
    try:
        with warnings.catch_warnings():
            # That the form is an old one is known to whoever has such a file.
            warnings.simplefilter("ignore", FutureWarning)
            module = torch.jit.load(str(path), map_location="cpu").eval()
    except Exception as error:
        raise unreadable(path, error) from None

    return module_network(path, module)


def exported_network(path: Path) -> Network:
    try:
        # Its guards would refuse one picture, for the order of the memory alone.
        module = torch.export.load(path).module(check_guards=False)
    except Exception as error:
        raise unreadable(path, error) from None
    return module_network(path, module)


def module_network(path: Path, module: Callable[[Tensor], object]) -> Network:
    """A module that returns tensors."""

    def run(images: Tensor) -> list[Tensor]:
        try:
            with torch.no_grad():
                outputs = module(images)
        except Exception as error:
            raise unreadable(path, error) from None
        several = outputs if isinstance(outputs, tuple | list) else [outputs]
        if not all(isinstance(output, Tensor) for output in several):
            raise UserError(f"{path}: expected it to return tensors")
        return list(several)

    return run


def unreadable(path: Path, error: Exception) -> UserError:
    reason = str(error).strip().partition("\n")[0][:200]
    return UserError(f"{path}: {type(error).__name__}: {reason}")


def file_fingerprint(path: Path, statement: Statement) -> str:
    """A hash of a network's file and of what is stated beside it."""
    total = hashlib.sha256(path.read_bytes())
    total.update(statement.model_dump_json().encode())
    return total.hexdigest()[:16]
