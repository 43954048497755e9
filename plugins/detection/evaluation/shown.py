"""What an evaluation shows: images with their boxes, the worst of them, figures, and its numbers as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from framework import Image, Text
from framework.media import Media
from plugins.detection.evaluation import figures
from plugins.detection.evaluation.boxes_on_images import draw_boxes, side_by_side
from plugins.detection.evaluation.report import Evaluation
from plugins.detection.sample import Detections, Sample, Source

# Images of each kind.
SHOWN = 6


def shown(
    source: Source,
    targets: Sequence[Sample],
    detections: Sequence[Detections],
    found: Evaluation,
    categories: Sequence[str],
    thresholds: Sequence[float],
) -> Iterator[Media]:
    """The first and the worst images with targets on the left and detections on the right, and the figures.

    Args:
        source: the images that were evaluated; targets: these without pixels, damaged ones left out.
    """

    def pair(name: str, number: int) -> Image:
        target = targets[number]
        # Damaged images before it were not evaluated: its index is `number` or more.
        samples = (source.sample(i) for i in range(number, len(source)))
        sample = next(s for s in samples if s.image_id == target.image_id)
        return comparison(name, sample, detections[number].above(thresholds), categories)

    for number in range(min(SHOWN, len(targets))):
        yield pair(f"detections/{number}", number)
    for place, number in enumerate(found.analysis.worst(SHOWN)):
        yield pair(f"worst/{place}", number)
    curves = figures.precision_over_recall(found.precision, categories)
    yield Image.from_figure("precision", curves)
    yield Image.from_figure("confusion", figures.confusion(found.analysis, categories))
    yield Image.from_figure("errors", figures.errors(found.analysis))
    yield Text("evaluation", json.dumps(found.to_json()), ".json")


def comparison(name: str, sample: Sample, found: Detections, categories: Sequence[str]) -> Image:
    """Targets on the left, detections, which are in the original's pixels, on the right."""
    height, width = sample.image.shape[-2:]
    back = (1 / sample.scale[0], 1 / sample.scale[1])
    here = found.scaled(back, (height, width))
    left = draw_boxes(sample.image, sample.boxes, sample.labels, categories)
    right = draw_boxes(sample.image, here.boxes, here.labels, categories, here.scores)
    return Image(name, side_by_side(left, right))
