"""The tree of a program's finite draws, walked depth first: for programs whose draws depend on what was drawn.

Each run follows one path from the root to a leaf: earlier nodes keep their values, and the draws beyond them take first
what the last draw of their kind on the path took, or else their first value. The next run advances the last node that
has a value left. A leaf weighs the product of its values' probabilities, and E[f] = sum over leaves of weight * f,
whichever draws a run makes. Values of probability 0 are not walked.

Every node of k values adds at least k - 1 leaves. What the draws of a loop took so far led on, and so the draws beyond
them take it again: the path through an endless loop grows in one run until its leaves are too many. Each run repeats
its path from the root, and to find the end of the loop by one run for each round would take quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.log_probability import log_probability
from framework.gradients.distributions.refusal import others
from framework.gradients.distributions.support import Support, Supports, refuse_without_support
from framework.gradients.enumeration.choice import Choice, ExactRule
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.context import Context
from framework.recording.trace import Trace


@dataclass(eq=False, slots=True)
class Node:
    """A draw on the present path.

    Attributes:
        values: `[k, ...]`, of positive probability, in the order in which they are taken; a sampled draw has one.
        weights: `[k, *batch]`; None: the draw is sampled.
        numbers: of the values among all that the draw can take.
        taken: which of the values the path takes.
        quadrature: whether the values are quadrature nodes.
        scored: whether its log-probability carries a gradient; of a sampled draw, whether its rule says so.
        before: the last draw of its kind earlier on the path.
    """

    site: str
    values: Tensor
    weights: Tensor | None
    numbers: list[int] = field(default_factory=list)
    taken: int = 0
    quadrature: bool = False
    scored: bool = True
    before: Node | None = None

    @property
    def value(self) -> Tensor:
        return self.values[self.taken : self.taken + 1]

    def advance(self) -> bool:
        """Take the next value; False where there is none."""
        self.taken += 1
        return self.taken < len(self.values)


@dataclass(eq=False, slots=True)
class Leaf:
    """One run and its weight `[1, *batch]`."""

    trace: Trace
    weight: Tensor


class PathRule(ExactRule):
    """The rule of one draw of one run: its place on the path."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        # Known once it is drawn; until then a draw made earlier is refused.
        self.scored = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        node = self.tree.next(site, distribution, shape)
        self.scored = node.scored
        return node.value


class Tree:
    """One walk through the tree.

    Args:
        states: the largest number of leaves.
        choice: which draws have nodes, and how others are sampled, once on each branch.
    """

    def __init__(self, states: int, supports: Supports, choice: Choice) -> None:
        self.states = states
        self.supports = supports
        self.choice = choice
        self.path: list[Node] = []
        # The last draw of each kind on the path.
        self.latest: dict[str, Node | None] = {}
        # Of the run under way: it knows the axes of the draw that is made.
        self.context: Context | None = None
        # Of the next draw on the path.
        self.position = 0
        # A lower bound of their number.
        self.leaves = 1
        # Whether any draw was sampled, or replaced by its quadrature.
        self.samples = False
        self.quadrature = False

    def walk(self, program: Program, parameters: Parameters, batch: Any) -> Iterator[Leaf]:
        """All leaves.

        Raises:
            ProgramError: more than `states`, a draw that can be neither enumerated nor sampled, or a program that is
                random by other means than its draws.
        """

        def function(context: Context, parameters: Parameters, batch: Any) -> None:
            if not context.dry_run:
                self.position = 0
                self.context = context
            program.function(context, parameters, batch)

        from_root = replace(program, function=function)
        while True:
            (trace,) = from_root.run(lambda site: PathRule(self), parameters, batch)
            if self.position < len(self.path):
                raise hidden_randomness_error(self.path[self.position].site)
            yield Leaf(trace, self.weight(trace))
            while self.path and not self.path[-1].advance():
                node = self.path.pop()
                self.latest[kind_of(node.site)] = node.before
            if not self.path:
                return

    def next(self, site: str, distribution: Distribution, shape: torch.Size) -> Node:
        """The next node of the path, which grows at its end."""
        if self.position == len(self.path):
            node, kind = self.new_node(site, distribution, shape), kind_of(site)
            node.before = self.latest.get(kind)
            self.latest[kind] = node
            self.path.append(node)
        node = self.path[self.position]
        if node.site != site:
            raise hidden_randomness_error(node.site)
        self.position += 1
        return node

    def new_node(self, site: str, distribution: Distribution, shape: torch.Size) -> Node:
        """A new node, at its first value."""
        assert self.context is not None
        refuse_boundary("exact", site, distribution)
        per_datum = self.context.per_datum
        support = self.supports.of(distribution, has_sample_axis=not shape, per_datum=per_datum)
        if support is None or not self.choice.sums(site):
            rule = self.choice.sampled(site)
            if rule is None:
                raise refuse_without_support(site, distribution)
            self.samples = True
            value = rule.draw(site, distribution, shape)
            return Node(site, value, None, scored=rule.scored)
        self.leaves += support.states - 1
        if self.leaves <= self.states:
            node = self.possible_values(site, distribution, support, has_sample_axis=not shape)
            self.leaves -= support.states - len(node.values)
            self.quadrature |= node.quadrature
            return node
        raise ProgramError(
            f"exact: {self.leaves} or more leaves of the tree of draws at draw '{site}', more than "
            f"estimator.states={self.states}; {others('exact', distribution, one_sample_at_a_time=True)}"
        )

    @torch.no_grad()
    def possible_values(
        self, site: str, distribution: Distribution, support: Support, *, has_sample_axis: bool
    ) -> Node:
        """A node with all values that have a positive probability for any datum."""
        numbers = torch.arange(support.states, device=support.values.device)
        values = support.at(numbers, distribution, has_sample_axis=has_sample_axis)
        if support.weights is not None:
            kept, weights = numbers, support.quadrature(numbers)
        else:
            log_prob = log_probability(distribution, values)  # [k, *batch, *rest]
            lead = 1 + support.batch_axes
            if log_prob.dim() > lead:
                log_prob = log_prob.flatten(lead).sum(-1)
            weights = log_prob.exp()
            kept = weights.reshape(len(values), -1).any(1).nonzero().squeeze(1)
        order = self.order(site, kept.tolist())
        return Node(
            site, values[order], weights[order], order, quadrature=support.weights is not None
        )

    def order(self, site: str, numbers: list[int]) -> list[int]:
        """The values' numbers in the order in which they are taken: first what led on to this draw, if anything."""
        latest = self.latest.get(kind_of(site))
        led_on = latest.numbers[latest.taken] if latest is not None and latest.numbers else None
        return sorted(numbers, key=lambda number: number != led_on)

    def weight(self, trace: Trace) -> Tensor:
        """The path's weight `[1, *batch]`."""
        weight = torch.ones((), device=trace.device)
        for node in self.path:
            if node.weights is not None:
                weight = weight * node.weights[node.taken]
        return weight.expand(trace.shape)


@lru_cache(4096)
def kind_of(site: str) -> str:
    """What the names of a loop's draws have in common: `coin/#` of `coin/7`."""
    return re.sub(r"\d+", "#", site)


def hidden_randomness_error(site: str) -> ProgramError:
    """The error for a program that takes another course when its draws are repeated."""
    return ProgramError(
        f"draw '{site}': it was not reached again though the draws before it were made again: the program is random "
        "by other means than context.sample, and exact cannot walk its draws; "
        f"{alternatives(own_randomness=True)}"
    )
