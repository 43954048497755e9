"""Less variance where a cost holds the log-probability of its own draw, as an evidence lower bound does.

With L_i = log p(z_i) of sample i and w_i the derivative of the mean cost with respect to L_i, a run's gradient holds
w_i grad L_i. Since E[grad L_i] = 0 and the other samples know nothing of z_i,

    E[w_i grad L_i] = E[(w_i - mean over j != i of w_j) grad L_i]

and where all coefficients are alike, as the 1 of log q in a bound, nothing is left to vary. (Roeder, Wu & Duvenaud 2017
drop that term from paths; Pyro's TraceGraph_ELBO from score functions, where a bound's form is known beforehand.)
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from framework.gradients.surrogate.baselines import mean_of_others
from framework.recording.trace import Trace


def compare_coefficients(trace: Trace, *, spread: bool = False) -> None:
    """Compare the coefficients of the log-probabilities that a vectorised run took for its costs, sample by sample.

    In first derivatives only. Where a scored draw followed, its score may be among the coefficients, which then know of
    the other samples: they stay as they are.
    """
    if not trace.log_probs or trace.recorded_trajectories or trace.single_sample:
        return
    if trace.shape[0] < 2 and not spread:
        return
    for taken in trace.log_probs:
        scored = taken.draw.rule.scored and taken.draw.axes.per_sample
        if scored and taken.position == len(trace.scored) and taken.value.requires_grad:
            taken.value.register_hook(partial(without_others, spread=spread))


def without_others(coefficients: Tensor, *, spread: bool = False) -> Tensor:
    """Each sample's coefficients less the mean of the other samples', `[n, ...]`."""
    if torch.is_grad_enabled():
        return coefficients
    return coefficients - mean_of_others(coefficients, 0, spread=spread)
