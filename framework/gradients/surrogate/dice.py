"""The DiCE surrogate of a trace: a scalar whose derivatives of any order estimate the objective's.

With scored draws grouped into segments between costs, box(x) = exp(x - stop(x)) and P_j the log-probability of all
draws up to segment j,

    L = c_0 + sum_j [ box(P_j) c_j + (1 - box(lp_j)) b_j ]

has the value of the objective and the gradient  sum_j grad lp_j (R_j - b_j) + grad c,  where R_j is the sum of the
costs after segment j: a cost is charged to earlier draws only. (Foerster et al. 2018; baselines: Mao et al. 2019.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import pad

from framework import ranks
from framework.batch import leaves
from framework.gradients.distributions.log_probability import (
    log_probability,
    log_probability_of_draw,
)
from framework.gradients.distributions.refusal import refuse_bounds
from framework.gradients.surrogate.multi_sample_bound import surrogate_of_bound
from framework.recording.axes import ALL
from framework.recording.trace import Cost, Draw, Trace, add

Known = Callable[[], Tensor]


class Baseline(Protocol):
    """What a return is compared with, so that luck common to all samples is not credited to any."""

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known) -> Tensor | float:
        """A baseline for `returns`, whose sample axis is `axis`; must not depend on the draw it serves.

        Before the sample axis lie the steps of episodes or the elements of a draw, each with a baseline of its own.
        `known()` returns what was known before the draw, `[*returns' shape, inputs]`.
        """


@runtime_checkable
class BoundBaseline(Baseline, Protocol):
    """A baseline that serves multi-sample bounds, too."""

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor | float:
        """A baseline for a bound of value `[*batch]` over log weights `[n, *batch]`, for each sample."""


@dataclass(eq=False, slots=True)
class Segment:
    """Draws that share their returns: none of them has a cost between it and the next.

    Attributes:
        site: the first draw's name.
        log_prob: of the draws served by the estimator's baseline, `[n, *batch]` or `[T, n]`; None: there are none.
        own: (log-probability, baseline) of the draws that brought a baseline.
        cost: what is charged directly after the segment.
        returns: all that is charged after the segment, detached.
        trace, first: its trace and its first draw.
    """

    site: str
    log_prob: Tensor | None
    own: list[tuple[Tensor, Tensor]]
    cost: Tensor
    returns: Tensor
    trace: Trace
    first: Draw

    def total(self) -> Tensor:
        """The log-probability of all draws of the segment."""
        if not self.own and self.log_prob is not None:
            return self.log_prob
        parts = [log_prob for log_prob, _ in self.own]
        return add(parts if self.log_prob is None else [*parts, self.log_prob])


def surrogate(
    traces: Sequence[Trace], baseline: Baseline | None = None, weights: Tensor | None = None
) -> Tensor:
    """The surrogate of the runs of one program.

    Args:
        traces: one vectorised run, or one run for each sample.
        baseline: the estimator's baseline; None: no baseline.
        weights: `[n, *batch]`, replacing the mean over samples by a weighted sum (enumeration, quadrature). A sample
            of weight 0 is impossible: neither its cost nor its log-probability, which may be infinite, is read.
    """
    if len(traces) == 1 and weights is None:
        trace = traces[0]
        if is_one_segment(trace):
            return surrogate_of_one_segment(trace, baseline)
        if not trace.scored and not trace.bounds:
            return add([trace.mean(charge) for charge in trace.charges()])
    parts = [segments(trace, weights) for trace in traces]
    compared = baselines(parts, baseline, axis=1 if traces[0].recorded_trajectories else 0)
    losses = []
    for trace, chain in zip(traces, parts, strict=True):
        terms: list[Tensor] = []
        logged: Tensor | None = None  # P_j
        for segment in chain:
            total = segment.total()
            if trace.recorded_trajectories:
                # A cost at step t is charged to the draws up to t.
                total = total.cumsum(0)
            value = compared.get(id(segment))
            if logged is None and total is segment.log_prob and value is not None:
                # Both boxes are the same one: box c + (1 - box) b = box (c - b) + b.
                logged = total
                terms += [box(logged) * (segment.cost - value), value]
                continue
            logged = total if logged is None else logged + total
            terms.append(box(logged) * segment.cost)
            if segment.log_prob is not None and value is not None:
                terms.append((1 - box(segment.log_prob)) * value)
            terms += [(1 - box(log_prob)) * b for log_prob, b in segment.own]
        if weights is not None:
            refuse_bounds(trace, "exact")
        bounds = [term for b in trace.bounds for term in bound_terms(trace, b, baseline)]
        losses.append(
            add([*unattributed_terms(trace, weights), *average(terms, trace, weights), *bounds])
        )
    return losses[0] if len(losses) == 1 else torch.stack(losses).mean()


def is_one_segment(trace: Trace) -> bool:
    """Whether all costs are charged to all draws, and the baseline is the estimator's, as in most programs."""
    if not trace.costs or trace.bounds or trace.recorded_trajectories:
        return False
    last = len(trace.scored)
    if not last or any(cost.position != last for cost in trace.costs):
        return False
    return all(draw.baseline is None for draw in trace.scored)


