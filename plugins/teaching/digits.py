"""Handwritten digits as bits: scikit-learn's 1,797 digits of 8 x 8, or MNIST from a folder.

A pixel brighter than half is 1. A fifth of scikit-learn's digits is held out; MNIST brings its own test digits. Nothing
is downloaded: scikit-learn carries its digits in its wheel.
"""

from __future__ import annotations

import gzip
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from framework import UserError
from framework.extras import import_extra
from framework.randomness import generator

# The first bytes of an idx file of unsigned bytes in three dimensions.
IDX_IMAGES = b"\x00\x00\x08\x03"
IDX = {"train": "train-images", "test": "t10k-images"}
NPZ = {"train": "x_train", "test": "x_test"}

Bytes = NDArray[numpy.uint8]


@dataclass(frozen=True)
class Digits:
    """Bits of digits, `[N, height * width]`, for training and held out."""

    train: Tensor
    held_out: Tensor
    height: int
    width: int


def load_digits(folder: Path | None) -> Digits:
    """The digits of a folder, or scikit-learn's.

    Raises:
        UserError: scikit-learn is not installed, or the folder holds no digits in a known format.
    """
    if folder is None:
        return embedded()
    if not folder.is_dir():
        raise UserError(
            f"task.folder = '{folder}': no such folder; null takes scikit-learn's digits"
        )
    train, test = (from_folder(folder, part) for part in ("train", "test"))
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"task.folder = '{folder}': training digits are {train.shape[1:]}, test digits {test.shape[1:]}"
        )
    _, height, width = train.shape
    return Digits(bits(train, 255), bits(test, 255), height, width)


def embedded() -> Digits:
    """scikit-learn's digits, a fixed fifth of them held out."""
    datasets = import_extra(
        "sklearn.datasets", "teaching", "the digits (or task.folder with MNIST's) need scikit-learn"
    )
    images = bits(numpy.asarray(datasets.load_digits().images), 16)
    order = torch.randperm(len(images), generator=generator(0, "held-out digits"))
    fifth = len(images) // 5
    return Digits(images[order[fifth:]], images[order[:fifth]], 8, 8)


def bits(images: NDArray[Any], brightest: int) -> Tensor:
    """Images `[N, H, W]` as bits `[N, H * W]`."""
    return torch.from_numpy((images > brightest / 2).reshape(len(images), -1)).float()


def from_folder(folder: Path, part: str) -> Bytes:
    """The "train" or "test" images `[N, H, W]` of a folder with idx files, gzipped or not, or one npz file."""
    for path in sorted(folder.glob(f"{IDX[part]}*")):
        return from_idx(path)
    for path in sorted(folder.glob("*.npz")):
        return from_npz(path, NPZ[part])
    raise UserError(
        f"task.folder = '{folder}': expected {IDX['train']}* and {IDX['test']}* (idx, or .gz), or an .npz file with "
        f"{NPZ['train']} and {NPZ['test']}"
    )


def from_idx(path: Path) -> Bytes:
    """Images in MNIST's format: four bytes of type, three big-endian sizes, then the pixels."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: {error}") from None
    sizes = [int.from_bytes(data[i : i + 4], "big") for i in (4, 8, 12)]
    if data[:4] != IDX_IMAGES or len(data) != 16 + math.prod(sizes) or not math.prod(sizes):
        raise UserError(
            f"{path}: expected an idx file of images, but its {len(data):,} bytes are not one"
        )
    return numpy.frombuffer(data, numpy.uint8, offset=16).reshape(sizes)


def from_npz(path: Path, name: str) -> Bytes:
    """An array of images from an npz file."""
    try:
        with numpy.load(path, allow_pickle=False) as arrays:
            images = arrays[name]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected an npz file with '{name}': {error}") from None
    if images.ndim != 3 or images.dtype != numpy.uint8 or not images.size:
        raise UserError(
            f"{path}: '{name}' is {images.dtype} {list(images.shape)}; expected uint8 [N, H, W]"
        )
    return numpy.asarray(images)
