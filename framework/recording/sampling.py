"""Samples: torch's own and, where those wait for a device with a queue, the same distribution's by other means.

torch looks at all probabilities before it draws an index, at all deviations before it draws a normal number, and at all
parameters as it makes a distribution. On the CPU a look costs little; on an accelerator each one empties its queue.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
)

from framework import waiting

# Drawn here by what no number can upset: their parameters need no look.
SERVED = (Bernoulli, Categorical, OneHotCategorical, Normal, Independent)


@torch.no_grad()
def sampled(distribution: Distribution, shape: torch.Size) -> Tensor:
    """As `distribution.sample(shape)`, `[*shape, *batch_shape, *event_shape]`; a queue is not waited for."""
    if waiting.deferring():
        match distribution:
            case Independent():
                return sampled(distribution.base_dist, shape)
            case Normal() if type(distribution) is Normal:
                mean: Tensor = distribution.loc
                noise = mean.new_empty((*shape, *mean.shape)).normal_()
                return noise.mul_(distribution.scale).add_(mean)
            case Bernoulli():
                chance: Tensor = distribution.probs
                level = torch.empty_like(chance.expand(*shape, *chance.shape)).uniform_()
                return (level < chance).to(chance.dtype)
            case Categorical() if type(distribution) is Categorical:
                return largest_perturbed(distribution.logits, shape)
            case OneHotCategorical() if type(distribution) is OneHotCategorical:
                index = largest_perturbed(distribution.logits, shape).unsqueeze(-1)
                zeros = distribution.logits.new_zeros((*shape, *distribution.logits.shape))
                return zeros.scatter_(-1, index, 1.0)
    return distribution.sample(shape)


def largest_perturbed(logits: Tensor, shape: torch.Size) -> Tensor:
    """Indices `[*shape, *batch]` of categories with `logits [*batch, K]`: the largest with Gumbel noise."""
    noise = logits.new_empty((*shape, *logits.shape)).exponential_()
    # Of a noise of 0 the logarithm would be infinite. Unlike clamp_, vmap knows this.
    return (logits - noise.add_(torch.finfo(noise.dtype).tiny).log_()).argmax(-1)


@contextmanager
def unvalidated(*, after: bool = True) -> Iterator[None]:
    """Inside the block torch looks at no parameter of the distributions served here, where checks are deferred.

    What is not finite makes a gradient that is not finite, which the trainer does not follow.

    Args:
        after: the program has been looked at before.
    """
    if not (after and waiting.deferring()):
        yield
        return
    # Not where the user has said otherwise.
    changed = [kind for kind in SERVED if "_validate_args" not in vars(kind)]
    for kind in changed:
        kind._validate_args = False
    try:
        yield
    finally:
        for kind in changed:
            del kind._validate_args
