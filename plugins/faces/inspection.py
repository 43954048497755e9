"""`diffobj inspect task=faces_recognition` and `task=face_detection`: what is in a folder or a list, before a step.

Of a folder of people nothing but names of files is written; a list's contact sheet shows its photographs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from framework import Image, Text, UserError
from framework.media import Media
from plugins.detection.data.inside import inside
from plugins.detection.evaluation.boxes_on_images import draw_boxes, grid
from plugins.faces.data.likeness import SAME, nearest_copy, signatures
from plugins.faces.data.lists import AnnotatedPhotograph, read_annotations
from plugins.faces.data.photographs import people_files, read_photograph, square
from plugins.faces.tasks.annotated_scenes import SMALLEST, fitted

# The side at which pictures are compared, and photographs on the contact sheet with its columns.
COMPARED, SHEET, COLUMNS = 64, 16, 4
# Examples that are named of each fault.
NAMED = 3


@dataclass
class Inspection:
    """What was seen: counts, and the files of each fault by what it is."""

    title: str
    counts: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    pictures: list[Image] = field(default_factory=list)

    def note(self, what: str, where: str) -> None:
        self.faults.setdefault(what, []).append(where)

    def markdown(self) -> str:
        """The same to be read."""
        lines = ["# Inspection", "", self.title, "", "| | |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in self.counts.items()]
        lines += [""] * bool(self.faults)
        for what, places in self.faults.items():
            more = ", ..." if len(places) > NAMED else ""
            lines.append(f"- {len(places)} {what}: {', '.join(places[:NAMED])}{more}")
        return "\n".join(lines) + "\n"

    def media(self) -> list[Media]:
        """The report as Markdown and JSON, and the pictures."""
        data = json.dumps({"counts": self.counts, "faults": self.faults})
        texts = [Text("inspection", self.markdown()), Text("inspection", data, ".json")]
        return [*texts, *self.pictures]

    def save(self, folder: Path) -> list[Path]:
        """Write all of it into a folder."""
        return [media.save(folder) for media in self.media()]


def inspect_people(root: str | None) -> Inspection:
    """Look at a folder with a folder of pictures for each person.

    Raises:
        UserError: no folder is given, there is none, or no one has a readable picture.
    """
    if root is None:
        raise UserError(
            "which folder? diffobj inspect task=faces_recognition task.data.root=FOLDER"
        )
    folder = Path(root).expanduser()
    people = people_files(folder)
    found = Inspection(f"{folder}: a folder with a folder for each person")
    for place in sorted(folder.iterdir()):
        if place.is_dir() and place.name not in people:
            found.note("folders without a picture", place.name)
        elif place.is_file():
            found.note("files beside the folders of people, which are not read", place.name)
    names, pictures = read_each(people, found)
    if not names:
        raise UserError(f"task.data.root = '{folder}': no picture of a person can be read")
    per_person = [sum(person == name for name, _ in names) for person in people]
    found.counts = {
        "people": len(people),
        "pictures": len(names),
        "pictures of a person: fewest, median, most": f"{min(per_person)}, {median(per_person):g}, {max(per_person)}",
    }
    for one, other in doubles(torch.stack(pictures)):
        (who, first), (whom, second) = names[one], names[other]
        same = "of one person" if who == whom else "of two people"
        found.note(
            f"pairs of pictures {same} that are one picture", f"{who}/{first} and {whom}/{second}"
        )
    return found


def read_each(
    people: Mapping[str, Sequence[Path]], found: Inspection
) -> tuple[list[tuple[str, str]], list[Tensor]]:
    """The (person, file name) and the pixels of each picture that can be read; the others are noted."""
    names: list[tuple[str, str]] = []
    pictures: list[Tensor] = []
    for person, files in people.items():
        before = len(names)
        for file in files:
            try:
                pictures.append(square(read_photograph(file), COMPARED))
                names.append((person, file.name))
            except UserError:
                found.note("pictures that cannot be read", f"{person}/{file.name}")
        if len(names) == before + 1:
            found.note("people with one picture, who form no pair of their own", person)
    return names, pictures


def doubles(pictures: Tensor) -> list[tuple[int, int]]:
    """Each picture `[N, 3, S, S]` that an earlier one is a copy of, with that one."""
    found = []
    known = signatures(pictures)
    for number in range(1, len(pictures)):
        cosine, place = nearest_copy(pictures[number : number + 1], known[:number])
        if float(cosine) >= SAME:
            found.append((int(place), number))
    return found


def inspect_list(annotations: str, images: str, side: int) -> Inspection:
    """Look at a list of faces in photographs.

    Args:
        side: the photographs' longer side when they are trained on, in pixels.

    Raises:
        UserError: there is no such list, or none of its photographs can be read.
    """
    folder = Path(images).expanduser()
    photographs = read_annotations(Path(annotations).expanduser())
    found = Inspection(
        f"{annotations}: {len(photographs)} photographs in {folder}, at {side} pixels"
    )
    faces = [len(photograph.boxes) for photograph in photographs]
    invalid = sum(int(photograph.ignored.sum()) for photograph in photographs)
    small, given, pictures, kept = 0, 0, [], []
    for photograph in photographs:
        file = inside(folder, folder, photograph.file)
        try:
            if file is None:
                raise UserError("it leads out of the folder")
            whole = read_photograph(file)
        except UserError:
            found.note("photographs that are missing or cannot be read", photograph.file)
            continue
        pixels, factor = fitted(whole, side)
        small += int(((photograph.boxes[:, 3] - photograph.boxes[:, 1]) * factor < SMALLEST).sum())
        given += int((~photograph.landmarks.isnan()).all((1, 2)).sum())
        if outside(photograph.boxes, whole.size):
            found.note("photographs with a box that lies outside them", photograph.file)
        pictures.append(square(whole, COMPARED))
        kept.append((photograph, pixels, factor))
    if not kept:
        raise UserError(
            f"task.images = '{folder}': none of the list's photographs can be read there"
        )
    found.counts = {
        "photographs": len(photographs),
        "without a face": sum(count == 0 for count in faces),
        "faces": sum(faces),
        "marked as invalid, and ignored": invalid,
        f"lower than {SMALLEST:g} pixels at this size, and ignored": small,
        "with landmarks": given,
        "most faces in a photograph": max(faces),
    }
    for one, other in doubles(torch.stack(pictures)):
        pair = f"{kept[one][0].file} and {kept[other][0].file}"
        found.note("pairs of photographs that are one", pair)
    found.pictures = [sheet(kept)]
    return found


def outside(boxes: Tensor, size: tuple[int, int]) -> bool:
    """Whether half of a box `[K, 4]` is outside an image of (width, height)."""
    edge = torch.tensor([*size, *size])
    clipped = torch.minimum(boxes.clamp(min=0), edge)
    whole, left = ((b[:, 2:] - b[:, :2]).clamp(min=0).prod(-1) for b in (boxes, clipped))
    return bool((left < whole / 2).any())


def sheet(kept: Sequence[tuple[AnnotatedPhotograph, Tensor, float]]) -> Image:
    """Photographs spread over the list, with their boxes."""
    step = max(1, len(kept) // SHEET)
    drawn = [
        draw_boxes(
            pixels,
            photograph.boxes * factor,
            photograph.ignored.long(),
            ["face", "ignored"],
        )
        for photograph, pixels, factor in kept[::step][:SHEET]
    ]
    return Image("sheet", grid(drawn, COLUMNS))
