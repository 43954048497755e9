"""Annotations in text files: LFW's pairs, WIDER FACE's and RetinaFace's boxes."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import torch
from torch import Tensor

from framework import UserError
from plugins.faces.data.photographs import PICTURES


@dataclass(frozen=True)
class LfwPair:
    """A line of `pairs.txt`: two pictures in LFW's layout `NAME/NAME_0001.jpg`."""

    first: str
    first_number: int
    second: str
    second_number: int
    fold: int

    @property
    def same(self) -> bool:
        return self.first == self.second


def read_pairs(path: Path) -> list[LfwPair]:
    """LFW's `pairs.txt`: a header `FOLDS N`, then for each fold N lines `NAME I J` and N lines `NAME I NAME J`.

    Raises:
        UserError: a line of another form, named by its number, or a number of pairs that differs from the header's.
    """
    lines = read_lines(path)
    header = lines[0].split() if lines else []
    if not header or len(header) > 2 or not all(n.isdigit() and int(n) > 0 for n in header):
        raise UserError(
            f"{path}, line 1: '{' '.join(header)}'; expected 'FOLDS PAIRS', such as '10 300'"
        )
    folds, per_kind = (1, int(header[0])) if len(header) == 1 else (int(header[0]), int(header[1]))
    if len(lines) - 1 != folds * 2 * per_kind:
        raise UserError(
            f"{path}: {len(lines) - 1} pairs; the header '{' '.join(header)}' promises {folds * 2 * per_kind}"
        )
    pairs = [
        parse_pair(line.split(), number // (2 * per_kind), f"{path}, line {number + 2}")
        for number, line in enumerate(lines[1:])
    ]
    for number, pair in enumerate(pairs):
        if pair.same != (number % (2 * per_kind) < per_kind):
            raise UserError(
                f"{path}, line {number + 2}: '{lines[number + 1]}'; expected in each fold first the {per_kind} pairs "
                "of one person, then as many of two"
            )
    return pairs


def parse_pair(words: Sequence[str], fold: int, where: str) -> LfwPair:
    if len(words) == 3 and all(w.isdigit() for w in words[1:]):
        return LfwPair(words[0], int(words[1]), words[0], int(words[2]), fold)
    if len(words) == 4 and words[1].isdigit() and words[3].isdigit():
        if words[0] == words[2]:
            raise UserError(f"{where}: '{' '.join(words)}'; expected 'NAME I NAME J' of two people")
        return LfwPair(words[0], int(words[1]), words[2], int(words[3]), fold)
    raise UserError(f"{where}: '{' '.join(words)}'; expected 'NAME I J' or 'NAME I NAME J'")


def lfw_picture(folder: Path, name: str, number: int) -> Path:
    """The file of a person's picture in LFW's layout, `NAME/NAME_0001.jpg`, in any image format.

    Raises:
        UserError: there is none.
    """
    stem = f"{name}_{number:04d}"
    # A person's name is that of one folder, and no pattern.
    plain = name not in {".", ".."} and "/" not in name
    for file in sorted((folder / name).glob(f"{escape(stem)}.*")) if plain else []:
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
class AnnotatedPhotograph:
    """The faces of one photograph.

    Attributes:
        file: relative to the folder of images.
        boxes: `[K, 4]` float32 xyxy in pixels; K may be 0.
        landmarks: `[K, 5, 2]`, NaN where none are given.
        ignored: `[K]` bool, faces marked as invalid, which count neither as detected nor as missed.
        dropped: how many faces it had beside these, whose boxes are empty.
    """

    file: str
    boxes: Tensor
    landmarks: Tensor
    ignored: Tensor
    dropped: int = 0


def annotated(
    file: str, rows: Sequence[Sequence[float]], invalid: Sequence[bool]
) -> AnnotatedPhotograph:
    """From rows of `x y w h`, optionally with 5 times `x y` or `x y visible`; empty boxes are dropped and counted."""
    kept = [(row, out) for row, out in zip(rows, invalid, strict=True) if row[2] > 0 and row[3] > 0]
    corner = torch.tensor([row[:4] for row, _ in kept]).reshape(-1, 4)
    boxes = torch.cat([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1)
    landmarks = torch.tensor([points(row[4:]) for row, _ in kept]).reshape(-1, 5, 2)
    landmarks = torch.where(landmarks.amin(-1, keepdim=True) < 0, torch.nan, landmarks)
    ignored = torch.tensor([out for _, out in kept], dtype=torch.bool)
    return AnnotatedPhotograph(file, boxes, landmarks, ignored, len(rows) - len(kept))


def points(row: Sequence[float]) -> list[float]:
    """The ten coordinates of `x y` pairs or `x y visible` triples; -1 where there are none."""
    if len(row) < 10:
        return [-1.0] * 10
    step = 3 if len(row) >= 14 else 2
    return [row[step * k + axis] for k in range(5) for axis in (0, 1)]


def read_annotations(path: Path) -> list[AnnotatedPhotograph]:
    """A list in RetinaFace's format, which begins with `#`, or in WIDER FACE's.

    What is dropped is printed to stderr: empty boxes, and photographs without any other, which are no background.
    """
    lines = read_lines(path)
    read = read_retinaface if lines and lines[0].startswith("#") else read_wider
    photographs = read(path)
    losing = [photograph for photograph in photographs if photograph.dropped]
    lost = [photograph for photograph in losing if not len(photograph.boxes)]
    if losing:
        faces = sum(photograph.dropped for photograph in losing)
        said = f"{faces} faces dropped whose boxes are empty, the first in {losing[0].file}"
        if lost:
            said += f"; {len(lost)} photographs left out that have no other: they are no background"
        print(f"{path}: {said}", file=sys.stderr)
    return [p for p in photographs if len(p.boxes) or not p.dropped]


def read_wider(path: Path) -> list[AnnotatedPhotograph]:
    """WIDER FACE's list: file, number of faces, then for each `x y w h blur expression illumination invalid ...`.

    A photograph without faces has the number 0 and still a row of zeros.

    Raises:
        UserError: a line of another form, named by its number.
    """
    lines, place, photographs = read_lines(path), 0, []
    while place < len(lines):
        name, where = lines[place], f"{path}, face list of '{lines[place]}'"
        if place + 1 >= len(lines) or not lines[place + 1].isdigit():
            raise UserError(f"{where}: expected the number of faces after the file's name")
        count = int(lines[place + 1])
        rows = [numbers(line, 4, where) for line in lines[place + 2 : place + 2 + max(1, count)]]
        if len(rows) < count:
            raise UserError(f"{where}: {len(rows)} faces; expected {count}")
        place += 2 + max(1, count)
        invalid = [len(row) > 7 and row[7] == 1 for row in rows]
        photographs.append(annotated(name, [row[:4] for row in rows[:count]], invalid[:count]))
    return photographs


def read_retinaface(path: Path) -> list[AnnotatedPhotograph]:
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
    return [annotated(file, rows, [False] * len(rows)) for file, rows in photographs]


def numbers(line: str, least: int, where: str) -> list[float]:
    try:
        row = [float(word) for word in line.split()]
    except ValueError:
        row = []
    if len(row) < least or not all(map(math.isfinite, row)):
        raise UserError(f"{where}: '{line}'; expected {least} finite numbers or more: x y w h")
    return row