def surrogate_of_one_segment(trace: Trace, baseline: Baseline | None) -> Tensor:
    """The surrogate with the least effort: box (c - b) + b."""
    log_prob = add([trace.log_prob(draw, of_draw(draw)) for draw in trace.scored])
    cost = add([trace.leading(cost.value, cost.axes) for cost in trace.costs])
    if baseline is None:
        term = box(log_prob) * cost
    else:
        first = trace.scored[0]
        known = partial(known_before, trace, first)
        found = baseline(f"0/{first.name}", cost.detach().expand(trace.shape), 0, known)
        term = box(log_prob) * (cost - found) + found
    means = [trace.mean(penalty) for penalty in trace.penalties]
    return add([*means, term.mean() if term.dim() else term])


def first_order_surrogate(trace: Trace, baseline: Baseline | None) -> tuple[Tensor, Tensor]:
    """What has the first derivatives of `surrogate_of_one_segment`, at less effort, and the objective's value.

    log p (c - b) + c: the box is 1 and its first derivative that of log p.
    """
    log_prob = add([trace.log_prob(draw, of_draw(draw)) for draw in trace.scored])
    cost = add([trace.leading(cost.value, cost.axes) for cost in trace.costs])
    first, fixed = trace.scored[0], cost.detach()
    compared = fixed
    if baseline is not None:
        returns = fixed if fixed.shape == trace.shape else fixed.expand(trace.shape)
        known = partial(known_before, trace, first)
        compared = fixed - baseline(f"0/{first.name}", returns, 0, known)
    term = log_prob * compared
    if cost.requires_grad:
        term = term + cost
    loss, objective = term.mean(), fixed.mean()
    if not trace.penalties:
        return loss, objective
    means = [trace.mean(penalty) for penalty in trace.penalties]
    return add([*means, loss]), add([*(mean.detach() for mean in means), objective])


def bound_terms(trace: Trace, bound: Cost, baseline: Baseline | None) -> list[Tensor]:
    """A multi-sample bound's part of the surrogate: all draws before it are charged with it."""
    if not bound.position:
        return surrogate_of_bound(trace, bound, None, None)
    log_prob = segment_of(trace, trace.scored[: bound.position], bound.value, bound.value).total()
    value: Tensor | None = None
    if isinstance(baseline, BoundBaseline):
        weights = trace.log_weights(bound).detach()
        found = baseline.of_bound(bound.name, weights, trace.bound(bound).detach())
        value = torch.as_tensor(found, device=weights.device)
    return surrogate_of_bound(trace, bound, log_prob, value)


def unattributed_terms(trace: Trace, weights: Tensor | None) -> list[Tensor]:
    """The means of the costs that are not attributed to any draw, and of the penalties."""
    charges = [cost for cost in trace.charges() if cost.position == 0]
    if trace.recorded_trajectories and trace.scored:
        charges = trace.penalties
    if weights is None:
        return [trace.mean(charge) for charge in charges]
    led = [trace.leading(charge.value, charge.axes) for charge in charges]
    return average(led, trace, weights)


def segments(trace: Trace, weights: Tensor | None = None) -> list[Segment]:
    """A trace's segments in order: the draws between costs, and what is charged after them."""
    charged = trace.charged()
    with torch.no_grad():
        returns = trace.costs_after(charged)
    return [
        segment_of(trace, trace.scored[start:end], charged[end], returns[start].detach(), weights)
        for start, end in pairwise([0, *charged])
    ]


