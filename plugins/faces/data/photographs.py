"""A user's own photographs: images in every form, folders of pictures, and folders with a folder for each person.

Photographs are read upright, as their EXIF orientation says; a file that cannot be read is reported and left out.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError, photographs
from framework.randomness import generator
from plugins.faces.data.crops import Crops
from plugins.faces.data.likeness import SAME, nearest_copy, signatures

PICTURES = photographs.SUFFIXES
# The fraction that chooses the checkpoint, where at least `ENOUGH` are not tested on.
VALIDATION, ENOUGH = 0.1, 50
AnyImage = str | Path | Pillow.Image | NDArray[numpy.uint8] | Tensor


def read_photograph(path: Path) -> Pillow.Image:
    """A photograph in RGB, upright by its EXIF orientation, transparent pixels white.

    Raises:
        UserError: it cannot be read, or has too many pixels.
    """
    if path.is_dir() or not path.exists():
        what = "a folder, not a picture" if path.is_dir() else "there is no such file"
        raise UserError(f"{path}: {what}")
    try:
        pixels = photographs.read_photograph(path)
    except photographs.Unreadable as error:
        raise UserError(f"{path}: no readable picture ({error})") from None
    return as_pillow(pixels)


def as_photograph(image: AnyImage) -> Pillow.Image:
    """An image in any form that `framework.photographs.photograph_of` reads.

    Raises:
        UserError: a file that cannot be read, another shape or type.
    """
    if isinstance(image, str | Path):
        return read_photograph(Path(image).expanduser())
    return as_pillow(photographs.photograph_of(image))


def given_path(key: str, path: str | PathLike[str]) -> Path:
    """A path that was given as `key`, with the home folder for `~`.

    Raises:
        UserError: something else.
    """
    if not isinstance(path, str | PathLike):
        raise UserError(f"{key} = {path!r}: expected a path")
    return Path(path).expanduser()


def is_several(image: Any) -> bool:
    """Whether it is a list or a batch of images."""
    return isinstance(image, list | tuple) or getattr(image, "ndim", 0) == 4


def refuse_several(image: Any) -> None:
    """Refuse several images where one is expected.

    Raises:
        UserError: a list or a batch.
    """
    if is_several(image):
        raise UserError(f"image: {type(image).__name__} of {len(image)}; expected one image")


def as_pillow(pixels: Tensor) -> Pillow.Image:
    """Pixels `[3, H, W]` uint8 as a PIL image."""
    return Pillow.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def square(photograph: Pillow.Image, side: int) -> Tensor:
    """A photograph as `[3, side, side]` uint8; other proportions are stretched."""
    return as_pixels(photograph.resize((side, side), Pillow.Resampling.BILINEAR))


def as_pixels(photograph: Pillow.Image) -> Tensor:
    """An RGB photograph as `[3, H, W]` uint8."""
    return torch.from_numpy(numpy.array(photograph)).permute(2, 0, 1).contiguous()


def picture_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in the natural order of their names (2 before 10)."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in PICTURES and f.is_file()]
    return sorted(files, key=lambda file: natural(file.name))


def pictures_in(source: Path) -> list[tuple[Path, str]]:
    """A picture, or those in a folder and its sub-folders, each with a name: with its suffix where names collide.

    Raises:
        UserError: a folder without pictures.
    """
    if not source.is_dir():
        return [(source, source.stem)]
    files = [f for f in source.rglob("*") if f.suffix.lower() in PICTURES and f.is_file()]
    files.sort(key=lambda file: natural(within(file, source)))
    if not files:
        raise UserError(f"input = '{source}': no pictures in this folder")
    names = [within(file.with_suffix(""), source) for file in files]
    if len(set(names)) < len(names):
        names = [within(file, source) for file in files]
    return list(zip(files, names, strict=True))


def readable_pictures(source: Path) -> Iterator[tuple[Path, str, Pillow.Image]]:
    """The photographs among `pictures_in`; of a folder, what cannot be read is left out with a line.

    Raises:
        UserError: see `pictures_in`; or the one picture that is given cannot be read.
    """
    for file, name in pictures_in(source):
        try:
            photograph = read_photograph(file)
        except UserError as error:
            if not source.is_dir():
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        yield file, name, photograph


def within(file: Path, source: Path) -> str:
    """A file's path relative to the folder `source`, or its name where `source` is the file."""
    return file.relative_to(source).as_posix() if source.is_dir() else file.name


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which s2 comes before s10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


