"""The score from which a detection counts, for each class: chosen on validation images, and used from then on.

By the F1 score of the class's detections, or by the cost of its mistakes: `miss_cost` for a missed object, 1 for a
false alarm. A class with few objects takes the threshold that is best for all classes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy
from numpy.typing import NDArray

from framework import UserError
from plugins.detection.evaluation.error_analysis import judged
from plugins.detection.sample import Detections, Sample

# Before any is chosen.
DEFAULT = 0.3
# Detections with lower scores are never shown.
LOWEST = 0.05
# Objects that a class needs for a threshold of its own.
ENOUGH = 10


def tuned_thresholds(
    targets: Sequence[Sample],
    detections: Sequence[Detections],
    classes: int,
    miss_cost: float | None = None,
) -> list[float]:
    """The best threshold of each class; `DEFAULT` where there is no object at all.

    Args:
        miss_cost: of a missed object, where a false alarm costs 1; None: by F1.
    """
    parts = [
        judged(target, found.above(LOWEST), classes)
        for target, found in zip(targets, detections, strict=True)
    ]
    labels, scores, right = (numpy.concatenate(part) for part in zip(*parts, strict=True))
    objects = numpy.zeros(classes, int)
    for target in targets:
        kept = target.labels[~target.crowd].numpy()
        objects += numpy.bincount(kept, minlength=classes)
    if not objects.sum():
        return [DEFAULT] * classes
    common = best_threshold(scores, right, int(objects.sum()), miss_cost)
    chosen = []
    for label in range(classes):
        mine = labels == label
        enough = objects[label] >= ENOUGH
        own = best_threshold(scores[mine], right[mine], int(objects[label]), miss_cost)
        chosen.append(own if enough else common)
    return chosen


def best_threshold(
    scores: NDArray[numpy.float64],
    right: NDArray[numpy.bool_],
    objects: int,
    miss_cost: float | None,
) -> float:
    """The threshold of the highest F1 or the least cost, midway between two scores; of equals the highest."""
    order = numpy.argsort(-scores, kind="stable")
    scores, hits = scores[order], numpy.cumsum(right[order])
    shown = numpy.arange(1, len(scores) + 1)
    # Only between different scores, and not below the lowest: there is no telling what lies there.
    ends = numpy.append(scores[:-1] > scores[1:], True)[: len(scores)].nonzero()[0]
    f1 = 2 * hits / (shown + objects)
    # Against showing nothing, which costs as much as all objects.
    worth = f1 if miss_cost is None else miss_cost * hits - (shown - hits)
    best, place = 0.0, -1
    for end in ends.tolist():
        if worth[end] > best:
            best, place = float(worth[end]), int(end)
    if place < 0:
        return 1.0 if len(scores) and miss_cost is not None else DEFAULT
    below = float(scores[place + 1]) if place + 1 < len(scores) else LOWEST
    return round((float(scores[place]) + below) / 2, 4)


def checked_threshold(given: Any) -> float:
    """A score that is a threshold.

    Raises:
        UserError: no number from 0 to 1.
    """
    if not isinstance(given, Real) or not 0 <= float(given) <= 1:
        raise UserError(f"threshold = {given!r}: expected a score from 0 to 1")
    return float(given)
