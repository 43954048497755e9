"""One evaluation of a detector: COCO's numbers and the kinds of errors, as metrics and as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plugins.detection.evaluation.error_analysis import Analysis, analyse
from plugins.detection.evaluation.metrics import Precision, precision
from plugins.detection.sample import Detections, Sample


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a set of images.

    Attributes:
        precision: COCO's numbers, over all detections.
        analysis: the kinds of errors, over the detections that are displayed.
        image_ids: the ids of the images, in order.
        categories: the names of labels 0, 1, ...
    """

    precision: Precision
    analysis: Analysis
    image_ids: list[int]
    categories: Sequence[str]

    def metrics(self) -> dict[str, float]:
        """COCO's numbers, the AP of each class, errors per object, and precision and recall.

        A class or a size without objects has no precision, COCO's -1: it is left out. AP and AP50 are always there, and
        not a number where no image has an object.
        """
        classes = {f"AP/{name}": both[0] for name, both in self.precision.classes.items()}
        coco = {
            name: value if value != -1 else math.nan
            for name, value in (self.precision.numbers | classes).items()
            if value != -1 or name in {"AP", "AP50"}
        }
        objects = max(1, self.analysis.objects)
        errors = {f"errors/{kind}": n / objects for kind, n in self.analysis.errors.items()}
        shares = {"precision": self.analysis.precision, "recall": self.analysis.recall}
        return coco | errors | shares

    def to_json(self) -> dict[str, Any]:
        """The same with the curves, the confusion matrix and the worst images, as plain data."""
        analysis, classes = self.analysis, self.precision.classes
        curves = {
            name: [round(float(p), 4) for p in self.precision.curves[0, :, label]]
            for label, name in enumerate(self.categories)
        }
        return {
            "numbers": {name: known(value) for name, value in self.precision.numbers.items()},
            "classes": {
                name: {"AP": known(ap), "AP50": known(ap50)} for name, (ap, ap50) in classes.items()
            },
            "precision at recall 0, .01, ..., 1 and IoU .50": curves,
            "errors": analysis.errors | {"correct": analysis.correct, "objects": analysis.objects},
            "confusion (rows: ground truth; last: background)": analysis.confusion.tolist(),
            "worst images": [self.image_ids[i] for i in analysis.worst(50)],
        }


def known(value: float) -> float | None:
    """A number of COCO's; None for its -1, which means that there are no objects."""
    return None if value == -1 else value


def evaluate(
    targets: Sequence[Sample],
    detections: Sequence[Detections],
    categories: Sequence[str],
    display_threshold: float | Sequence[float],
) -> Evaluation:
    """Evaluate detections, in the original images' pixels, against the targets of the same images."""
    return Evaluation(
        precision(targets, detections, categories),
        analyse(targets, detections, len(categories), display_threshold),
        [sample.image_id for sample in targets],
        categories,
    )
