"""The expected costs of a factor graph by variable elimination, from the last draws back to the first.

A cost c of the variables S is one term. A variable v none of whose descendants is in any term is summed out of each:

    c'(S without v, parents of v) = sum over v of p(v | parents of v) c(S)

which is c's expectation given the rest, since the rest are not descendants of v. The sum of the terms without
variables is the expected sum of costs; it is a polynomial in the probabilities, so that autograd gives derivatives of
any order. (Bertele & Brioschi 1972; Koller & Friedman 2009, chapter 9; on a chain, backward dynamic programming.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.gradients.enumeration.factor_graph.graph import FactorGraph, Scope
from framework.recording.provenance import NotProved
from framework.recording.trace import add

# By scope: `[K_1, ..., K_m, *batch]`, one axis for each of its variables.
Tables = dict[Scope, Tensor]


@dataclass(eq=False)
class Step:
    """One variable is summed out.

    Attributes:
        groups: terms that are added before the sum, the widest first, and the scope of the result.
    """

    variable: int
    groups: list[tuple[list[Scope], Scope]]


def elimination_order(graph: FactorGraph, scopes: Iterable[Scope], limit: int) -> list[Step]:
    """How terms of these scopes are reduced to numbers.

    The variable with the smallest tables is next, the last drawn among equals.

    Raises:
        NotProved: a table would have more than `limit` entries.
    """
    descendants = descendants_of(graph)
    left = {scope for scope in scopes if scope}
    possible: dict[int, tuple[int, Step]] = {}
    steps = []
    while left:
        variables = {v for scope in left for v in scope}
        active = sum(1 << v for v in variables)
        free = [v for v in variables if not descendants[v] & active]
        for v in free:
            if v not in possible:
                possible[v] = step_of(graph, v, left)
        cost, step = min((possible[v] for v in free), key=lambda p: (p[0], -p[1].variable))
        if cost > limit:
            raise NotProved(f"eliminating its draws makes a table of {cost} entries")
        for members, result in step.groups:
            left.difference_update(members)
            left.update({result} if result else ())
            for scope in (*members, result):
                for v in scope:
                    possible.pop(v, None)
        steps.append(step)
    return steps


def step_of(graph: FactorGraph, variable: int, scopes: Iterable[Scope]) -> tuple[int, Step]:
    """The step that sums a variable out, and the size of its largest table."""
    groups: list[list[Scope]] = []
    for scope in sorted((s for s in scopes if variable in s), key=lambda s: (-len(s), s)):
        wider = next((group for group in groups if set(scope) <= set(group[0])), None)
        if wider is None:
            groups.append([scope])
        else:
            wider.append(scope)
    largest, results = 0, []
    for group in groups:
        scope = tuple(sorted({*group[0], *graph.parents[variable]}))
        largest = max(largest, math.prod(graph.states[v] for v in {*scope, variable}))
        results.append(tuple(v for v in scope if v != variable))
    return largest, Step(variable, list(zip(groups, results, strict=True)))


def descendants_of(graph: FactorGraph) -> list[int]:
    """For each variable the set of all that depend on it, as bits."""
    descendants = [0] * len(graph.states)
    # A child is drawn after its parents.
    for child in reversed(range(len(graph.states))):
        for parent in graph.parents[child]:
            descendants[parent] |= descendants[child] | 1 << child
    return descendants


def expected(
    steps: Sequence[Step], terms: Tables, probabilities: Sequence[Tensor], graph: FactorGraph
) -> list[Tensor]:
    """The expectations of the terms, numbers for each datum.

    Args:
        probabilities: of each variable, `[K of its parents..., K, *batch]`.
    """
    infinite = not all_finite([table for scope, table in terms.items() if scope])
    left = dict(terms)
    done = [left.pop(())] if () in left else []
    for step in steps:
        variable = step.variable
        scope = (*graph.parents[variable], variable)
        for members, result in step.groups:
            whole = tuple(sorted({*members[0], *scope}))
            total = add([aligned(left.pop(member), member, whole, graph) for member in members])
            weight = aligned(probabilities[variable], scope, whole, graph)
            if infinite:
                # An impossible value has no part in a sum, whatever its cost.
                total = torch.where(weight == 0, 0.0, total)
            summed = (weight * total).sum(whole.index(variable))
            if result:
                left[result] = left[result] + summed if result in left else summed
            else:
                done.append(summed)
    return done


def all_finite(tables: Sequence[Tensor]) -> bool:
    """Whether no number is infinite or undefined."""
    if not tables:
        return True
    with torch.no_grad():
        return bool(torch.cat([table.reshape(-1) for table in tables]).isfinite().all())


def aligned(table: Tensor, scope: Scope, whole: Scope, graph: FactorGraph) -> Tensor:
    """A table with an axis of length 1 for each variable of `whole` that is not in its scope."""
    if scope == whole:
        return table
    lead = [graph.states[v] if v in scope else 1 for v in whole]
    return table.reshape(*lead, *table.shape[len(scope) :])
