"""The factor graph of a program's finite draws, proved in a probing run: what depends on which earlier draws.

Variables are the elements of draws, in the order in which they are drawn. The probing run has several samples,
of which only the first is followed (see `provenance`): what depends on it in another mixes samples. Data share a graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.gradients.distributions.log_probability import log_probability
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.support import Support
from framework.gradients.enumeration.choice import ExactRule
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import seeded
from framework.recording.context import Context
from framework.recording.propagation import Mask
from framework.recording.provenance import NotProved, Provenance
from framework.recording.trace import Cost, Trace

Scope = tuple[int, ...]


@dataclass(eq=False)
class Term:
    """The elements of a cost that depend on the same variables.

    Attributes:
        elements: their numbers among the cost's elements after its leading axes.
    """

    scope: Scope
    elements: list[int]


@dataclass(eq=False)
class Site:
    """One draw: its support, its elements' shape after the leading axes and the number of its first variable."""

    name: str
    kind: type[Distribution]
    support: Support
    shape: tuple[int, ...]
    first: int


@dataclass(eq=False)
class FactorGraph:
    """What each variable and each cost depends on.

    Attributes:
        sites: the draws in order.
        states: how many values each variable can take.
        parents: of each variable, those on which its distribution depends.
        costs, penalties: the terms of each, in the order in which they were charged.
        fixed: whether Python read no tensor in the probing run, so that no parameter or datum can change its course.
    """

    sites: list[Site]
    states: list[int]
    parents: list[Scope]
    costs: list[list[Term]] = field(default_factory=list)
    penalties: list[list[Term]] = field(default_factory=list)
    fixed: bool = True

    def scopes(self) -> list[Scope]:
        """The variables that must take all joint values together: parents, and each cost's."""
        terms = [term for terms in self.costs + self.penalties for term in terms]
        return sorted({*self.parents, *(term.scope for term in terms)})


# Of the probing run: a length that hardly occurs in programs, so that no other axis is taken for the samples'.
SAMPLES = 7
# Larger programs are not followed.
VARIABLES = 1024


class Marked(ExactRule):
    """The rule of the probing run: the elements of the first sample's draw are variables of their own."""

    def __init__(self, graph: FactorGraph, provenance: Provenance) -> None:
        self.sites = {site.name: site for site in graph.sites}
        self.graph = graph
        self.provenance = provenance

    def draw(self, name: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        site = self.sites.get(name)
        if site is None:
            raise NotProved(f"draw '{name}' is not made in every run")
        provenance, base = self.provenance, base_of(distribution)
        support = base.enumerate_support(expand=False)
        with provenance.pause():
            if len(support) != len(site.support.values) or provenance.depends(support):
                raise NotProved(f"the values that draw '{name}' can take depend on another draw")
            digits = torch.randint(len(support), (SAMPLES, site.support.elements))
            value = site.support.at_digits(digits, base, has_sample_axis=not shape).clone()
        with provenance.trusting():
            log_prob = log_probability(base, value)
        with provenance.pause():
            mask = provenance.of(log_prob)
            if mask is not None:
                scopes = scopes_of(mask, site.support.batch_axes, f"draw '{name}'")
                self.graph.parents[site.first : site.first + len(scopes)] = scopes
            provenance.mark(value, self.own(value, site, len(base.event_shape)))
        return value

    def own(self, value: Tensor, site: Site, events: int) -> Mask:
        """The mask of a draw's value: each element depends on its variable."""
        count, total = site.support.elements, self.provenance.variables
        lead = 1 + site.support.batch_axes
        rest = value.shape[lead : value.dim() - events]
        own = torch.zeros(total, count, dtype=torch.bool)
        own[site.first : site.first + count] = torch.eye(count, dtype=torch.bool)
        own = own.reshape(total, *[1] * lead, *rest, *[1] * events)
        mask = own.expand(total, *value.shape).clone()
        mask[:, 1:] = False
        return mask


def scopes_of(mask: Mask, batch_axes: int, what: str) -> list[Scope]:
    """For each element after the leading axes the variables that it depends on, those of all data together.

    Args:
        mask: `[V, n, *batch, *rest]`.

    Raises:
        NotProved: a sample depends on another.
    """
    if bool(mask[:, 1:].any()):
        raise NotProved(f"{what} depends on the draws of more than one sample")
    own = mask[:, 0]
    if batch_axes:
        own = own.flatten(1, batch_axes).any(1)
    own = own.reshape(len(own), -1)
    scopes: list[list[int]] = [[] for _ in range(own.shape[1])]
    for element, variable in own.T.nonzero().tolist():
        scopes[element].append(variable)
    return [tuple(scope) for scope in scopes]


def probe(
    program: Program, parameters: Parameters, batch: Any, supports: dict[str, Support], first: Trace
) -> FactorGraph:
    """The factor graph of a program.

    Args:
        supports: of all its draws.
        first: an earlier run, whose draws and costs must come again.

    Raises:
        NotProved: what depends on what could not be followed.
    """
    if any(support.weights is not None for support in supports.values()):
        raise NotProved("a draw is not finite")
    if program.stateful:
        raise NotProved("the program keeps tensors between its runs")
    sites: list[Site] = []
    states: list[int] = []
    for draw in first.draws:
        base, support = base_of(draw.distribution), supports[draw.name]
        lead = 1 + support.batch_axes
        rest = draw.value.shape[lead : draw.value.dim() - len(base.event_shape)]
        sites.append(Site(draw.name, type(base), support, tuple(rest), len(states)))
        states += [len(support.values)] * support.elements
    if len(states) > VARIABLES:
        raise NotProved(
            f"{len(states)} elements of draws are more than the {VARIABLES} that are followed"
        )
    graph = FactorGraph(sites, states, [()] * len(states))
    provenance = Provenance(len(states))
    marked = Marked(graph, provenance)

    def function(context: Context, parameters: Parameters, batch: Any) -> None:
        if context.dry_run:
            program.function(context, parameters, batch)
            return
        with provenance.following():
            program.function(context, parameters, batch)

    with seeded(0):
        trace = replace(program, function=function, checked=False).run(
            lambda site: marked, parameters, batch, samples=SAMPLES
        )[0]
    if [d.name for d in trace.draws] != [d.name for d in first.draws]:
        raise NotProved("its draws are not the same in every run")
    graph.costs = [terms_of(cost, trace, provenance) for cost in trace.costs]
    graph.penalties = [terms_of(cost, trace, provenance) for cost in trace.penalties]
    graph.fixed = not provenance.reads
    return graph


def terms_of(cost: Cost, trace: Trace, provenance: Provenance) -> list[Term]:
    """A cost's terms, by the variables that its elements depend on."""
    axes = cost.axes
    lead = len(axes.of(trace.shape))
    mask = provenance.of(cost.value)
    if mask is None:
        return [Term((), list(range(cost.value[(0,) * lead].numel())))]
    if not axes.per_sample and bool(mask.any()):
        raise NotProved(f"cost '{cost.name}' depends on draws and has no value for each sample")
    if not axes.per_sample:
        return [Term((), list(range(mask[0][(0,) * lead].numel())))]
    scopes = scopes_of(mask, lead - 1, f"cost '{cost.name}'")
    terms: dict[Scope, Term] = {}
    for element, scope in enumerate(scopes):
        terms.setdefault(scope, Term(scope, [])).elements.append(element)
    return list(terms.values())
