"""Small grey pictures to train on: scikit-learn's digits, or files of the user's.

Files: `.npz` with `images [N, H, W]` and optionally `labels [N]` (or the names in `NAMES`; KMNIST's labels are in the
file beside it); `.npy` with `[N, H, W]`, or square pictures as `[N, H * W]`, such as QuickDraw's; `.ndjson`,
QuickDraw's strokes, one drawing per line; IDX as MNIST, KMNIST and EMNIST come (`...-images-idx3-ubyte`, plain or
.gz, the labels in the file beside it). A folder of folders of pictures, such as Omniglot, is read with each inner
folder as a label. Ink is 1, paper 0.
"""

from __future__ import annotations

import gzip
import io
import json
import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw
from torch import Tensor
from torch.nn import functional

from framework.errors import UserError
from framework.extras import import_extra
from framework.photographs import photograph_of, photographs_in

MAX_BYTES = 2_000_000_000
# Of images and labels in a .npz.
NAMES = (("images", "labels"), ("x_train", "y_train"), ("arr_0", ""))
# Pixels at which files of strokes are rendered.
STROKE_IMAGE_SIZE = 64


@dataclass(frozen=True)
class Images:
    """Pictures `[N, H, W]` in 0..1 and their labels `[N]`, or None."""

    pictures: Tensor
    labels: Tensor | None

    def split(self, held_out: float, seed: int) -> tuple[Images, Images]:
        """A training part and a held-out fraction."""
        order = torch.randperm(len(self.pictures), generator=torch.Generator().manual_seed(seed))
        held = max(1, round(held_out * len(order)))
        return self.chosen(order[held:]), self.chosen(order[:held])

    def chosen(self, which: Tensor) -> Images:
        return Images(self.pictures[which], None if self.labels is None else self.labels[which])


def load_images(source: str, side: int, max_images: int) -> Images:
    """The pictures of `source` ("digits" or a path), scaled to `side` x `side` pixels, `max_images` of them at most.

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
            images, labels = (
                from_folder(path, side, max_images)
                if path.is_dir()
                else from_file(path, max_images)
            )
        except (ValueError, OSError, KeyError, EOFError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"task.images = '{source}': cannot be read ({reason})") from None
    images = images[:max_images]
    if len(images) < 2 or images.ndim != 3:
        raise UserError(
            f"task.images = '{source}': its shape is {list(images.shape)}, expected [N, H, W]"
        )
    known = None if labels is None else torch.from_numpy(numpy.array(labels[:max_images])).long()
    return Images(resized(images, side), known)


def resized(images: NDArray[Any], side: int) -> Tensor:
    """`[N, H, W]` scaled to `[N, side, side]` in 0..1."""
    pictures = torch.from_numpy(numpy.array(images)).float()
    pictures = pictures / pictures.amax().clamp(min=1e-6)
    smaller = functional.interpolate(
        pictures[:, None], (side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return smaller[:, 0].clamp(0, 1)


def digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn."""
    datasets = import_extra(
        "sklearn.datasets", "sketching", "task.images = 'digits' needs the package scikit-learn"
    )
    loaded = datasets.load_digits()
    return loaded.images, loaded.target


