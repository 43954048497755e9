"""`diffobj inspect`: what is in a data set of one's own, before a step: `inspect(Data(root=...))` in Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from framework import Image, Text, UserError
from framework.config.validation import check_options
from framework.media import Media
from framework.plugin import registry
from plugins.detection.data.folder import Folder, open_folder
from plugins.detection.data.near_copies import Looks
from plugins.detection.data.readers.entry import Entry
from plugins.detection.data.resizing import Resized, resized
from plugins.detection.data.splits import Data, image_size
from plugins.detection.evaluation.boxes_on_images import draw_boxes, grid
from plugins.detection.inspection.ceiling import ceiling
from plugins.detection.inspection.suspects import Suspect, similar_names, suspects
from plugins.detection.models.detector import Detector
from plugins.detection.sample import Sample

# An object whose shorter side has fewer of the model's pixels is tiny.
TINY = 8.0
# Objects that a class needs, at the least, to be learned from random weights.
FEW = 20
# Images on the contact sheet, and suspects on theirs.
SHEET, COLUMNS = 16, 4
# Images that the ceiling is measured on, and that are compared by their looks.
MEASURED, COMPARED = 500, 5000


@dataclass(frozen=True)
class Inspection:
    """What was seen.

    Attributes:
        numbers: everything as plain data.
        suspects: objects whose labels may be wrong.
        pictures: the contact sheets.
    """

    numbers: dict[str, Any]
    suspects: list[Suspect]
    pictures: list[Image]

    def markdown(self) -> str:
        """The same to be read."""
        return "\n".join(lines(self.numbers, self.suspects)) + "\n"

    def media(self) -> list[Media]:
        """The report as Markdown and JSON, and the pictures."""
        data = self.numbers | {"suspects": [one.to_json() for one in self.suspects]}
        texts = [Text("inspection", self.markdown()), Text("inspection", json.dumps(data), ".json")]
        return [*texts, *self.pictures]

    def save(self, folder: Path) -> list[Path]:
        """Write all of it into a folder."""
        return [media.save(folder) for media in self.media()]


def inspect(
    data: Data,
    *,
    model: str = "nano",
    model_options: Mapping[str, Any] = MappingProxyType({}),
    max_detections: int = 100,
) -> Inspection:
    """Look at a folder of annotated images as it would be trained on.

    Args:
        model, model_options: the model whose limits count, as the task names it; it is not trained.
        max_detections: the task's cap on detections in an image.

    Raises:
        UserError: no folder is given, or one that cannot be read; no such model, or not such an option of it.
    """
    if data.root is None:
        raise UserError("which folder? diffobj inspect task.data.root=FOLDER")
    opened = open_folder(Path(data.root).expanduser(), data.format, data.categories)
    folders = {"train": opened.train, "validation": opened.validation, "test": opened.test}
    size = image_size(data)
    numbers: dict[str, Any] = {"read": opened.report, "size": size}
    numbers["splits"] = {name: counts(folder, size) for name, folder in folders.items()}
    numbers["classes"] = {
        label: {name: class_count(folder, label) for name, folder in folders.items()}
        for label in opened.train.categories
    }
    numbers["similar names"] = similar_names(opened.train.categories)
    numbers |= copies(folders)
    factory = registry().component("detection.models", model).load()
    options = check_options(factory, dict(model_options), "task.model_options")
    built: Detector = factory(len(opened.train.categories), **options)
    samples = first_samples(folders["test"], size)
    numbers["ceiling"] = (
        ceiling(samples, built, opened.train.categories, max_detections) if samples else {}
    )
    doubtful = suspects(list(folders.values()))
    pictures = [sheet("sheet", some(folders["train"]), folders["train"])]
    if doubtful:
        chosen = list(dict.fromkeys(one.entry for one in doubtful))[:SHEET]
        pictures.append(sheet("suspects", chosen, folders["train"]))
    return Inspection(numbers, doubtful, pictures)


def counts(folder: Folder, size: int) -> dict[str, int]:
    """The numbers of a split."""
    objects = [(entry, a) for entry in folder.entries for a in entry.annotations]
    return {
        "images": len(folder),
        "backgrounds": sum(not entry.annotations for entry in folder.entries),
        "objects": len(objects),
        "crowds": sum(a.crowd for _, a in objects),
        "most objects": folder.most_objects,
        "tiny": sum(shorter_side(entry, a.box, size) < TINY for entry, a in objects),
        "images that lost objects": sum(entry.dropped > 0 for entry in folder.entries),
    }


def shorter_side(entry: Entry, box: tuple[float, float, float, float], size: int) -> float:
    """Of a box, in the model's pixels."""
    factor = size / max(entry.size or (size, size))
    return factor * min(box[2] - box[0], box[3] - box[1])


