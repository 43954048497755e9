"""Assignment: which cells of a feature map, or which queries, are responsible for which object.

Cell (i, j) of a map of stride s has its centre at ((j + 0.5) s, (i + 0.5) s). An object's centre lies in exactly one
cell, its *centre cell*.

    heat(cell) = exp(-(dx^2 / 2 sx^2 + dy^2 / 2 sy^2)),  dx, dy in cells from the centre cell,  sx = width / 6 s

Where several objects claim a cell, the smallest gets it: of two concentric boxes the smaller has the centre.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor

from framework.extras import import_extra
from plugins.detection.boxes import area, pairwise_iou

# The smallest standard deviation of an object's heat, in cells.
MIN_STD = 0.35
# An object's box is learned in the cells where its heat is higher.
CLAIM_THRESHOLD = 0.3


class Heat(NamedTuple):
    """Targets of one map.

    Attributes:
        heat: `[B, C, H, W]`, 1 at centre cells.
        object: `[P]`, the object that a claimed cell learns; cell: `[P]`, which cell of H * W.
        weight: `[P]`, of its loss; the weights of an object sum to 1.
    """

    heat: Tensor
    object: Tensor
    cell: Tensor
    weight: Tensor


def cell_centres(
    height: int, width: int, stride: int, device: torch.device | None = None
) -> Tensor:
    """The centres (x, y) of all cells in pixels, `[height * width, 2]`."""
    y, x = (torch.arange(n, device=device) + 0.5 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).reshape(-1, 2) * stride


def heat_targets(
    boxes: Tensor,
    labels: Tensor,
    image_index: Tensor,
    shape: tuple[int, int, int, int],
    stride: int,
) -> Heat:
    """The heatmap of boxes `[M, 4]` with labels and images `[M]`, and the cells that learn each box.

    Args:
        shape: `(B, C, H, W)` of the map.
    """
    images, classes, height, width = shape
    grid = cell_centres(height, width, 1, boxes.device)
    centre = (boxes[:, :2] + boxes[:, 2:]) / (2 * stride)
    limit = torch.tensor([width - 1, height - 1], device=boxes.device)
    centre = torch.minimum(centre.floor().clamp(min=0), limit) + 0.5
    std = ((boxes[:, 2:] - boxes[:, :2]) / (6 * stride)).clamp(min=MIN_STD)
    # [M, H W, 2]
    away = (grid - centre.unsqueeze(1)) / std.unsqueeze(1)
    kernel = torch.exp(-away.square().sum(-1) / 2)
    heat = kernel.new_zeros(images * classes, height * width)
    rows = (image_index * classes + labels).unsqueeze(1).expand_as(kernel)
    heat = heat.scatter_reduce(0, rows, kernel, "amax")
    return Heat(heat.view(shape), *claims(kernel, area(boxes), image_index, images))


def claims(
    kernel: Tensor, size: Tensor, image_index: Tensor, images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Objects, cells and weights `[P]` of the claimed cells, given heat kernels `[M, cells]` and sizes `[M]`."""
    rank = torch.empty_like(image_index)
    rank[size.argsort(stable=True)] = torch.arange(len(size), device=image_index.device)
    unclaimed = len(size)
    claim = torch.where(kernel > CLAIM_THRESHOLD, rank.unsqueeze(1), unclaimed)
    least = claim.new_full((images, kernel.shape[1]), unclaimed)
    least = least.scatter_reduce(0, image_index.unsqueeze(1).expand_as(claim), claim, "amin")
    assigned, cell = ((claim == least[image_index]) & (claim < unclaimed)).nonzero(as_tuple=True)
    weight = kernel[assigned, cell]
    total = kernel.new_zeros(len(size)).index_add(0, assigned, weight)
    return assigned, cell, weight / total[assigned]


def level_of(boxes: Tensor, strides: tuple[int, ...], reach: int = 8) -> Tensor:
    """The level of each box `[M]`: the first whose stride times `reach` covers its longer side, or the last."""
    longest = (boxes[:, 2:] - boxes[:, :2]).amax(-1)
    limits = torch.tensor([reach * stride for stride in strides[:-1]], device=boxes.device)
    return torch.bucketize(longest, limits.to(longest.dtype))


def centre_sampling(points: Tensor, boxes: Tensor, stride: int, radius: float = 1.5) -> Tensor:
    """Whether each point `[P, 2]` is inside each box `[M, 4]` and within `radius` cells of its centre: `[P, M]`.

    (Tian et al. 2019.)
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = torch.cat([centre - radius * stride, centre + radius * stride], -1)
    low = torch.maximum(near[:, :2], boxes[:, :2])
    high = torch.minimum(near[:, 2:], boxes[:, 2:])
    point = points.unsqueeze(1)
    return ((point > low) & (point < high)).all(-1)


def task_aligned(
    scores: Tensor,
    found: Tensor,
    points: Tensor,
    boxes: Tensor,
    labels: Tensor,
    *,
    top_k: int = 10,
    alpha: float = 1.0,
    beta: float = 6.0,
) -> tuple[Tensor, Tensor]:
    """The `top_k` points inside each object that score and locate it best: score^a IoU^b (Feng et al. 2021).

    Args:
        scores: `[P, C]` from 0 to 1 and found: `[P, 4]`, the boxes, of all points of one image.
        boxes: `[M, 4]` and labels: `[M]`, the targets.
        alpha, beta: the exponents of score and IoU.

    Returns:
        the object of each point `[P]`, -1 for none, and its target score `[P]`: its alignment, scaled so that the
        target of an object's best point is the best IoU among its points.
    """
    unclaimed = torch.full((len(points),), -1, device=points.device)
    if not len(boxes):
        return unclaimed, scores.new_zeros(len(points))
    ious = pairwise_iou(found, boxes)
    alignment = scores[:, labels] ** alpha * ious**beta
    inside = centre_sampling(points, boxes, stride=1, radius=float("inf"))
    alignment = torch.where(inside, alignment, -1.0)
    chosen = alignment.topk(min(top_k, len(points)), 0).indices
    candidate = torch.zeros_like(inside).scatter(0, chosen, True) & inside
    rival = torch.where(candidate, ious, -1.0)
    best, assigned = rival.max(1)
    mine = torch.where(candidate & (rival == best.unsqueeze(1)), alignment, 0.0)
    reach = torch.where(candidate, ious, 0.0).amax(0)
    target = (
        (mine * reach / mine.amax(0).clamp(min=1e-12)).gather(1, assigned.unsqueeze(1)).squeeze(1)
    )
    taken = best >= 0
    return torch.where(taken, assigned, unclaimed), torch.where(taken, target, 0.0)


def require_matching() -> Any:
    """scipy's solver of assignment problems.

    Raises:
        UserError: it is not installed.
    """
    optimize = import_extra(
        "scipy.optimize", "detection", "set prediction needs scipy for its matching"
    )
    return optimize.linear_sum_assignment


def hungarian(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the one-to-one matching of least total cost `[n, m]`; all of the smaller side are matched."""
    finite = numpy.nan_to_num(
        cost.detach().cpu().double().numpy(), nan=1e9, posinf=1e9, neginf=-1e9
    )
    rows, columns = require_matching()(finite)
    return (torch.as_tensor(rows, device=cost.device), torch.as_tensor(columns, device=cost.device))
