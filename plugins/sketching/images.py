"""Small grey pictures to learn from: scikit-learn's digits, or files that a user has.

Files: `.npz` with `images [N, H, W]` (and `labels [N]`); `.npy` with `[N, H, W]`, or squares as `[N, H * W]`, such as
QuickDraw; IDX as MNIST, KMNIST and EMNIST come (`...-images-idx3-ubyte`, plain or .gz, the labels in the file beside
it). A folder of folders of pictures, such as Omniglot, is read with each inner folder as a label. Ink is 1, paper 0.
"""

from __future__ import annotations

import gzip
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional

from framework.errors import UserError

MOST_BYTES = 2_000_000_000
PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".bmp"}


@dataclass(frozen=True)
class Images:
    """Pictures `[N, H, W]` in 0..1 and their labels `[N]`, or None."""

    pictures: Tensor
    labels: Tensor | None

    def split(self, held_out: float, seed: int) -> tuple[Images, Images]:
        """A part to learn from and a share held out."""
        order = torch.randperm(len(self.pictures), generator=torch.Generator().manual_seed(seed))
        held = max(1, round(held_out * len(order)))
        return self.chosen(order[held:]), self.chosen(order[:held])

    def chosen(self, which: Tensor) -> Images:
        return Images(self.pictures[which], None if self.labels is None else self.labels[which])


def load_images(source: str, side: int, most: int) -> Images:
    """The pictures of `source` ("digits" or a path), scaled to `side` x `side` pixels, `most` of them at most.

    Raises:
        UserError: a missing file or package, or a file of another form.
    """
    images: NDArray[Any]
    labels: NDArray[Any] | None
    if source == "digits":
        images, labels = digits()
    else:
        path = Path(source)
        if not path.exists():
            raise UserError(
                f"task.images = '{source}': expected digits, or a file or folder that exists"
            )
        try:
            images, labels = from_folder(path, side, most) if path.is_dir() else from_file(path)
        except (ValueError, OSError, KeyError, EOFError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"task.images = '{source}': cannot be read ({reason})") from None
    images = images[:most]
    if len(images) < 2 or images.ndim != 3:
        raise UserError(
            f"task.images = '{source}': its shape is {list(images.shape)}, expected [N, H, W]"
        )
    pictures = torch.from_numpy(numpy.array(images)).float()
    pictures = pictures / pictures.amax().clamp(min=1e-6)
    pictures = functional.interpolate(
        pictures[:, None], (side, side), mode="bilinear", align_corners=False, antialias=True
    )[:, 0].clamp(0, 1)
    known = None if labels is None else torch.from_numpy(numpy.array(labels[:most])).long()
    return Images(pictures, known)


def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise UserError(
            "task.images = 'digits' needs the package scikit-learn: pip install 'diffobj[sketching]'"
        ) from None
    found = load_digits()
    return found.images, found.target


def from_file(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """`[N, H, W]` and labels from one file."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes, more than {MOST_BYTES:,}")
    if path.suffix == ".npz":
        with numpy.load(path, allow_pickle=False) as held:
            return squares(held["images"]), held.get("labels")
    if path.suffix == ".npy":
        return squares(numpy.load(path, allow_pickle=False)), None
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = idx(beside) if beside != path and beside.is_file() else None
    return idx(path), labels


def squares(images: NDArray[Any]) -> NDArray[Any]:
    """`[N, side * side]` as `[N, side, side]`; anything else as it is."""
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    return images.reshape(-1, side, side) if side * side == images.shape[-1] and side else images


def idx(path: Path) -> NDArray[Any]:
    """The IDX format of unsigned bytes: 0 0 8 dimensions, their sizes as big-endian integers, the data."""
    with path.open("rb") as packed:
        data = packed.read(MOST_BYTES)
    if path.suffix == ".gz":
        with gzip.open(io.BytesIO(data)) as unpacked:
            data = unpacked.read(MOST_BYTES)
    if data[:3] != b"\0\0\x08":
        raise ValueError("neither .npz, .npy nor IDX of unsigned bytes")
    sizes = numpy.frombuffer(data, ">u4", data[3], 4)
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * data[3]).reshape(sizes)


def from_folder(path: Path, side: int, most: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pictures in folders, each innermost folder a label; dark on light is turned round."""
    files = sorted(f for f in path.rglob("*") if f.suffix.lower() in PICTURES)[:most]
    if not files:
        raise ValueError("no pictures in this folder")
    names = sorted({str(file.parent) for file in files})
    images = []
    for file in files:
        with Pillow.open(file) as opened:
            images.append(numpy.asarray(opened.convert("L").resize((side, side))))
    pictures = numpy.stack(images).astype(numpy.float32)
    if numpy.median(pictures) > 127:
        pictures = 255 - pictures
    return pictures, numpy.array([names.index(str(file.parent)) for file in files])
