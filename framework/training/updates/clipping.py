"""Clipping: a gradient longer than it may be is shortened and keeps its direction (Pascanu et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from framework.sharding import whole


@torch.no_grad()
def clip(groups: Sequence[Sequence[Tensor]], longest: float, norm: Tensor) -> None:
    """Shorten the gradient of each group of parameters to `longest`, where it is longer.

    Args:
        norm: of all groups' gradients together.
    """
    for group in groups:
        own = norm
        if len(groups) > 1:
            own = whole(get_total_norm([p.grad for p in group if p.grad is not None]))
        clip_grads_with_norm_(group, longest, own)
