"""What a training should know before its first step: limits that bind, and sizes that no model can learn at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from framework import UserError
from plugins.detection.models.detector import Detector

# COCO's numbers count this many detections of an image.
COCO_DETECTIONS = 100


def refuse_one_cell(model: Detector, size: int, batch_size: int) -> None:
    """Refuse batches of one image whose coarsest map has one cell: batch normalisation has nothing to average there.

    Raises:
        UserError: names the size and the batch.
    """
    if batch_size == 1 and size <= model.size_divisor and model.normalises_batches:
        raise UserError(
            f"task.data.size = {size} with batches of one image: the model's coarsest map has one cell, which batch "
            f"normalisation cannot use; expected a batch of 2 or more, or a size above {model.size_divisor}"
        )


def binding_limits(
    model: Detector, most_objects: Mapping[str, int], max_detections: int
) -> Iterator[str]:
    """A line for each limit that is lower than what the images hold.

    Args:
        most_objects: the largest number of objects in an image of each split, where it is known.
    """
    limit = model.max_objects
    for split, count in most_objects.items():
        if limit is not None and count > limit:
            queries = "(task.model_options.queries)"
            yield f"a {split} image has {count} objects: the model detects at most {limit} {queries}"
    held_out = max((n for split, n in most_objects.items() if split != "train"), default=0)
    if held_out > max_detections:
        yield f"an evaluated image has {held_out} objects: task.max_detections = {max_detections} binds"
    if held_out > COCO_DETECTIONS:
        yield f"an evaluated image has {held_out} objects: COCO's numbers count {COCO_DETECTIONS} detections"
    if most_objects.get("validation", 1) == 0:
        yield "the validation images have no object: AP is not known there, and no checkpoint is the best by it"