def class_count(folder: Folder, name: str) -> int:
    return sum(a.name == name for entry in folder.entries for a in entry.annotations)


def copies(folders: Mapping[str, Folder]) -> dict[str, Any]:
    """Near copies within splits, and across them."""
    places = {e.path: name for name, folder in folders.items() for e in folder.entries}
    paths = list(places)
    if len(paths) > COMPARED:
        return {"near copies": None, "leaks": None}
    within: Counter[str] = Counter()
    across = []
    for i, j in Looks(paths).pairs():
        one, other = paths[i], paths[j]
        if places[one] == places[other]:
            within[places[one]] += 1
        else:
            across.append((f"{places[one]}/{one.name}", f"{places[other]}/{other.name}"))
    return {"near copies": dict(within), "leaks": across}


def first_samples(folder: Folder, size: int) -> list[Sample]:
    """Samples of the model's size, whole ones only."""
    source = Resized(folder, size, 0)
    found = (source.sample(i) for i in range(min(MEASURED, len(folder))))
    return [sample.without_pixels() for sample in found if not sample.damaged]


def some(folder: Folder) -> list[Entry]:
    """Images spread over a split."""
    step = max(1, len(folder) // SHEET)
    return folder.entries[::step][:SHEET]


def sheet(name: str, entries: Sequence[Entry], folder: Folder) -> Image:
    """Images with their boxes on one picture."""
    shown = Folder(entries, folder.categories, folder.damage)
    pictures = []
    for number in range(len(shown)):
        sample = resized(shown.sample(number), 320)
        drawn = draw_boxes(sample.image, sample.boxes, sample.labels, folder.categories)
        pictures.append(drawn)
    return Image(name, grid(pictures, COLUMNS))


def lines(numbers: Mapping[str, Any], doubtful: Sequence[Suspect]) -> list[str]:
    """The report in Markdown."""
    splits = numbers["splits"]
    keys = list(next(iter(splits.values())))
    text = ["# Inspection", "", *(f"- {line}" for line in numbers["read"]), ""]
    text += ["| split | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    text += [
        f"| {name} | " + " | ".join(str(found[key]) for key in keys) + " |"
        for name, found in splits.items()
    ]
    text += [
        "",
        f"Tiny: a side of less than {TINY:.0f} of the model's pixels at size {numbers['size']}.",
    ]
    text += ["", "| class | " + " | ".join(splits) + " |", "|---" * (len(splits) + 1) + "|"]
    for name, found in numbers["classes"].items():
        few = " (few)" if found["train"] < FEW else ""
        text.append(f"| {name}{few} | " + " | ".join(str(n) for n in found.values()) + " |")
    text += [""]
    if reached := numbers["ceiling"]:
        text.append(
            f"A perfect model of this family and size reaches AP {reached['AP']:.3f} and AP50 {reached['AP50']:.3f} on "
            f"the test images; {100 * reached['lost']:.1f} % of their objects cannot be detected."
        )
    text += warnings_of(numbers)
    if doubtful:
        text += ["", f"## {len(doubtful)} suspect labels", ""]
        text += [
            f"- {one.entry.path.name}: {one.entry.annotations[one.place].name} {one.why}"
            for one in doubtful[:50]
        ]
    return text


def warnings_of(numbers: Mapping[str, Any]) -> list[str]:
    """A line for each thing that should be looked at."""
    found = []
    if leaks := numbers["leaks"]:
        one, other = leaks[0]
        found.append(
            f"{len(leaks)} pairs of near copies are in different splits: {one} and {other}, ..."
        )
    for split, count in (numbers["near copies"] or {}).items():
        found.append(f"{count} pairs of near copies are in {split}.")
    for one, other in numbers["similar names"]:
        found.append(f"Are '{one}' and '{other}' one class?")
    for name, counted in numbers["classes"].items():
        if counted["train"] == 0:
            found.append(f"'{name}' has no object to learn from.")
        elif counted["train"] < FEW:
            found.append(f"'{name}' has {counted['train']} objects to learn from.")
    return ["", *(f"- {line}" for line in found)] if found else []


__all__ = ["Inspection", "inspect"]
