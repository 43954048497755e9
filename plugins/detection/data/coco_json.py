"""COCO's json of samples and detections.

Category ids are label + 1 in category order; boxes are [x, y, width, height].
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from plugins.detection.boxes import to_corner_and_size
from plugins.detection.sample import Detections, Sample, scaled


def ground_truth(
    samples: Iterable[Sample], categories: Sequence[str], names: Sequence[str] = ()
) -> dict[str, Any]:
    """A data set's json: images, annotations, categories. Boxes are in the original image's pixels.

    Args:
        names: the images' file names; their ids where there are none.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, sample in enumerate(samples):
        height, width = sample.size
        name = names[number] if names else str(sample.image_id)
        images.append({"id": sample.image_id, "file_name": name, "width": width, "height": height})
        boxes = to_corner_and_size(scaled(sample.boxes, sample.scale))
        for box, label, crowd, size in zip(
            boxes.tolist(),
            sample.labels.tolist(),
            sample.crowd.tolist(),
            sample.area.tolist(),
            strict=True,
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": sample.image_id,
                    "category_id": label + 1,
                    "bbox": box,
                    "area": size,
                    "iscrowd": int(crowd),
                }
            )
    return {"images": images, "annotations": annotations, "categories": category_list(categories)}


def category_list(categories: Sequence[str], ids: Sequence[int] = ()) -> list[dict[str, Any]]:
    """The categories with their numbers; label + 1 where none are given."""
    numbers = ids or [label + 1 for label in range(len(categories))]
    return [{"id": n, "name": name} for n, name in zip(numbers, categories, strict=True)]


def results(found: Iterable[tuple[int, Detections]]) -> list[dict[str, Any]]:
    """Detections in the original images' pixels, by image id, as COCO's results."""
    return [
        {"image_id": image_id, "category_id": label + 1, "bbox": box, "score": score}
        for image_id, one in found
        for box, label, score in zip(
            to_corner_and_size(one.boxes).tolist(),
            one.labels.tolist(),
            one.scores.tolist(),
            strict=True,
        )
    ]
