"""Average precision as COCO defines it, computed by faster-coco-eval, which equals pycocotools.

The 12 numbers are AP (mean over IoU .50 to .95), AP50, AP75, by size of object, and the recall AR with 1, 10 and 100
detections per image. Classes without objects have no precision (-1) and are left out of means.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from framework.extras import import_extra
from plugins.detection.data import coco_json
from plugins.detection.sample import Detections, Sample

NUMBERS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip


@dataclass(frozen=True)
class Precision:
    """COCO's evaluation.

    Attributes:
        numbers: the 12 numbers by name.
        classes: AP and AP50 of each class, -1 for a class without objects.
        curves: `[10, 101, C]`, precision at recall 0, .01, ..., 1 for IoU .50, .55, ..., .95; -1 where there is none.
    """

    numbers: dict[str, float]
    classes: dict[str, tuple[float, float]]
    curves: NDArray[numpy.float64]


def require_coco_evaluation() -> Any:
    """The module of faster-coco-eval.

    Raises:
        UserError: it is not installed.
    """
    return import_extra(
        "faster_coco_eval", "detection", "the metrics of detection need faster-coco-eval"
    )


def precision(
    targets: Sequence[Sample], detections: Sequence[Detections], categories: Sequence[str]
) -> Precision:
    """Evaluate detections, in the original images' pixels, against the targets of the same images."""
    ids = [sample.image_id for sample in targets]
    return precision_of_json(
        coco_json.ground_truth(targets, categories),
        coco_json.results(zip(ids, detections, strict=True)),
        categories,
    )


def precision_of_json(
    targets: dict[str, Any], results: list[dict[str, Any]], categories: Sequence[str]
) -> Precision:
    """The same from COCO's json; category ids are label + 1."""
    library = require_coco_evaluation()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = library.COCO(targets)
        evaluation = library.COCOeval_faster(known, known.loadRes(results), iouType="bbox")
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(NUMBERS, (float(n) for n in evaluation.stats[:12]), strict=True))
    # All sizes, 100 detections.
    curves = numpy.asarray(evaluation.eval["precision"], numpy.float64)[..., 0, -1]
    classes = {}
    for label, name in enumerate(categories):
        own = curves[:, :, label]
        classes[name] = (mean_where_known(own), mean_where_known(own[0]))
    return Precision(numbers, classes, curves)


def mean_where_known(values: NDArray[numpy.float64]) -> float:
    """The mean of what is not -1, or -1."""
    known = values[values > -1]
    return float(known.mean()) if known.size else -1.0
