"""The log-probability of an enumerated value, which may be impossible."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn.functional import logsigmoid

from framework.gradients.distributions.noise_families import base_of


def log_probability(distribution: Distribution, value: Tensor) -> Tensor:
    """As `distribution.log_prob`, and right for a Bernoulli draw with an infinite logit, where torch has inf - inf."""
    base = base_of(distribution)
    if not (isinstance(base, Bernoulli) and base.logits.isinf().any()):
        return distribution.log_prob(value)
    log_prob = logsigmoid((2 * value - 1) * base.logits)
    events = tuple(range(-len(distribution.event_shape), 0))
    return log_prob.sum(events) if events else log_prob
