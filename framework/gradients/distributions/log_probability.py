"""The log-probability of a value where torch's is not right: of an impossible one, and of a draw rounded to an end."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Beta,
    Dirichlet,
    Distribution,
    Gamma,
    MixtureSameFamily,
)
from torch.nn.functional import logsigmoid

from framework import waiting
from framework.errors import ProgramError
from framework.gradients.distributions.noise_families import base_of

# torch rounds a Gamma draw below the smallest normal number up to it, and a Beta draw close to 1 down.
ROUNDED = (Gamma, Beta, Dirichlet)


def log_probability(distribution: Distribution, value: Tensor) -> Tensor:
    """As `distribution.log_prob`, and right for a Bernoulli draw with an infinite logit, where torch has inf - inf."""
    base = base_of(distribution)
    if not (isinstance(base, Bernoulli) and waiting.suspicious("logits", base.logits.isinf())):
        return distribution.log_prob(value)
    return over_events(logsigmoid((2 * value - 1) * base.logits), distribution, base)


def log_probability_of_draw(site: str, distribution: Distribution, value: Tensor) -> Tensor:
    """As `distribution.log_prob` but for a constant, and right for a draw that was rounded to an end of its support.

    Such a draw stands for all that lie beyond it: it has not the density there, x^(a - 1), but its integral from the
    end, x^a / a. The score function of Beta(0.05, 0.08) in single precision depends on it: a tenth of the draws lie
    closer to 1 than any number.

    Raises:
        ProgramError: a draw was rounded to an end that torch does not count among the possible values.
    """
    base = base_of(distribution)
    if isinstance(base, MixtureSameFamily) and isinstance(base.component_distribution, ROUNDED):
        components = base.component_distribution
        log_prob = log_probability_of_draw(site, components, base._pad(value))
        log_weight = base.mixture_distribution.logits.log_softmax(-1)
        return over_events((log_prob + log_weight).logsumexp(-1), distribution, base)
    try:
        log_prob = distribution.log_prob(value)
    except ValueError as error:
        # A relaxed value lies off the support, too, and is explained elsewhere.
        if value.requires_grad or "within the support" not in str(error):
            raise
        raise ProgramError(
            f"draw '{site}' ~ {type(base).__name__}: a value lies outside the support, such as one that {value.dtype} "
            "rounds to its end; use parameters that are less extreme, or torch.float64"
        ) from error
    if not isinstance(base, ROUNDED):
        return log_prob
    more = rounding(base, value)
    return log_prob if more is None else log_prob + over_events(more, distribution, base)


def rounding(distribution: Distribution, value: Tensor) -> Tensor | None:
    """What the log-probability of rounded draws lacks, `[..., *batch_shape]`; None where none was rounded."""
    limits = torch.finfo(value.dtype)
    if isinstance(distribution, Gamma):
        return beyond(value, distribution.concentration, limits.tiny * (1 / distribution.rate))
    if isinstance(distribution, Dirichlet):
        more = beyond(value, distribution.concentration, value.new_tensor(limits.tiny))
        return None if more is None else more.sum(-1)
    assert isinstance(distribution, Beta)
    lower = beyond(value, distribution.concentration1, value.new_tensor(limits.tiny))
    # What rounds to the largest number below 1 lies above the middle between that one and the next.
    upper = beyond(
        1 - value,
        distribution.concentration0,
        value.new_tensor(limits.eps / 2),
        value.new_tensor(0.75 * limits.eps),
    )
    if lower is None or upper is None:
        return upper if lower is None else lower
    return lower + upper


def beyond(
    distance: Tensor, concentration: Tensor, end: Tensor, edge: Tensor | None = None
) -> Tensor | None:
    """The logarithm of the integral of x^(a - 1) from 0 to the edge over its value at the distance, where rounded.

    Args:
        distance: of the draws from the end of the support.
        end: where torch puts a draw that is closer.
        edge: the largest distance that is put there; None: `end`.
    """
    rounded = distance <= end.clamp_min(torch.finfo(distance.dtype).tiny) * 1.0001
    if not waiting.deferring() and not bool(rounded.any()):
        return None
    a, log_edge = concentration, (end if edge is None else edge).log()
    more = a * log_edge - a.log() - (a - 1) * distance.log()
    return torch.where(rounded, more, 0.0)


def over_events(log_prob: Tensor, distribution: Distribution, base: Distribution) -> Tensor:
    """The sum over the batch axes of `base` that `distribution` takes as an event."""
    events = len(distribution.event_shape) - len(base.event_shape)
    return log_prob.sum(tuple(range(-events, 0))) if events else log_prob