def segment_of(
    trace: Trace,
    draws: Sequence[Draw],
    cost: Tensor,
    returns: Tensor,
    weights: Tensor | None = None,
) -> Segment:
    """The segment of some consecutive draws; `weights`: see `surrogate`."""
    served, own = [], []
    for draw in draws:
        log_prob = trace.log_prob(draw, of_draw(draw) if weights is None else log_probability)
        if weights is not None:
            log_prob = possible(log_prob, weights)
        if draw.baseline is None:
            served.append(log_prob)
        else:
            own.append((log_prob, draw.baseline.detach()))
    log_probs = add(served) if served else None
    if weights is not None:
        cost, returns = possible(cost, weights), possible(returns, weights)
    return Segment(draws[0].name, log_probs, own, cost, returns, trace, draws[0])


def of_draw(draw: Draw) -> Callable[[Distribution, Tensor], Tensor]:
    """The log-probability that the draw's score differentiates."""
    return partial(log_probability_of_draw, draw.name)


def known_before(trace: Trace, first: Draw) -> Tensor:
    """What was known before a draw, `[*shape, inputs]`: a 1, the batch's first tensor, the earlier draws."""
    shape = trace.shape
    data = data_of(trace)
    parts = [torch.ones(*shape, 1, device=first.value.device), *([] if data is None else [data])]
    for draw in () if trace.recorded_trajectories else trace.draws:
        if draw is first:
            break
        if draw.axes == ALL:
            parts.append(draw.value.detach().reshape(*shape, -1))
        elif draw.axes.per_sample:  # shared by the batch
            wide = draw.value.detach().reshape(shape[0], *[1] * (len(shape) - 1), -1)
            parts.append(wide.expand(*shape, -1))
    return torch.cat([part.to(torch.float32) for part in parts], -1)


def known_before_each(group: Sequence[Segment], axis: int) -> Tensor:
    """What was known before the segments of one site, runs of one sample stacked.

    Runs one sample at a time may have arrived there by another number of draws: what one does not know is 0.
    """
    known = [known_before(segment.trace, segment.first) for segment in group]
    width = max(each.shape[-1] for each in known)
    return torch.cat([pad(each, (0, width - each.shape[-1])) for each in known], axis)


def data_of(trace: Trace) -> Tensor | None:
    """The batch's first tensor, flat for each datum or step, `[*shape, inputs]`; None where the batch is not data."""
    data = next(leaves(trace.batch), None)
    if data is None:
        return None
    data = data.detach()
    if trace.recorded_trajectories:
        return data.reshape(*trace.shape, -1)
    batch = trace.shape[1:]
    if not batch or data.shape[: len(batch)] != batch:
        return None
    return data.reshape(*batch, -1).expand(*trace.shape, -1)


def baselines(
    parts: Sequence[list[Segment]], baseline: Baseline | None, axis: int
) -> dict[int, Tensor]:
    """Each segment's baseline, by the segment's identity; segments of one site are compared across runs."""
    if baseline is None:
        return {}
    sites: dict[str, list[Segment]] = {}
    for chain in parts:
        for number, segment in enumerate(chain):
            sites.setdefault(f"{number}/{segment.site}", []).append(segment)
    compared: dict[int, Tensor] = {}
    for site, group in sites.items():
        returns = (
            torch.cat([s.returns for s in group], axis) if len(group) > 1 else group[0].returns
        )
        # Runs of one sample each may come to other sites in other processes.
        with ranks.alone() if len(group) > 1 or group[0].trace.single_sample else nullcontext():
            found = torch.as_tensor(
                baseline(site, returns, axis, partial(known_before_each, group, axis))
            )
        # Runs of one sample each, stacked.
        sharing = len(group) > 1 and found.dim() > 0
        for i, segment in enumerate(group):
            compared[id(segment)] = found[i : i + 1] if sharing else found
    return compared


def average(terms: Sequence[Tensor], trace: Trace, weights: Tensor | None) -> list[Tensor]:
    """The mean of the sum of terms over samples and batch, or the weighted sum over samples; nothing of nothing."""
    if not terms:
        return []
    total = add(terms)
    if weights is not None:
        return [(weights * possible(total, weights)).expand(trace.shape).sum(0).mean()]
    if trace.recorded_trajectories:
        return [total.expand(trace.shape).sum(0).mean()]
    return [total.mean() if total.dim() else total]


def possible(value: Tensor, weights: Tensor) -> Tensor:
    """0 where the weight is 0: an infinite value there has no part in a sum, nor in its derivative."""
    return torch.where(weights > 0, value, 0.0)


def box(log_prob: Tensor) -> Tensor:
    """exp(x - stop(x)): 1 in value, and any derivative of the probability relative to itself."""
    return (log_prob - log_prob.detach()).exp()
