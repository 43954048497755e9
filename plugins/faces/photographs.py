"""A user's own photographs, and the lists that faces come with.

A folder for each person (as LFW and the classic sets of 40 people come), LFW's `pairs.txt`, WIDER FACE's box lists and
RetinaFace's `label.txt`. Photographs are read with Pillow in the right way up; a file that cannot be read is named once
and left out. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError
from framework.randomness import generator
from plugins.detection.images import Unreadable, read_image
from plugins.faces.crops import Crops

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


@dataclass(frozen=True)
class ListedPair:
    """A line of `pairs.txt`: two pictures of LFW's layout `NAME/NAME_0001.jpg`."""

    first: str
    first_number: int
    second: str
    second_number: int
    fold: int

    @property
    def same(self) -> bool:
        return self.first == self.second


def read_pairs(path: Path) -> list[ListedPair]:
    """LFW's `pairs.txt`: a header `FOLDS N`, then for each fold N lines `NAME I J` and N lines `NAME I NAME J`.

    Raises:
        UserError: a line of another form, named by its number, or another count than the header says.
    """
    lines = read_lines(path)
    header = lines[0].split() if lines else []
    if not header or len(header) > 2 or not all(n.isdigit() and int(n) > 0 for n in header):
        raise UserError(
            f"{path}, line 1: '{' '.join(header)}'; expected 'FOLDS PAIRS', such as '10 300'"
        )
    folds, each = (1, int(header[0])) if len(header) == 1 else (int(header[0]), int(header[1]))
    if len(lines) - 1 != folds * 2 * each:
        raise UserError(
            f"{path}: {len(lines) - 1} pairs; the header '{' '.join(header)}' promises {folds * 2 * each}"
        )
    return [
        listed(line.split(), number // (2 * each), f"{path}, line {number + 2}")
        for number, line in enumerate(lines[1:])
    ]


def listed(words: Sequence[str], fold: int, where: str) -> ListedPair:
    if len(words) == 3 and all(w.isdigit() for w in words[1:]):
        return ListedPair(words[0], int(words[1]), words[0], int(words[2]), fold)
    if len(words) == 4 and words[1].isdigit() and words[3].isdigit():
        return ListedPair(words[0], int(words[1]), words[2], int(words[3]), fold)
    raise UserError(f"{where}: '{' '.join(words)}'; expected 'NAME I J' or 'NAME I NAME J'")


def numbered(folder: Path, name: str, number: int) -> Path:
    """The file of a person's picture in LFW's layout, `NAME/NAME_0001.jpg`, whatever its format.

    Raises:
        UserError: it is not there.
    """
    stem = f"{name}_{number:04d}"
    for file in sorted((folder / name).glob(f"{stem}.*")):
        if file.suffix.lower() in PICTURES:
            return file
    raise UserError(f"{folder / name}: expected the picture {stem}.jpg, or of another format")


def read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


@dataclass(frozen=True)
class Listed:
    """The faces of one photograph.

    Attributes:
        file: relative to the list's images.
        boxes: `[K, 4]` float32, (left, top, right, bottom) in pixels; K may be 0.
        landmarks: `[K, 5, 2]`, NaN where none were noted.
        ignored: `[K]` bool, faces marked as invalid: neither found nor missed.
    """

    file: str
    boxes: Tensor
    landmarks: Tensor
    ignored: Tensor

    @property
    def key(self) -> int:
        """A number for this line of a list, by which it is known again."""
        return short_hash(f"{self.file} {self.boxes.tolist()}".encode())


def faces_of(file: str, rows: Sequence[Sequence[float]], invalid: Sequence[bool]) -> Listed:
    """From rows of `x y w h` or `x y w h` and 5 times `x y` (and perhaps a visibility); empty boxes are left out."""
    kept = [(row, out) for row, out in zip(rows, invalid, strict=True) if row[2] > 0 and row[3] > 0]
    corner = torch.tensor([row[:4] for row, _ in kept]).reshape(-1, 4)
    boxes = torch.cat([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1)
    landmarks = torch.tensor([points(row[4:]) for row, _ in kept]).reshape(-1, 5, 2)
    landmarks = torch.where(landmarks.amin(-1, keepdim=True) < 0, torch.nan, landmarks)
    return Listed(file, boxes, landmarks, torch.tensor([out for _, out in kept], dtype=torch.bool))


def points(row: Sequence[float]) -> list[float]:
    """Ten coordinates of `x y` or `x y visible` triples; -1 where there are none."""
    if len(row) < 10:
        return [-1.0] * 10
    step = 3 if len(row) >= 14 else 2
    return [row[step * k + axis] for k in range(5) for axis in (0, 1)]


def read_wider(path: Path) -> list[Listed]:
    """WIDER FACE's list: a file's name, how many faces, then `x y w h blur expression illumination invalid ...` each.

    A photograph without faces says 0 and still has one row of zeros.

    Raises:
        UserError: a line of another form, named by its number.
    """
    lines, place, found = read_lines(path), 0, []
    while place < len(lines):
        name, where = lines[place], f"{path}, face list of '{lines[place]}'"
        if place + 1 >= len(lines) or not lines[place + 1].isdigit():
            raise UserError(f"{where}: expected the number of faces behind the file's name")
        count = int(lines[place + 1])
        rows = [numbers(line, 4, where) for line in lines[place + 2 : place + 2 + max(1, count)]]
        if len(rows) < count:
            raise UserError(f"{where}: {len(rows)} faces; expected {count}")
        place += 2 + max(1, count)
        invalid = [len(row) > 7 and row[7] == 1 for row in rows]
        found.append(faces_of(name, [row[:4] for row in rows[:count]], invalid[:count]))
    return found


def read_retinaface(path: Path) -> list[Listed]:
    """RetinaFace's `label.txt`: `# file`, then `x y w h` with five `x y visible` landmarks, -1 where missing.

    Raises:
        UserError: a line of another form.
    """
    photographs: list[tuple[str, list[list[float]]]] = []
    for number, line in enumerate(read_lines(path), 1):
        if line.startswith("#"):
            photographs.append((line[1:].strip(), []))
        elif photographs:
            photographs[-1][1].append(numbers(line, 4, f"{path}, line {number}"))
        else:
            raise UserError(f"{path}, line {number}: expected '# FILE' before the first face")
    return [faces_of(file, rows, [False] * len(rows)) for file, rows in photographs]


def numbers(line: str, least: int, where: str) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        row = []
    if len(row) < least:
        raise UserError(f"{where}: '{line}'; expected {least} numbers or more: x y w h")
    return row
