"""Large images in overlapping tiles, so that small objects keep their pixels (sliced inference, Akyon et al. 2022).

The whole image is searched, too: what is larger than the overlap may be cut by every tile. What touches the inner edge
of a tile is cut off there and is whole in another one; of two detections of one object the better one stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torchvision.ops import batched_nms

from framework.config.schema import Section
from plugins.detection.sample import Detections

# Of two detections of a label with a higher IoU the better one stays.
SAME_OBJECT = 0.5
# Nearer to an inner edge, in pixels, an object is cut off.
MARGIN = 2.0
Side = Annotated[int, Field(ge=32)]


class Tiles(Section):
    """Overlapping tiles that larger images are cut into when they are searched.

    Args:
        side: of a tile, in the image's own pixels; None: images are searched as a whole only.
        overlap: of neighbouring tiles, as a fraction of their side.
    """

    side: Side | None = None
    overlap: Annotated[float, Field(ge=0, le=0.5)] = 0.25

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """The (top, left) of the tiles of an image; none where it is no larger than one."""
        if self.side is None or max(height, width) <= self.side:
            return []
        return list(
            product(starts(height, self.side, self.overlap), starts(width, self.side, self.overlap))
        )


def starts(length: int, side: int, overlap: float) -> list[int]:
    """Where tiles begin along one axis, evenly: the first at 0, the last one ends at the edge."""
    if length <= side:
        return [0]
    stride = max(1, int(side * (1 - overlap)))
    count = -(-(length - side) // stride)
    return [round(number * (length - side) / count) for number in range(count + 1)]


def search(
    image: Tensor,
    tiles: Tiles,
    detect: Callable[[Sequence[Tensor]], Sequence[Detections]],
    max_detections: int,
) -> Detections:
    """The detections in an image `[3, H, W]`, as a whole and by tiles.

    Args:
        detect: the detections in several images, in their own pixels.
        max_detections: the best ones that are kept.
    """
    height, width = image.shape[-2:]
    corners = tiles.corners(height, width)
    side = tiles.side or 0
    parts = [image[:, top : top + side, left : left + side] for top, left in corners]
    whole, *found = detect([image, *parts])
    if not corners:
        return whole
    kept = [whole]
    for (top, left), part, one in zip(corners, parts, found, strict=True):
        uncut = one.chosen(inside(one.boxes, (top, left), part.shape[-2:], (height, width)))
        moved = uncut.boxes + torch.tensor([left, top, left, top])
        kept.append(Detections(moved, uncut.scores, uncut.labels))
    joined = Detections(
        torch.cat([one.boxes for one in kept]),
        torch.cat([one.scores for one in kept]),
        torch.cat([one.labels for one in kept]),
    )
    best = batched_nms(joined.boxes, joined.scores, joined.labels, SAME_OBJECT)
    return joined.chosen(best[:max_detections])


def inside(
    boxes: Tensor, corner: tuple[int, int], part: Sequence[int], whole: Sequence[int]
) -> Tensor:
    """Which boxes `[k, 4]` of a tile do not touch an edge that is not the image's own: `[k]`.

    Args:
        corner: (top, left) of the tile; part, whole: (height, width) of the tile and of the image.
    """
    (top, left), (tall, wide), (height, width) = corner, part, whole
    keep = torch.ones(len(boxes), dtype=torch.bool)
    for inner, cut in (
        (left > 0, boxes[:, 0] < MARGIN),
        (top > 0, boxes[:, 1] < MARGIN),
        (left + wide < width, boxes[:, 2] > wide - MARGIN),
        (top + tall < height, boxes[:, 3] > tall - MARGIN),
    ):
        if inner:
            keep &= ~cut
    return keep
