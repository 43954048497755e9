"""Multi-sample bounds: a cost of all samples together, -log of the mean of their weights exp(f_k).

    B = -log (1/n) sum_k exp(f_k)

is what importance-weighted autoencoders minimise. Every scored draw of every sample is charged with B, so its surrogate
is

    box(sum_k lp_k) B + sum_k (1 - box(lp_k)) b_k

and the leave-one-out baseline b_k is B with f_k replaced by the mean of the others: VIMCO (Mnih & Rezende 2016).
"""

from __future__ import annotations

import math

from torch import Tensor

from framework.recording.trace import Cost, Trace


def without_each(weights: Tensor) -> Tensor:
    """VIMCO's baseline b_k from the log weights f, both `[n, *batch]`."""
    n = len(weights)
    replaced = weights.expand(n, *weights.shape).clone()
    replaced[range(n), range(n)] = (weights.sum(0) - weights) / (n - 1)
    return math.log(n) - replaced.logsumexp(1)


def surrogate_of_bound(
    trace: Trace, bound: Cost, log_prob: Tensor | None, baseline: Tensor | None
) -> list[Tensor]:
    """The bound's terms of the surrogate, each a scalar.

    Args:
        log_prob: of all scored draws before the bound, `[n, *batch]`; None: there are none.
        baseline: b_k, `[n, *batch]`; None: no baseline.
    """
    value = trace.bound(bound)
    if log_prob is None:
        return [value.mean()]
    joint = log_prob.expand(trace.shape).sum(0)
    terms = [((joint - joint.detach()).exp() * value).mean()]
    if baseline is not None:
        own = 1 - (log_prob - log_prob.detach()).exp()
        terms.append((own * baseline).expand(trace.shape).sum(0).mean())
    return terms
