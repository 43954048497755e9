"""Non-maximum suppression of a whole batch as operations on tensors of fixed shapes, as an exported file needs it."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.detection.boxes import pairwise_iou

# A box may be suppressed by one that is itself suppressed, and so on: chains longer than this do not occur.
ROUNDS = 16


def survivors(boxes: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Which boxes `[B, k, 4]`, best first, have no better surviving one of their label with a higher IoU: `[B, k]`.

    Greedy suppression is the one set in which exactly the boxes without a surviving rival survive. Beginning with all
    of them, each round settles the boxes that all longer chains of rivals depend on.
    """
    count = boxes.shape[1]
    better = torch.ones(count, count, dtype=torch.bool, device=boxes.device).tril(-1)
    same = labels.unsqueeze(2) == labels.unsqueeze(1)
    rivals = ((pairwise_iou(boxes, boxes) > iou) & same & better).to(boxes.dtype)
    keep = torch.ones_like(rivals[:, 0])
    for _ in range(ROUNDS):
        # Not a comparison of booleans: runtimes multiply faster than they search.
        keep = ((rivals * keep.unsqueeze(1)).sum(2) < 0.5).to(boxes.dtype)
    return keep > 0.5
