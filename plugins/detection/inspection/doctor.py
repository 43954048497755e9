"""Which labels of a trained run's data are probably missing or wrong, the likeliest first.

A detection where nothing is labelled may be a forgotten object; one of another class a wrong label; a label that
nothing detects a wrong one, too. Only a model that has not learned from an image can tell: held-out images are judged
by the run's own model, training images by models of `folds` parts that each learn from the others. Without folds they
are judged by the run's model, too, and marked: it may have learned their mistakes.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

import framework
from framework import Image, Run, Text, UserError
from framework.media import Media, Pixels
from framework.randomness import key, seeded
from plugins.detection.boxes import pairwise_iou
from plugins.detection.data.folder import Folder
from plugins.detection.data.near_copies import groups_of
from plugins.detection.data.resizing import original
from plugins.detection.data.splits import Whole, mean_objects_per_image
from plugins.detection.evaluation.boxes_on_images import draw_boxes, grid
from plugins.detection.models.initial import PRETRAINED
from plugins.detection.sample import Detections, Sample, Source, scaled

if TYPE_CHECKING:
    from plugins.detection.task import Detection

# Detections with lower scores say nothing.
LOWEST = 0.05
# A detection overlaps an object less than this: it is another one; more than this: it is the same one.
APART, SAME = 0.3, 0.5
# The sheet's pictures: how many, in columns, the margin as a share of the box, their side in pixels.
SHOWN, COLUMNS, MARGIN, SIDE = 24, 6, 0.5, 200
# The trainer's options that decide what is learned.
AS_IN_THE_RUN = (
    *("device", "precision", "threads", "accumulate", "clip_norm", "ema"),
    *("on_nonfinite", "nonfinite_patience"),
)


@dataclass(frozen=True)
class Doubt:
    """A label that may be missing or wrong.

    Attributes:
        image: the image's file, or its split and number.
        kind: missing, class, box or nothing there.
        score: how likely, to sort by.
        box: in the image's pixels; label: what is there, by the model; labelled: what is labelled there.
        learned: whether the model that says so may have learned from this image.
    """

    image: str
    kind: str
    score: float
    box: tuple[float, ...]
    label: str
    labelled: str
    learned: bool


@dataclass(frozen=True)
class Diagnosis:
    """The doubtful labels, the likeliest first, and pictures of the first ones."""

    doubts: list[Doubt]
    sheet: Image | None

    def markdown(self, count: int = 50) -> str:
        """The first doubts as a table."""
        head = (
            "| # | image | kind | model | labelled | score | box |\n|---|---|---|---|---|---|---|\n"
        )
        rows = [
            f"| {number} | {Path(d.image).name}{' *' * d.learned} | {d.kind} | {d.label} | {d.labelled} "
            f"| {d.score:.2f} | {', '.join(f'{v:.0f}' for v in d.box)} |"
            for number, d in enumerate(self.doubts[:count], 1)
        ]
        note = "\n\n\\* judged by a model that may have learned from this image\n"
        marked = any(doubt.learned for doubt in self.doubts[:count])
        return head + "\n".join(rows) + (note if marked else "\n")

    def media(self) -> list[Media]:
        """The table, all doubts as JSON, and the sheet."""
        text = json.dumps([asdict(doubt) for doubt in self.doubts])
        found: list[Media] = [Text("doctor", self.markdown()), Text("doctor", text, ".json")]
        return found + ([self.sheet] if self.sheet else [])

    def save(self, folder: Path) -> list[Path]:
        return [media.save(folder) for media in self.media()]


@dataclass(frozen=True)
class Judged:
    """An image that a model has looked at: number `index` of a source."""

    name: str
    sample: Sample
    found: Detections
    learned: bool
    source: Source
    index: int


def diagnose(run: Run, *, folds: int = 0, steps: int | None = None) -> Diagnosis:
    """Rank a run's labels by how doubtful they are.

    Args:
        folds: parts of the training images that are judged by models of the others, 2 or more, each trained for this
            like the run; 0: by the run's own model.
        steps: of each of these trainings; None: the run's.

    Raises:
        UserError: the run is of another task, or its images are not there.
    """
    from plugins.detection.task import Detection

    task = run.task
    if not isinstance(task, Detection):
        raise UserError(f"{run.folder}: its task is no detection")
    if not task.has_data:
        raise UserError(f"task.data.root = '{task.data.root}': no such folder")
    if folds == 1 or folds < 0:
        raise UserError(f"folds = {folds}: expected 0, or 2 or more")
    splits = task.splits
    judged: list[Judged] = []
    for name, source in (("validation", splits.validation), ("test", splits.test)):
        judged += look(task, source, range(len(source)), name, learned=False)
    train = unwrapped(splits.train)
    everything = range(len(train))
    if not folds:
        judged += look(task, train, everything, "train", learned=True)
    for part in parts_of(train, folds):
        other = sorted(set(everything) - set(part))
        judged += look(refitted(run, other, steps), train, part, "train", learned=False)
    unique = {one.name: one for one in judged}
    doubts = [doubt for one in unique.values() for doubt in doubts_about(one, task.categories)]
    doubts.sort(key=lambda doubt: -doubt.score)
    return Diagnosis(doubts, sheet(doubts[:SHOWN], unique))


def unwrapped(source: Source) -> Source:
    """A source in which damaged images are marked and not replaced."""
    inner = getattr(source, "source", source)
    return inner if hasattr(source, "source") else source


def innermost(source: Any) -> Any:
    while hasattr(source, "source"):
        source = source.source
    return source


def name_of(source: Source, index: int, split: str) -> str:
    """An image's file, or its split and number."""
    folder = innermost(source)
    return str(folder.entries[index].path) if isinstance(folder, Folder) else f"{split}/{index}"


