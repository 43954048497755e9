"""A user's own photographs, and the lists that faces come with.

A folder for each person (as LFW and the classic sets of 40 people come), LFW's `pairs.txt`, WIDER FACE's box lists and
RetinaFace's `label.txt`. Photographs are read with Pillow in the right way up; a file that cannot be read is named once
and left out. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError
from framework.randomness import generator
from plugins.detection.data.images import Unreadable, read_image
from plugins.faces.data.crops import Crops

PICTURES = {".pgm", ".ppm", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"}
VALIDATED, ENOUGH = (
    0.1,
    50,
)  # of those to learn from, where there are so many, choose the checkpoint
GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "F"}  # Pillow's kinds without colours


def read_photograph(path: Path) -> Pillow.Image:
    """A photograph in RGB, turned as its camera noted, with what is transparent in white.

    Raises:
        UserError: it cannot be read, or has too many pixels.
    """
    try:
        pixels = read_image(path)
    except Unreadable as error:
        raise UserError(f"{path}: no readable picture ({error})") from None
    return Pillow.fromarray(pixels.permute(1, 2, 0).numpy())


def square(photograph: Pillow.Image, side: int) -> Tensor:
    """A photograph as bytes `[3, side, side]`; other proportions are stretched."""
    return as_pixels(photograph.resize((side, side), Pillow.Resampling.BILINEAR))


def as_pixels(photograph: Pillow.Image) -> Tensor:
    """An RGB photograph as bytes `[3, H, W]`."""
    return torch.from_numpy(numpy.array(photograph)).permute(2, 0, 1).contiguous()


def picture_files(folder: Path) -> list[Path]:
    """The pictures directly in a folder, in the natural order of their names (2 before 10)."""
    found = [f for f in folder.iterdir() if f.suffix.lower() in PICTURES and f.is_file()]
    return sorted(found, key=lambda file: natural(file.name))


def pictures_in(source: Path) -> list[tuple[Path, str]]:
    """A picture, or those in a folder and its folders, and what each is called: its suffix, too, where names meet.

    Raises:
        UserError: a folder without pictures.
    """
    if not source.is_dir():
        return [(source, source.stem)]
    found = [f for f in source.rglob("*") if f.suffix.lower() in PICTURES and f.is_file()]
    found.sort(key=lambda file: natural(within(file, source)))
    if not found:
        raise UserError(f"input = '{source}': no pictures in this folder")
    names = [within(file.with_suffix(""), source) for file in found]
    if len(set(names)) < len(names):
        names = [within(file, source) for file in found]
    return list(zip(found, names, strict=True))


def within(file: Path, source: Path) -> str:
    """A file's path inside the folder that was asked about, or its name."""
    return file.relative_to(source).as_posix() if source.is_dir() else file.name


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key by which s2 comes before s10."""
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


class Divided(NamedTuple):
    """People or photographs by number: all in random order, and what each is for."""

    order: list[int]
    learned: list[int]
    validated: list[int]
    tested: list[int]


def divided(count: int, share: float, least: int, what: str, seed: int) -> Divided:
    """A share of so many to test on, and of many others some to choose the checkpoint by.

    At least `least` are tested on and learned from, where there are so many.
    """
    order = torch.randperm(count, generator=generator(seed, what)).tolist()
    tested = max(0, min(count - least, max(least, round(share * count))))
    others = count - tested
    learned = tested + (round(VALIDATED * others) if others >= ENOUGH else 0)
    return Divided(order, order[learned:], order[tested:learned], order[:tested])


def read_people(root: Path, side: int, key: str = "task.data.root") -> Crops:
    """A folder with a folder for each person, in which are pictures of the face alone.

    Raises:
        UserError: no such folder, fewer than two people, or nobody with two pictures.
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
    found = {folder.name: picture_files(folder) for folder in folders}
    return {name: files for name, files in found.items() if files}


def colourless(files: Iterable[Path]) -> bool:
    """Whether all pictures are grey; looks no further than the first that is not."""
    return all(map(is_grey, files))


def is_grey(file: Path) -> bool:
    """Whether a picture has no colours, by its kind where that says so; what cannot be read has none."""
    try:
        with Pillow.open(file) as opened:
            if opened.mode in GREY:
                return True
        pixels = read_image(file)
    except Exception:  # Pillow raises whatever it likes on damaged files
        return True
    return bool((pixels[:1] == pixels).all())


def readable(files: Iterable[Path], side: int) -> Iterable[Tensor]:
    """The files that can be read; the others are named on stderr."""
    for file in files:
        try:
            yield square(read_photograph(file), side)
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)


def refuse_leaks(learned: Crops, held_out: Crops) -> None:
    """Refuse people or pictures that are both learned from and tested on.

    Raises:
        UserError: a shared name, or one and the same picture on both sides.
    """
    shared = sorted(set(learned.names) & set(held_out.names))
    if shared:
        raise UserError(f"'{shared[0]}' is among the people to learn from and those to test on")
    seen = {digest(image): int(p) for image, p in zip(learned.images, learned.people, strict=True)}
    for image, person in zip(held_out.images, held_out.people, strict=True):
        double = seen.get(digest(image))
        if double is not None:
            raise UserError(
                f"one and the same picture is of '{learned.names[double]}', who is learned from, and of "
                f"'{held_out.names[int(person)]}', who is tested on"
            )


def digest(image: Tensor) -> int:
    """A number for these very pixels."""
    return short_hash(image.contiguous().numpy().tobytes())


def short_hash(content: bytes) -> int:
    """A number of 64 bits for what is the same in every run."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def digests(crops: Crops) -> set[int]:
    return {digest(image) for image in crops.images}
