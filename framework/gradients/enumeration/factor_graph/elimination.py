"""The exact surrogate by variable elimination: one run of the program tabulates every factor, the rest is algebra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.enumeration.choice import ExactRule
from framework.gradients.enumeration.factor_graph.design import Design, design
from framework.gradients.enumeration.factor_graph.elimination_order import (
    Step,
    Tables,
    elimination_order,
    expected,
)
from framework.gradients.enumeration.factor_graph.graph import FactorGraph, Scope, Site, Term
from framework.gradients.enumeration.factor_graph.tables import (
    Changed,
    Column,
    Form,
    columns_of,
    number_of_values,
    tables_of,
)
from framework.recording.trace import Cost, Trace, add


@dataclass(eq=False)
class Elimination(ExactRule):
    """How a program with a factor graph is run and summed; it is the rule of that run, one row for each sample.

    Attributes:
        costs, penalties: the steps that reduce them; a penalty has no part in the draws' gradient.
    """

    graph: FactorGraph
    design: Design
    costs: list[Step]
    penalties: list[Step]
    sites: dict[str, Site] = field(init=False)

    def __post_init__(self) -> None:
        self.sites = {site.name: site for site in self.graph.sites}

    @property
    def states(self) -> int:
        """How many joint values all draws have."""
        return math.prod(self.graph.states)

    @property
    def rows(self) -> int:
        return len(self.design.digits)

    def draw(self, name: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        """The values that the design gives the draw."""
        refuse_boundary("exact", name, distribution)
        site, base = self.sites.get(name), base_of(distribution)
        if site is None or type(base) is not site.kind:
            raise Changed(f"draw '{name}' ~ {type(base).__name__} is not one that was probed")
        support = site.support
        rest = tuple(base.batch_shape[(not shape) + support.batch_axes :])
        if number_of_values(base) != len(support.values) or rest != site.shape:
            raise Changed(f"draw '{name}' has another shape than when it was probed")
        digits = self.design.digits[:, site.first : site.first + support.elements]
        return support.at_digits(digits, distribution, has_sample_axis=not shape).clone()

    def loss(self, trace: Trace) -> Tensor:
        """The expected sum of costs and penalties of a run by this rule, a scalar with derivatives of any order.

        Raises:
            Changed: its draws or costs are others, or depend on others, than the graph says.
        """
        self.compare(trace)
        probabilities = self.probabilities(trace)
        sums: list[Tensor] = []
        if trace.costs:
            terms = self.terms(trace.costs, self.graph.costs, trace)
            sums += expected(self.costs, terms, probabilities, self.graph)
        if trace.penalties:
            terms = self.terms(trace.penalties, self.graph.penalties, trace)
            constant = [table.detach() for table in probabilities]
            sums += expected(self.penalties, terms, constant, self.graph)
        return add([value.expand(trace.shape[1:]) for value in sums]).mean()

    def compare(self, trace: Trace) -> None:
        """Raise `Changed` where a run has other draws or costs than were probed."""
        graph = self.graph
        drawn = [draw.name for draw in trace.draws]
        if drawn != [site.name for site in graph.sites]:
            raise Changed(f"its draws are {', '.join(drawn)}, not those that were probed")
        counts = [len(trace.costs), len(trace.penalties)]
        if counts != [len(graph.costs), len(graph.penalties)]:
            raise Changed("its costs are not those that were probed")

    def probabilities(self, trace: Trace) -> list[Tensor]:
        """The table of each variable, `[K of its parents..., K, *batch]`."""
        columns: list[Column] = []
        for site, draw in zip(self.graph.sites, trace.draws, strict=True):
            parents = self.graph.parents[site.first : site.first + site.support.elements]
            columns += columns_of(draw, site.support, parents, self.rows)
        tables = tables_of(columns, self.design)
        return [
            self.shaped(table, column.scope, trace, axes=2)
            for column, table in zip(columns, tables, strict=True)
        ]

    def terms(self, charges: Sequence[Cost], terms: Sequence[list[Term]], trace: Trace) -> Tables:
        """The costs by scope, `[K of its variables..., *batch]`, those of one scope added up."""
        constant: list[Tensor] = []
        columns: list[Column] = []
        for cost, parts in zip(charges, terms, strict=True):
            kept = cost.axes.of(trace.shape)
            value = cost.value.reshape(*kept, -1)
            if not cost.axes.per_sample:
                constant.append(self.shaped(value.sum(-1), (), trace, axes=0))
                continue
            if sum(len(part.elements) for part in parts) != value.shape[-1]:
                raise Changed(f"cost '{cost.name}' has another shape than when it was probed")
            for part in parts:
                chosen = value if len(parts) == 1 else value[..., part.elements]
                by_row = chosen.sum(-1) if chosen.shape[-1] > 1 else chosen.squeeze(-1)
                columns.append(Column(f"cost '{cost.name}'", Form.COST, by_row, part.scope))
        found: dict[Scope, list[Tensor]] = {(): constant} if constant else {}
        for column, table in zip(columns, tables_of(columns, self.design), strict=True):
            shaped = self.shaped(table, column.scope, trace, axes=1)
            found.setdefault(column.scope, []).append(shaped)
        return {scope: add(tables) for scope, tables in found.items()}

    def shaped(self, table: Tensor, scope: Scope, trace: Trace, axes: int) -> Tensor:
        """A table with an axis for each variable of its scope in place of its first, and all batch axes.

        Args:
            axes: how many it has before the batch axes: of rows, and of values.
        """
        lead = [self.graph.states[v] for v in scope]
        missing = len(trace.shape) - 1 - (table.dim() - axes)
        return table.reshape([*lead, *table.shape[1 if axes else 0 :], *[1] * missing])


def elimination_of(graph: FactorGraph, limit: int) -> Elimination:
    """How a graph's costs are summed.

    Raises:
        NotProved: a table has more than `limit` entries.
    """
    rows = design(graph, limit)
    steps = [
        elimination_order(graph, {term.scope for terms in charges for term in terms}, limit)
        for charges in (graph.costs, graph.penalties)
    ]
    return Elimination(graph, rows, *steps)