def from_file(path: Path, max_images: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """`[N, H, W]` and labels, from one file."""
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    if path.suffix == ".npz":
        return from_npz(path)
    if path.suffix == ".npy":
        return squares(numpy.load(path, mmap_mode="r", allow_pickle=False)[:max_images]), None
    if path.suffix == ".ndjson":
        return from_strokes(path, max_images), None
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    labels = idx(beside) if beside != path and beside.is_file() else None
    return idx(path), labels


def from_npz(path: Path) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Pictures and labels, under any of the known names."""
    with numpy.load(path, allow_pickle=False) as held:
        for images, labels in NAMES:
            if images in held:
                beside = path.with_name(path.name.replace("-imgs", "-labels"))
                if labels in held:
                    return squares(held[images]), held[labels]
                if beside != path and beside.is_file():
                    return squares(held[images]), from_npz(beside)[0]
                return squares(held[images]), None
        raise ValueError(f"it holds {', '.join(held)}; expected images, x_train or arr_0")


def from_strokes(path: Path, max_images: int) -> NDArray[Any]:
    """QuickDraw's lines {"drawing": [[[x, ...], [y, ...]], ...]} rendered with a round pen, `[N, 64, 64]`.

    Raises:
        ValueError: a line in another form; the message gives its number.
    """
    pictures = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(islice(lines, max_images), start=1):
            try:
                strokes = [numpy.array(s[:2], dtype=float) for s in json.loads(line)["drawing"]]
                pictures.append(pen_drawing([s.T for s in strokes]))
            except (ValueError, TypeError, KeyError, IndexError, RecursionError):
                raise ValueError(f"line {number} is no drawing of QuickDraw's") from None
    return numpy.stack(pictures)


def pen_drawing(strokes: list[NDArray[Any]]) -> NDArray[Any]:
    """Polylines `[V, 2]` fitted into a square with a margin, as ink `[64, 64]` of uint8."""
    if not strokes:
        raise ValueError("no strokes")
    points = numpy.concatenate(strokes)
    low, extent = points.min(0), max(float(numpy.ptp(points, axis=0).max()), 1e-6)
    fine, margin = 4 * STROKE_IMAGE_SIZE, 4 * STROKE_IMAGE_SIZE // 10
    scale = (fine - 2 * margin) / extent
    shift = (fine - scale * numpy.ptp(points, axis=0)) / 2
    paper = Pillow.new("L", (fine, fine))
    pen, radius = ImageDraw.Draw(paper), fine // 40
    for stroke in strokes:
        places = [(float(x), float(y)) for x, y in (stroke - low) * scale + shift]
        pen.line(places, fill=255, width=2 * radius, joint="curve")
        for x, y in (places[0], places[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return numpy.asarray(
        paper.resize((STROKE_IMAGE_SIZE, STROKE_IMAGE_SIZE), Pillow.Resampling.BOX)
    )


def squares(images: NDArray[Any]) -> NDArray[Any]:
    """`[N, side * side]` as `[N, side, side]`; other shapes unchanged."""
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    return images.reshape(-1, side, side) if side * side == images.shape[-1] and side else images


def idx(path: Path) -> NDArray[Any]:
    """The IDX format of unsigned bytes: 0 0 8 dimensions, their sizes as big-endian integers, the data."""
    with path.open("rb") as packed:
        data = packed.read(MAX_BYTES)
    if path.suffix == ".gz":
        with gzip.open(io.BytesIO(data)) as unpacked:
            data = unpacked.read(MAX_BYTES)
    if data[:3] != b"\0\0\x08":
        raise ValueError("neither .npz, .npy nor IDX of unsigned bytes")
    sizes = numpy.frombuffer(data, ">u4", data[3], 4)
    return numpy.frombuffer(data, numpy.uint8, offset=4 + 4 * data[3]).reshape(sizes)


def from_folder(path: Path, side: int, max_images: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Pictures in folders, each innermost folder a label; dark on light is inverted."""
    files = photographs_in(path)[:max_images]
    if not files:
        raise ValueError("no pictures in this folder")
    names = {name: i for i, name in enumerate(sorted({str(file.parent) for file in files}))}
    pictures = numpy.stack([shades(file, side) for file in files])
    if numpy.median(pictures) > 127:
        pictures = 255 - pictures
    return pictures, numpy.array([names[str(file.parent)] for file in files])


def load_ink(path: Path, side: int) -> Tensor:
    """One picture file as ink `[side, side]` in 0..1; dark on light is inverted.

    Raises:
        UserError: it cannot be read.
    """
    read = shades(path, side)
    return resized((255 - read if numpy.median(read) > 127 else read)[None], side)[0]


def shades(path: Path, side: int) -> NDArray[numpy.float32]:
    """One picture file, grey, `[side, side]` in 0..255.

    Raises:
        UserError: it cannot be read.
    """
    rows = photograph_of(path).permute(1, 2, 0).numpy()
    small = Pillow.fromarray(rows).convert("L").resize((side, side))
    return numpy.asarray(small, dtype=numpy.float32)