def look(
    task: Detection, source: Source, indices: Sequence[int], split: str, *, learned: bool
) -> Iterator[Judged]:
    """A model's detections in some images of a source."""
    task.model.eval()
    with torch.no_grad():
        for i, sample, found in task.searched(source, indices):
            name, seen = name_of(source, i, split), found.above(LOWEST)
            yield Judged(name, sample, seen, learned, source, i)


def parts_of(source: Source, folds: int) -> list[list[int]]:
    """The images in `folds` parts, near copies in one; none where there are no folds."""
    if not folds:
        return []
    folder = innermost(source)
    count = len(source)
    groups = list(range(count))
    if isinstance(folder, Folder):
        groups, _ = groups_of([entry.path for entry in folder.entries])
    parts: list[list[int]] = [[] for _ in range(folds)]
    order = sorted(
        set(groups), key=lambda first: key(0, "detection/folds", 0, zlib.crc32(b"%d" % first))
    )
    members: dict[int, list[int]] = {}
    for i, first in enumerate(groups):
        members.setdefault(first, []).append(i)
    for first in order:
        min(parts, key=len).extend(members[first])
    return [part for part in parts if part]


class Subset:
    """Some samples of a source."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source, self.indices = source, list(indices)
        self.categories = source.categories

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int) -> Sample:
        return self.source.sample(self.indices[index])


def refitted(run: Run, indices: Sequence[int], steps: int | None) -> Detection:
    """A task like the run's, trained from random weights, or the package's, on some of the training images."""
    from plugins.detection.task import Detection

    settings, trainer = run.settings, run.settings.trainer
    # Its splits may be those of another folder than the run learned from.
    task = copy.copy(run.task)
    assert isinstance(task, Detection)
    splits = task.splits
    task.criterion = "losses"
    if task.init_from != PRETRAINED:
        # An earlier run may have learned from these images.
        task.init_from = None
    part = Whole(Subset(unwrapped(splits.train), indices))
    task.splits_read = replace(splits, train=part)
    with seeded(key(settings.seed, "detection/doctor")):
        task.replace_model(task.make_model())
    task.model.mean_objects_per_image = mean_objects_per_image(part)
    groups = {"optimizer": settings.optimizer, "scheduler": settings.scheduler}
    groups["estimator"] = settings.estimator
    options = {
        f"{group}.{name}": value
        for group, component in groups.items()
        for name, value in component.options.items()
    }
    options |= {f"trainer.{name}": getattr(trainer, name) for name in AS_IN_THE_RUN}
    framework.fit(
        task,
        estimator=settings.estimator.name,
        optimizer=settings.optimizer.name,
        scheduler=settings.scheduler.name,
        steps=steps or trainer.steps,
        seed=settings.seed,
        overrides=[f"{key}={json.dumps(value)}" for key, value in options.items()],
    )
    return task


def doubts_about(one: Judged, categories: Sequence[str]) -> Iterator[Doubt]:
    """What is doubtful in an image."""
    boxes, labels = scaled(one.sample.boxes, one.sample.scale), one.sample.labels
    found = one.found
    iou = pairwise_iou(found.boxes, boxes)
    # Best first: a second detection of the same place says nothing new.
    taken = torch.zeros(0, 4)
    for k in range(len(found)):
        score, label = float(found.scores[k]), int(found.labels[k])
        box = found.boxes[k : k + 1]
        if len(taken) and float(pairwise_iou(box, taken).max()) > SAME:
            continue
        taken = torch.cat([taken, box])
        best = float(iou[k].max()) if len(boxes) else 0.0
        nearest = int(iou[k].argmax()) if len(boxes) else -1
        if best < APART:
            yield doubt(one, "missing", score, box, categories[label], "")
        elif best >= SAME and labels[nearest] != label and not one.sample.crowd[nearest]:
            same = (iou[:, nearest] >= SAME) & (found.labels == labels[nearest])
            rival = float(found.scores[same].max()) if bool(same.any()) else 0.0
            wrong = categories[int(labels[nearest])]
            yield doubt(one, "class", score * (1 - rival), box, categories[label], wrong)
        elif labels[nearest] == label and best < 0.6:
            yield doubt(
                one, "box", score * (1 - best) / 2, box, categories[label], categories[label]
            )
    for n in range(len(boxes)):
        seen = float(iou[:, n].max()) if len(found) else 0.0
        if seen < APART and not one.sample.crowd[n]:
            yield doubt(
                one,
                "nothing there",
                0.3 * (1 - seen),
                boxes[n : n + 1],
                "",
                categories[int(labels[n])],
            )


def doubt(
    one: Judged, kind: str, score: float, box: torch.Tensor, label: str, labelled: str
) -> Doubt:
    corners = tuple(round(v, 1) for v in box[0].tolist())
    return Doubt(one.name, kind, round(score, 4), corners, label, labelled, one.learned)


def sheet(doubts: Sequence[Doubt], judged: dict[str, Judged]) -> Image | None:
    """The places of the first doubts, each cut out with some surroundings, with its number in the table."""
    pictures = []
    for number, one in enumerate(doubts, 1):
        looked = judged[one.image]
        name = f"{number}. {one.kind} {one.label or one.labelled}"
        pictures.append(place(original(looked.source, looked.index).image, one.box, name))
    return Image("doctor", grid(pictures, min(COLUMNS, len(pictures)))) if pictures else None


def place(image: Tensor, box: Sequence[float], name: str) -> Pixels:
    """A box in an image `[3, H, W]` with some surroundings, `[SIDE, SIDE, 3]`."""
    corners = torch.tensor(box)
    side = max(16.0, float((corners[2:] - corners[:2]).max())) * (1 + 2 * MARGIN)
    height, width = image.shape[-2:]
    side = int(min(side, height, width))
    centre = (corners[:2] + corners[2:]) / 2
    left = int((centre[0] - side / 2).clamp(0, width - side))
    top = int((centre[1] - side / 2).clamp(0, height - side))
    cut = image[:, top : top + side, left : left + side].permute(1, 2, 0).numpy()
    pixels = numpy.array(Pillow.fromarray(cut).resize((SIDE, SIDE)))
    shown = torch.from_numpy(pixels).permute(2, 0, 1)
    moved = (corners - torch.tensor([left, top, left, top])) * SIDE / side
    return draw_boxes(shown, moved[None], torch.zeros(1, dtype=torch.long), [name], min_side=SIDE)
