"""Which values all variables take in each row of one run, so that every factor's parents take all joint values.

The first rows are random: each factor is then evaluated at the same values of its parents and other values of all
others, which must not change it. More rows fill what is missing, each for as many factors as it can serve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from framework.gradients.enumeration.factor_graph.graph import FactorGraph, Scope
from framework.recording.provenance import NotProved

# A length that hardly occurs in programs, so that no other axis is taken for the samples'.
RANDOM_ROWS = 37


@dataclass(eq=False)
class Design:
    """The rows of one run.

    Attributes:
        digits: `[R, V]`, the number of the value that each variable takes.
        rows: for each scope a row for each of its joint values, `[T]`; the last variable varies fastest.
        same: for each scope and row the row among `rows` with the same values of the scope, `[R]`.
    """

    digits: Tensor
    rows: dict[Scope, Tensor]
    same: dict[Scope, Tensor]


def design(graph: FactorGraph, limit: int) -> Design:
    """The rows for a graph.

    Raises:
        NotProved: a factor has more than `limit` joint values.
    """
    states = graph.states
    for scope in graph.scopes():
        size = math.prod(states[v] for v in scope)
        if size > limit:
            raise NotProved(
                f"a draw or a cost depends on {len(scope)} draws with {size} joint values"
            )
    random = numpy.random.default_rng(0)
    digits = random.integers(0, states, (RANDOM_ROWS, len(states)))
    digits = covered(digits, states, graph.scopes(), random)
    rows, same = {}, {}
    for scope in graph.scopes():
        codes = codes_of(digits, scope, states)
        found, first = numpy.unique(codes, return_index=True)
        assert len(found) == math.prod(states[v] for v in scope)
        rows[scope] = torch.as_tensor(first)
        same[scope] = torch.as_tensor(first[codes])
    return Design(torch.as_tensor(digits), rows, same)


def codes_of(digits: numpy.ndarray, scope: Scope, states: Sequence[int]) -> numpy.ndarray:
    """The number of the joint value that a scope takes in each row."""
    codes = numpy.zeros(len(digits), dtype=numpy.int64)
    for variable in scope:
        codes = codes * states[variable] + digits[:, variable]
    return codes


def covered(
    digits: numpy.ndarray,
    states: Sequence[int],
    scopes: Sequence[Scope],
    random: numpy.random.Generator,
) -> numpy.ndarray:
    """The rows, and as many more as it takes for each scope to take all its joint values."""
    missing: dict[Scope, numpy.ndarray] = {}
    for scope in scopes:
        left = numpy.ones([states[v] for v in scope], dtype=bool)
        left.reshape(-1)[codes_of(digits, scope, states)] = False
        if left.any():
            missing[scope] = left
    more = []
    while missing:
        row = random.integers(0, states)
        fixed: set[int] = set()
        # The scope that misses most comes first and always gets a value.
        for scope in sorted(missing, key=lambda s: -int(missing[s].sum())):
            left = missing[scope]
            at = tuple(int(row[v]) if v in fixed else slice(None) for v in scope)
            free = [v for v in scope if v not in fixed]
            choices = left[at]
            if choices.any():
                chosen = numpy.unravel_index(int(numpy.argmax(choices)), choices.shape)
                row[free] = chosen
                fixed.update(free)
        for scope in list(missing):
            missing[scope][tuple(row[list(scope)])] = False
            if not missing[scope].any():
                del missing[scope]
        more.append(row)
    return numpy.concatenate([digits, numpy.stack(more)]) if more else digits
