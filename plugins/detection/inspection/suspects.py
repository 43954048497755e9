"""Labels that look wrong by themselves, without a model: repeated boxes, odd sizes, names that nearly agree."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations

import torch

from plugins.detection.boxes import pairwise_iou
from plugins.detection.data.folder import Folder
from plugins.detection.data.readers.entry import Entry

# Two boxes of one image with a higher IoU are one object, labelled twice or as two classes.
SAME_BOX = 0.9
# A box whose log area is farther from its class's median, in median absolute deviations, is odd.
FAR = 6.0
# Objects of a class from which its usual size is known.
ENOUGH = 20
# A side this many times the other one.
MAX_ASPECT = 20.0
# Names that are more alike may be one.
ALIKE = 0.8


@dataclass(frozen=True)
class Suspect:
    """An object whose label may be wrong: its image, its number among the image's objects, and why."""

    entry: Entry
    place: int
    why: str

    def to_json(self) -> dict[str, object]:
        annotation = self.entry.annotations[self.place]
        box = [round(v, 1) for v in annotation.box]
        return {
            "image": self.entry.path.as_posix(),
            "box": box,
            "class": annotation.name,
            "why": self.why,
        }


def suspects(folders: Sequence[Folder]) -> list[Suspect]:
    """Objects of all splits whose labels may be wrong."""
    entries = list({e.path: e for folder in folders for e in folder.entries}.values())
    return [*repeated(entries), *odd_sizes(entries)]


def repeated(entries: Sequence[Entry]) -> Iterator[Suspect]:
    """Boxes that nearly are another one of their image."""
    for entry in entries:
        boxes = torch.tensor([a.box for a in entry.annotations]).view(-1, 4)
        for i, j in (pairwise_iou(boxes, boxes) > SAME_BOX).triu(1).nonzero().tolist():
            one, other = entry.annotations[i].name, entry.annotations[j].name
            kind = "labelled twice" if one == other else f"labelled as {one}, too"
            yield Suspect(entry, j, kind)


def odd_sizes(entries: Sequence[Entry]) -> Iterator[Suspect]:
    """Boxes far smaller, larger or thinner than others of their class."""
    areas: dict[str, list[float]] = {}
    for entry in entries:
        for annotation in entry.annotations:
            areas.setdefault(annotation.name, []).append(log_area(annotation.box))
    medians = {name: torch.tensor(values).median() for name, values in areas.items()}
    spreads = {
        name: (torch.tensor(values) - medians[name]).abs().median().clamp(min=0.1)
        for name, values in areas.items()
    }
    for entry in entries:
        for place, annotation in enumerate(entry.annotations):
            x0, y0, x1, y1 = annotation.box
            aspect = max(x1 - x0, y1 - y0) / min(x1 - x0, y1 - y0)
            name = annotation.name
            away = float((log_area(annotation.box) - medians[name]) / spreads[name])
            if aspect > MAX_ASPECT:
                yield Suspect(entry, place, f"one side {aspect:.0f} times the other")
            elif len(areas[name]) >= ENOUGH and abs(away) > FAR:
                times = math.exp(abs(float(log_area(annotation.box) - medians[name])))
                yield Suspect(
                    entry,
                    place,
                    f"{times:.0f} times {'larger' if away > 0 else 'smaller'} than usual",
                )


def log_area(box: tuple[float, float, float, float]) -> float:
    return float(torch.tensor((box[2] - box[0]) * (box[3] - box[1])).log())


def similar_names(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of class names that may be one: equal but for case, spaces or plural, or nearly equal."""
    found = []
    for one, other in combinations(names, 2):
        plain = ["".join(c for c in name.lower() if c.isalnum()) for name in (one, other)]
        longest = min(map(len, plain))
        alike = SequenceMatcher(a=plain[0], b=plain[1]).ratio() if longest > 3 else 0.0
        numbered = any(c.isdigit() for c in "".join(plain))
        if (
            plain[0] == plain[1]
            or plain[0].rstrip("s") == plain[1].rstrip("s")
            or (alike > ALIKE and not numbered)
        ):
            found.append((one, other))
    return found
