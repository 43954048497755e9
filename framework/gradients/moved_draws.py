"""Discrete draws whose distribution moves from one evaluation of an objective to the next.

Over a small step such a draw almost always keeps its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.gradients.distributions.noise_families import base_of
from framework.recording.trace import Draw, Trace


class MovedDraws:
    """The first discrete draw whose distribution differs from one evaluation to the next."""

    def __init__(self) -> None:
        self.found: Draw | None = None
        # Of the evaluation before.
        self.before: list[Draw] = []

    def note(self, traces: Sequence[Trace]) -> None:
        draws = [draw for trace in traces for draw in trace.draws]
        for draw, other in zip_longest(draws, self.before):
            if self.found is None and draw is not None and moved(draw, other or draw):
                self.found = draw
        # What runs under vmap must not outlive it.
        batched = any(torch._C._functorch.is_batchedtensor(draw.value) for draw in draws)
        self.before = [] if batched else draws


def moved(draw: Draw, before: Draw) -> bool:
    """Whether a discrete draw has another distribution than before, or from copy to copy under vmap."""
    value, other = parameter_of(draw.distribution), parameter_of(before.distribution)
    if value is None or other is None:
        return False
    if torch._C._functorch.is_batchedtensor(value):
        return True
    return not torch.equal(value, other)


def parameter_of(distribution: Distribution) -> Tensor | None:
    """What decides a discrete draw; None of a continuous one."""
    base = base_of(distribution)
    support = base.support
    if support is None or not support.is_discrete:
        return None
    for name in ("_param", "rate", "probs", "logits"):
        value = getattr(base, name, None)
        if isinstance(value, Tensor):
            return value
    return None
