"""What goes wrong: each clear detection and each object once, as right or as one kind of error.

Detections are taken best first. With the objects of an image that agree with one (IoU):

    right            an untaken object of its class, IoU >= .5
    duplicate        a taken object of its class, IoU >= .5
    classification   an object of another class, IoU >= .5
    localisation     an object of its class, .1 <= IoU < .5
    background       nothing of these
    missed           an object that no detection found, not even under another name

(In the spirit of Bolya et al. 2020.) Detections inside a crowd count as nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.sample import Detections, Sample, scaled

SAME, NEAR = 0.5, 0.1
ERRORS = ("duplicate", "classification", "localisation", "background", "missed")


@dataclass(frozen=True)
class Analysis:
    """Errors of a set of images.

    Attributes:
        right: how many detections are right; objects: how many there were to find.
        errors: how many there are of each kind.
        confusion: `[C + 1, C + 1]`, rows the truth, columns what was said; the last ones mean "nothing".
        badness: for each image its errors divided by its objects and right detections (at least 1).
    """

    right: int
    objects: int
    errors: dict[str, int]
    confusion: NDArray[numpy.int64]
    badness: list[float]

    @property
    def precision(self) -> float:
        """The share of detections that are right; 1 where there are none."""
        wrong = sum(self.errors.values()) - self.errors["missed"]
        return self.right / (self.right + wrong) if self.right + wrong else 1.0

    @property
    def recall(self) -> float:
        """The share of objects that were found; 1 where there are none."""
        return self.right / self.objects if self.objects else 1.0

    def worst(self, count: int) -> list[int]:
        """The images with most errors, the worst first."""
        return sorted(range(len(self.badness)), key=lambda i: -self.badness[i])[:count]


def analyse(
    truths: Sequence[Sample], found: Sequence[Detections], classes: int, clear: float
) -> Analysis:
    """Compare detections with a score of at least `clear`, in the originals' pixels, with the truth."""
    confusion = numpy.zeros((classes + 1, classes + 1), numpy.int64)
    errors: Counter[str] = Counter()
    right = objects = 0
    badness = []
    for sample, one in zip(truths, found, strict=True):
        kinds, pairs = image_errors(sample, one.above(clear), classes)
        for true, said in pairs:
            confusion[true, said] += 1
        mine = Counter(kinds)
        count = int((~sample.crowd).sum())
        badness.append((len(kinds) - mine["right"]) / max(1, count + mine["right"]))
        right, objects = right + mine["right"], objects + count
        errors += mine
    counts = {kind: errors[kind] for kind in ERRORS}
    return Analysis(right, objects, counts, confusion, badness)


def image_errors(
    sample: Sample, found: Detections, nothing: int
) -> tuple[list[str], list[tuple[int, int]]]:
    """The kind of each detection and of each missed object, and pairs (true label, label said) for the confusion.

    Args:
        nothing: the label that means that there is none.
    """
    boxes = scaled(sample.boxes, sample.scale)
    crowd = sample.crowd
    true, labels = boxes[~crowd], sample.labels[~crowd]
    found = outside(found, boxes[crowd])
    agreement = pairwise_iou(found.boxes, true)
    free = torch.ones(len(true), dtype=torch.bool)
    seen = torch.zeros(len(true), dtype=torch.bool)  # also under a wrong name
    kinds: list[str] = []
    pairs: list[tuple[int, int]] = []
    for number in found.scores.argsort(descending=True, stable=True).tolist():
        said = int(found.labels[number])
        kind, which = judged(agreement[number], labels, said, free)
        kinds.append(kind)
        if kind == "right":
            free[which] = False
        if kind in {"right", "classification"} and not seen[which]:
            seen[which] = True
            pairs.append((int(labels[which]), said))
        else:
            pairs.append((nothing, said))
    missed = labels[~seen].tolist()
    return kinds + ["missed"] * len(missed), pairs + [(label, nothing) for label in missed]


def judged(agreement: Tensor, labels: Tensor, said: int, free: Tensor) -> tuple[str, int]:
    """A detection's kind, and the object that it is about (-1: none), from its IoU with each object `[m]`."""
    same = labels == said
    for kind, fits in (
        ("right", same & free & (agreement >= SAME)),
        ("duplicate", same & (agreement >= SAME)),
        ("classification", ~same & (agreement >= SAME)),
        ("localisation", same & (agreement >= NEAR)),
    ):
        if fits.any():
            return kind, int(torch.where(fits, agreement, -1.0).argmax())
    return "background", -1


def outside(found: Detections, crowds: Tensor) -> Detections:
    """The detections of which less than half lies in a crowd."""
    if not len(crowds):
        return found
    both, _ = overlap(found.boxes.unsqueeze(1), crowds.unsqueeze(0))
    keep = both.amax(1) < SAME * area(found.boxes)
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])
