"""Error analysis: each displayed detection and each object once, as correct or as one kind of error.

Detections are taken best first and compared with the objects of their image by IoU:

    correct          an untaken object of its class, IoU >= .5
    duplicate        a taken object of its class, IoU >= .5
    classification   an object of another class, IoU >= .5
    localisation     an object of its class, .1 <= IoU < .5
    background       none of these
    missed           an object without a correct detection or one of another class

(In the spirit of Bolya et al. 2020.) Detections inside a crowd are ignored.
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

MATCH_IOU, NEAR_IOU = 0.5, 0.1
ERRORS = ("duplicate", "classification", "localisation", "background", "missed")


@dataclass(frozen=True)
class Analysis:
    """Errors of a set of images.

    Attributes:
        correct: number of correct detections; objects: number of objects.
        errors: number of errors of each kind.
        confusion: `[C + 1, C + 1]`, rows the true class, columns the predicted one; the last ones are background.
        error_rates: for each image its errors divided by its objects and correct detections (at least 1).
    """

    correct: int
    objects: int
    errors: dict[str, int]
    confusion: NDArray[numpy.int64]
    error_rates: list[float]

    @property
    def precision(self) -> float:
        """The fraction of detections that are correct; 1 where there are none."""
        wrong = sum(self.errors.values()) - self.errors["missed"]
        return self.correct / (self.correct + wrong) if self.correct + wrong else 1.0

    @property
    def recall(self) -> float:
        """The fraction of objects that were detected; 1 where there are none."""
        return self.correct / self.objects if self.objects else 1.0

    def worst(self, count: int) -> list[int]:
        """The indices of the images with the highest error rates, the worst first."""
        return sorted(range(len(self.error_rates)), key=lambda i: -self.error_rates[i])[:count]


def analyse(
    targets: Sequence[Sample],
    detections: Sequence[Detections],
    classes: int,
    score_threshold: float | Sequence[float],
) -> Analysis:
    """Compare detections with a score of at least `score_threshold`, in the originals' pixels, with the targets.

    Args:
        score_threshold: for all labels, or for each.
    """
    confusion = numpy.zeros((classes + 1, classes + 1), numpy.int64)
    errors: Counter[str] = Counter()
    correct = objects = 0
    error_rates = []
    for sample, one in zip(targets, detections, strict=True):
        kinds, pairs = errors_of_image(sample, one.above(score_threshold), classes)
        for target, predicted in pairs:
            confusion[target, predicted] += 1
        mine = Counter(kinds)
        count = int((~sample.crowd).sum())
        error_rates.append((len(kinds) - mine["correct"]) / max(1, count + mine["correct"]))
        correct, objects = correct + mine["correct"], objects + count
        errors += mine
    counts = {kind: errors[kind] for kind in ERRORS}
    return Analysis(correct, objects, counts, confusion, error_rates)


def judged(
    sample: Sample, detections: Detections, classes: int
) -> tuple[NDArray[numpy.int64], NDArray[numpy.float64], NDArray[numpy.bool_]]:
    """The detections outside crowds, best first: their labels, scores, and whether each is correct, `[k]` each.

    Whether one is depends on those with higher scores only: it stays so wherever a threshold is put.
    """
    crowds = scaled(sample.boxes, sample.scale)[sample.crowd]
    kept = outside_crowds(detections, crowds)
    kept = kept.chosen(kept.scores.argsort(descending=True, stable=True))
    kinds, _ = errors_of_image(sample, kept, classes)
    right = numpy.array([kind == "correct" for kind in kinds[: len(kept)]], bool)
    return kept.labels.numpy(), kept.scores.double().numpy(), right


def errors_of_image(
    sample: Sample, detections: Detections, background: int
) -> tuple[list[str], list[tuple[int, int]]]:
    """The kind of each detection and of each missed object, and pairs (true label, predicted label) for the confusion.

    Args:
        background: the label of no object.
    """
    boxes = scaled(sample.boxes, sample.scale)
    crowd = sample.crowd
    target, labels = boxes[~crowd], sample.labels[~crowd]
    detections = outside_crowds(detections, boxes[crowd])
    ious = pairwise_iou(detections.boxes, target)
    free = torch.ones(len(target), dtype=torch.bool)
    # Detected, if only as another class.
    seen = torch.zeros(len(target), dtype=torch.bool)
    kinds: list[str] = []
    pairs: list[tuple[int, int]] = []
    for number in detections.scores.argsort(descending=True, stable=True).tolist():
        predicted = int(detections.labels[number])
        kind, which = classify(ious[number], labels, predicted, free)
        kinds.append(kind)
        if kind == "correct":
            free[which] = False
        if kind in {"correct", "classification"} and not seen[which]:
            seen[which] = True
            pairs.append((int(labels[which]), predicted))
        else:
            pairs.append((background, predicted))
    missed = labels[~seen].tolist()
    return kinds + ["missed"] * len(missed), pairs + [(label, background) for label in missed]


def classify(ious: Tensor, labels: Tensor, predicted: int, free: Tensor) -> tuple[str, int]:
    """A detection's kind, and the object that it belongs to (-1: none), from its IoU with each object `[m]`."""
    same = labels == predicted
    for kind, fits in (
        ("correct", same & free & (ious >= MATCH_IOU)),
        ("duplicate", same & (ious >= MATCH_IOU)),
        ("classification", ~same & (ious >= MATCH_IOU)),
        ("localisation", same & (ious >= NEAR_IOU)),
    ):
        if fits.any():
            return kind, int(torch.where(fits, ious, -1.0).argmax())
    return "background", -1


def outside_crowds(detections: Detections, crowds: Tensor) -> Detections:
    """The detections with less than half of their area in a crowd."""
    if not len(crowds):
        return detections
    both, _ = overlap(detections.boxes.unsqueeze(1), crowds.unsqueeze(0))
    keep = both.amax(1) < MATCH_IOU * area(detections.boxes)
    return detections.chosen(keep)