class Partition(NamedTuple):
    """Numbers of people or photographs: all in random order, and those of each split."""

    order: list[int]
    training: list[int]
    validation: list[int]
    test: list[int]


def partition(count: int, fraction: float, least: int, what: str, seed: int) -> Partition:
    """Split `count` people or photographs at random; of many that are not tested on some choose the checkpoint.

    Args:
        fraction: of them all, to test on.
        least: the smallest number to test on and, before that, to train on.
        what: the name of the random stream.
    """
    order = torch.randperm(count, generator=generator(seed, what)).tolist()
    test = max(0, min(count - least, max(least, round(fraction * count))))
    others = count - test
    training = test + (round(VALIDATION * others) if others >= ENOUGH else 0)
    return Partition(order, order[training:], order[test:training], order[:test])


def read_people(root: Path, side: int, key: str = "task.data.root") -> Crops:
    """Crops from a folder with a folder for each person, whose pictures show the face alone.

    Raises:
        UserError: no such folder, fewer than two people, or no person with two pictures.
    """
    images: list[Tensor] = []
    labels: list[int] = []
    people = people_files(root, key)
    for person, (name, files) in enumerate(people.items()):
        read = list(readable(files, side))
        if not read:
            raise UserError(
                f"{key} = '{root}': none of the {len(files)} pictures of '{name}' can be read"
            )
        labels += [person] * len(read)
        images += read
    counts = numpy.bincount(labels, minlength=1)
    if len(people) < 2 or counts.max() < 2:
        raise UserError(
            f"{key} = '{root}': {len(people)} people with {len(images)} readable pictures; "
            "expected a folder for each of two people or more, with two pictures of one of them or more"
        )
    return Crops(torch.stack(images), torch.tensor(labels), tuple(people))


def people_files(root: Path, key: str = "task.data.root") -> dict[str, list[Path]]:
    """The pictures of each person who has any, people and pictures in the natural order of their names.

    Raises:
        UserError: no such folder.
    """
    if not root.is_dir():
        raise UserError(f"{key} = '{root}': expected a folder with a folder for each person")
    folders = sorted((f for f in root.iterdir() if f.is_dir()), key=lambda f: natural(f.name))
    people = {folder.name: picture_files(folder) for folder in folders}
    return {name: files for name, files in people.items() if files}


def colourless(files: Iterable[Path]) -> bool:
    """Whether all pictures are grey; stops at the first that is not."""
    return all(map(is_grey, files))


def is_grey(file: Path) -> bool:
    """Whether a picture has no colours; a file that cannot be read has none."""
    try:
        pixels = photographs.read_photograph(file)
    except photographs.Unreadable:
        return True
    return bool((pixels[:1] == pixels).all())


def readable(files: Iterable[Path], side: int) -> Iterable[Tensor]:
    """The files that can be read; the others are reported on stderr."""
    for file in files:
        try:
            yield square(read_photograph(file), side)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)


def refuse_leaks(training: Crops, held_out: Crops) -> None:
    """Refuse people or pictures that are both trained on and held out.

    Raises:
        UserError: a shared name, or one picture on both sides, also as a copy with other bytes.
    """
    shared = sorted(set(training.names) & set(held_out.names))
    if shared:
        raise UserError(f"'{shared[0]}' is among the people to train on and those to test on")
    # Of one colour, pictures are alike by their bytes only.
    seen = {digest(image): number for number, image in enumerate(training.images)}
    cosines, places = nearest_copy(held_out.images, signatures(training.images))
    for number, image in enumerate(held_out.images):
        alike = int(places[number]) if cosines[number] >= SAME else None
        place = seen.get(digest(image), alike)
        if place is None:
            continue
        double, person = int(training.people[place]), int(held_out.people[number])
        raise UserError(
            f"one and the same picture is of '{training.names[double]}', who is trained on, and of "
            f"'{held_out.names[person]}', who is tested on"
        )


def digest(image: Tensor) -> int:
    """A hash of these very pixels: the first 64 bits of SHA-256, the same in every run."""
    return int.from_bytes(hashlib.sha256(image.contiguous().numpy().tobytes()).digest()[:8], "big")
