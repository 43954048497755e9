"""The tree of a program's finite draws, walked depth first: for programs whose draws depend on what was drawn.

Each run follows one path from the root to a leaf: earlier choices are made again, the first draw beyond them takes its
first value, and so do all behind it. The next run changes the last choice that has a value left. A leaf weighs the
product of its choices' probabilities, and E[f] = sum over leaves of weight * f, whichever draws a run makes.

Every choice of k values adds at least k - 1 leaves, so that a tree that is too large, an endless loop among them, is
noticed while its first runs are still under way. Values of probability 0 are not walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import alternatives
from framework.context import Context
from framework.errors import ProgramError
from framework.gradients.distributions.refusal import others
from framework.gradients.distributions.support import Support, Supports, refuse_without_support
from framework.parameters import Parameters
from framework.program import Program
from framework.rule import Rule
from framework.trace import Trace


@dataclass(eq=False, slots=True)
class Choice:
    """A draw on the present path.

    Attributes:
        values: `[k, ...]`, of positive probability; of a draw that is sampled the one value.
        weights: `[k, *batch]`; None: the draw is sampled.
        taken: which of the values the path takes.
        quadrature: whether the values are quadrature nodes.
    """

    site: str
    values: Tensor
    weights: Tensor | None
    taken: int = 0
    quadrature: bool = False

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


class Turn:
    """The rule of one draw of one run: its place on the path."""

    name = "exact"
    biased = False
    relaxed = False

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.scored = False  # known when it is drawn: a draw made earlier is refused

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        choice = self.tree.next(site, distribution, shape)
        self.scored = choice.weights is not None or self.tree.scores_rest
        return choice.value


class Tree:
    """One walk through the tree.

    Args:
        states: the most leaves.
        rest: how draws without a support are sampled, once on each branch; None: they are refused.
    """

    def __init__(self, states: int, supports: Supports, rest: Rule | None) -> None:
        self.states = states
        self.supports = supports
        self.rest = rest
        self.scores_rest = rest is not None and rest.scored
        self.path: list[Choice] = []
        self.position = 0  # of the next draw on the path
        self.leaves = 1  # how many there are at least
        self.samples = False  # whether any draw was sampled
        self.quadrature = False  # whether any draw was replaced by its quadrature

    def walk(self, program: Program, parameters: Parameters, batch: Any) -> Iterator[Leaf]:
        """All leaves.

        Raises:
            ProgramError: more than `states`, a draw that can be neither enumerated nor sampled, or a program that is
                random by other means than its draws.
        """

        def function(context: Context, parameters: Parameters, batch: Any) -> None:
            self.position = 0
            program.function(context, parameters, batch)

        told = replace(program, function=function)
        while True:
            (trace,) = told.run(lambda site: Turn(self), parameters, batch)
            if self.position < len(self.path):
                raise own_randomness(self.path[self.position].site)
            yield Leaf(trace, self.weight(trace))
            while self.path and not self.path[-1].advance():
                self.path.pop()
            if not self.path:
                return

    def next(self, site: str, distribution: Distribution, shape: torch.Size) -> Choice:
        """The choice at the next place of the path, which grows where it ends."""
        if self.position == len(self.path):
            self.path.append(self.choice(site, distribution, shape))
        choice = self.path[self.position]
        if choice.site != site:
            raise own_randomness(choice.site)
        self.position += 1
        return choice

    def choice(self, site: str, distribution: Distribution, shape: torch.Size) -> Choice:
        """A new choice, at its first value."""
        support = self.supports.of(distribution, carried=not shape)
        if support is None:
            if self.rest is None:
                raise refuse_without_support(site, distribution)
            self.samples = True
            return Choice(site, self.rest.draw(site, distribution, shape), None)
        self.leaves += support.states - 1
        if self.leaves <= self.states:
            found = self.possible(site, distribution, support, carried=not shape)
            self.leaves -= support.states - len(found.values)
            self.quadrature |= found.quadrature
            return found
        raise ProgramError(
            f"exact: {self.leaves} or more leaves of the tree of draws at draw '{site}', more than "
            f"estimator.states={self.states}; {others('exact', distribution, one_sample_at_a_time=True)}"
        )

    @torch.no_grad()
    def possible(
        self, site: str, distribution: Distribution, support: Support, *, carried: bool
    ) -> Choice:
        """All values that have a positive probability for any datum."""
        numbers = torch.arange(support.states, device=support.values.device)
        values = support.at(numbers, distribution, carried=carried)
        if support.weights is not None:
            return Choice(site, values, support.quadrature(numbers), quadrature=True)
        log_prob = distribution.log_prob(values)  # [k, *batch, *rest]
        lead = 1 + self.supports.batch_axes
        if log_prob.dim() > lead:
            log_prob = log_prob.flatten(lead).sum(-1)
        kept = log_prob.reshape(len(values), -1).exp().any(1)
        return Choice(site, values[kept], log_prob[kept].exp())

    def weight(self, trace: Trace) -> Tensor:
        """The path's weight `[1, *batch]`."""
        weight = torch.ones(())
        for choice in self.path:
            if choice.weights is not None:
                weight = weight * choice.weights[choice.taken]
        return weight.expand(trace.shape)


def own_randomness(site: str) -> ProgramError:
    """The error for a program that does not come the same way again when its draws are made again."""
    return ProgramError(
        f"draw '{site}': it was not reached again though the draws before it were made again: the program is random "
        "by other means than context.sample, and exact cannot walk its draws; "
        f"{alternatives(own_randomness=True)}"
    )
