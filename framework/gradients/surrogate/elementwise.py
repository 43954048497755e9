"""The DiCE surrogate where each cost is charged to the draws, and their elements, that it was made from.

With c_j the elements of the costs, A_j the draws' elements that c_j was made from, and D_i the costs' elements made
from draw element i,

    L = sum_j box(sum_{i in A_j} lp_i) c_j + sum_i (1 - box(lp_i)) b_i

whose gradient is  sum_i grad lp_i (sum_{j in D_i} c_j - b_i) + grad c,  and whose higher derivatives are right as well.
(Foerster et al. 2018, where the nodes of the graph are the elements.)

Elements are kept apart only along the axes that a cost follows. Axes are `[n, *batch, *kept]`, of length 1 where a
tensor lacks one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from framework.gradients.surrogate.credit_proof import Follow, Relations
from framework.gradients.surrogate.dice import Baseline, bound_terms, box, known_before, of_draw
from framework.recording.trace import Cost, Draw, Trace, add


@dataclass(eq=False, slots=True)
class CostGroup:
    """Costs that were made from the same elements.

    Attributes:
        charged: for each scored draw, by number, the kept axis that follows each of its element axes.
        value: their sum, `[n, *batch, *kept]`.
    """

    charged: dict[int, Follow]
    value: Tensor


@dataclass(eq=False, slots=True)
class DrawGroup:
    """Draws whose elements are charged with the same elements of the costs.

    Attributes:
        first, number: the first of them, and its number among the scored draws.
        log_prob: their sum, `[n, *batch, *kept]`.
        charges: the groups of costs, each with its kept axis that follows each kept axis of the draws.
        baseline: what `returns` are compared with; None: nothing.
    """

    first: Draw
    number: int
    log_prob: Tensor
    charges: list[tuple[CostGroup, Follow]]
    baseline: Tensor | None

    def returns(self, depth: int) -> Tensor:
        """All that the draws are charged with, detached."""
        return add([bring(group.value.detach(), follow, depth) for group, follow in self.charges])


def elementwise_surrogate(trace: Trace, relations: Relations, baseline: Baseline | None) -> Tensor:
    """The surrogate of one run.

    Args:
        relations: which draws each cost is charged to, see `credit`.
        baseline: the estimator's; None: no baseline.
    """
    depth = len(trace.shape)
    costs = cost_groups(trace, relations)
    draws = draw_groups(trace, costs)
    compare(trace, draws, baseline)
    terms = [trace.mean(penalty) for penalty in trace.penalties]
    terms += [trace.mean(cost) for cost, to in zip(trace.costs, relations, strict=True) if not to]
    for group in costs:
        makers = [(draw, f) for draw in draws for other, f in draw.charges if other is group]
        axes = group.value.dim() - depth
        logged = add([bring(d.log_prob, inverse(follow, axes), depth) for d, follow in makers])
        terms.append(mean(box(logged) * group.value, depth))
    for draw in draws:
        if draw.baseline is not None:
            terms.append(mean((1 - box(draw.log_prob)) * draw.baseline, depth))
    terms += [term for bound in trace.bounds for term in bound_terms(trace, bound, baseline)]
    total = add(terms)
    if total.requires_grad:
        return total
    # No cost was made from any draw: the gradient is 0.
    return (
        total + add([mean(1 - box(trace.log_prob(d, of_draw(d))), depth) for d in trace.scored]) * 0
    )


def cost_groups(trace: Trace, relations: Relations) -> list[CostGroup]:
    """The costs that are charged to any draw, those alike together."""
    groups: dict[tuple[object, ...], tuple[dict[int, Follow], list[Tensor]]] = {}
    depth = len(trace.shape)
    for cost, charged in zip(trace.costs, relations, strict=True):
        if not charged:
            continue
        kept = sorted({a for follow in charged.values() for a in follow if a is not None})
        value = with_lead(trace, cost, kept)
        position = {a: k for k, a in enumerate(kept)}
        charged = {
            i: tuple(None if a is None else position[a] for a in follow)
            for i, follow in charged.items()
        }
        key = (*charged.items(), *value.shape[depth:])
        groups.setdefault(key, (charged, []))[1].append(value)
    return [CostGroup(charged, add(values)) for charged, values in groups.values()]


def with_lead(trace: Trace, cost: Cost, kept: Sequence[int]) -> Tensor:
    """A cost summed over its element axes but the kept ones, with all leading axes, `[n, *batch, *kept]`."""
    own, depth = cost.axes.of(trace.shape), len(trace.shape)
    value = cost.value
    gone = [a + len(own) for a in range(value.dim() - len(own)) if a not in kept]
    if gone:
        value = value.sum(gone)
    if len(own) == depth:
        return value
    rest = value.shape[len(own) :]
    lead = trace.shape[:1] if cost.axes.per_sample else (1,)
    lead += trace.shape[1:] if cost.axes.per_datum else (1,) * (depth - 1)
    return value.reshape(*lead, *rest)


def draw_groups(trace: Trace, costs: Sequence[CostGroup]) -> list[DrawGroup]:
    """The scored draws that any cost is charged to, those alike together."""
    depth = len(trace.shape)
    groups: dict[tuple[object, ...], tuple[int, list[Tensor]]] = {}
    charges: dict[int, list[tuple[CostGroup, Follow]]] = {}
    for number, draw in enumerate(trace.scored):
        to = [
            (g, group.charged[number]) for g, group in enumerate(costs) if number in group.charged
        ]
        if not to:
            continue
        axes = range(len(to[0][1]))
        kept = [a for a in axes if any(follow[a] is not None for _, follow in to)]
        short = [(g, tuple(follow[a] for a in kept)) for g, follow in to]
        if kept:
            log_prob = trace.element_log_prob(draw, of_draw(draw))
            gone = [depth + a for a in axes if a not in kept]
            log_prob = log_prob.sum(gone) if gone else log_prob
        else:
            log_prob = trace.log_prob(draw, of_draw(draw))
        key = (*short, *log_prob.shape[depth:], number if draw.baseline is not None else None)
        groups.setdefault(key, (number, []))[1].append(log_prob)
        charges.setdefault(groups[key][0], [(costs[g], follow) for g, follow in short])
    found = []
    for number, log_probs in groups.values():
        first = trace.scored[number]
        own = None if first.baseline is None else first.baseline.detach()
        found.append(DrawGroup(first, number, add(log_probs), charges[number], own))
    return found


def compare(trace: Trace, draws: Sequence[DrawGroup], baseline: Baseline | None) -> None:
    """Give each group of draws that brought no baseline the estimator's."""
    depth = len(trace.shape)
    if baseline is None:
        return
    for draw in draws:
        if draw.baseline is not None:
            continue
        with torch.no_grad():
            returns = draw.returns(depth)
            kept = returns.shape[depth:]
            returns = returns.expand(*trace.shape, *kept)
            if kept:
                returns = returns.flatten(depth).movedim(-1, 0)
        known = partial(known_before, trace, draw.first)
        site = f"{draw.number}/{draw.first.name}"
        found = torch.as_tensor(baseline(site, returns, 1 if kept else 0, known))
        if kept and found.dim():
            found = found.movedim(0, -1).unflatten(-1, kept)
        draw.baseline = found


def bring(value: Tensor, sources: Follow, depth: int) -> Tensor:
    """A tensor `[n, *batch, *axes]` with other axes: for each the one that it was, or None: of length 1.

    Axes that go are summed over.
    """
    axes = range(value.dim() - depth)
    if tuple(axes) == sources:
        return value
    gone = [depth + a for a in axes if a not in sources]
    if gone:
        value = value.sum(gone)
    left = [a for a in axes if a in sources]
    order = [depth + left.index(a) for a in sources if a is not None]
    value = value.permute(*range(depth), *order)
    for position, source in enumerate(sources):
        if source is None:
            value = value.unsqueeze(depth + position)
    return value


def inverse(follow: Follow, axes: int) -> Follow:
    """For each of the other side's axes the axis that it follows."""
    return tuple(follow.index(a) if a in follow else None for a in range(axes))


def mean(term: Tensor, depth: int) -> Tensor:
    """The mean over samples and batch of the sum over elements."""
    if term.dim() <= depth:
        return term.mean()
    return term.sum() / math.prod(term.shape[:depth])
