"""Exact gradients: autodiff where nothing is drawn, the sum over all values where finitely many can be.

E[f] = sum over x of p(x) f(x). Every joint value of the program's finite draws becomes one sample of weight p(x); a
Normal draw is integrated by Gauss-Hermite quadrature, exact to rounding for smooth costs and declared biased because
a cost with a jump is not smooth. The derivative is that of p, so that the cost may be a black box in the draws.
A program run one sample at a time, whose draws may depend on what was drawn, is run once for each leaf of its tree
of draws.

Where the joint values are too many and each draw and each cost depends on a few draws only, these dependences are
proved in a probing run and the draws are summed out one by one (see `elimination`): a chain of 100 draws, a tree, a
draw of many elements. What cannot be proved (NumPy, an operation that is not known) is enumerated or refused.

In a program of finite and other draws `non_enumerable` samples the others, Normal ones included: with z these n draws,

    E[f] = E_z [ sum over x of p(x | z) f(x, z) ]

is exact in x and an unbiased average in z; each of the n sums is compared with the others' mean.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from framework.capabilities import Capabilities
from framework.config.types import Count
from framework.errors import ProgramError, UserError
from framework.gradients.distributions.refusal import others, refuse_bounds
from framework.gradients.distributions.support import Support, Supports
from framework.gradients.enumeration.choice import Choice
from framework.gradients.enumeration.factor_graph.elimination import Elimination, elimination_of
from framework.gradients.enumeration.factor_graph.graph import probe
from framework.gradients.enumeration.factor_graph.known import known_elimination, remember
from framework.gradients.enumeration.factor_graph.tables import Changed
from framework.gradients.enumeration.states import (
    Enumeration,
    OtherSamples,
    RepeatedSamples,
    SupportDiscovery,
)
from framework.gradients.enumeration.tree import Leaf, Tree
from framework.gradients.estimator import Estimate, SurrogateEstimator, mean_objective
from framework.gradients.pathwise.reparameterisation import Reparameterisation
from framework.gradients.score_function import ScoreFunction
from framework.gradients.surrogate.dice import Baseline, average, surrogate
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.provenance import NotProved
from framework.recording.rule import Rule
from framework.recording.trace import Trace, add
from framework.relaxed import smoothing

RULES: dict[str, Rule] = {
    "score_function": ScoreFunction(),
    "reparameterisation": Reparameterisation(),
}


@Capabilities(
    draws=("finite", "Normal"),
    evaluations="1, the number of states, or the rows of the tables",
    higher_derivatives=True,
    own_randomness=False,
    bias="except by quadrature, within its error",
    automatic=True,
    divided_model=True,
)
class Exact(SurrogateEstimator):
    """Exact: autodiff, every value of finite draws, Gauss-Hermite quadrature of Normal draws.

    Args:
        states: the largest number of joint values of all draws, of leaves of their tree, or of entries of a table.
        nodes: of the quadrature of each element of a Normal draw.
        non_enumerable: how draws that are not finite are sampled; "error": Normal ones are integrated, others refused.
        samples: n, of those draws.
        method: "enumerate": all joint values; "eliminate": draws are summed out one by one, in tables of at most
            `states` entries; "auto": enumerate up to `states` joint values, eliminate beyond.

    Raises:
        UserError: a single sample under the score function: there is no other to compare it with.
    """

    def __init__(
        self,
        *,
        states: Count = 4096,
        nodes: Annotated[int, Field(ge=2, le=128)] = 32,
        non_enumerable: Literal["error", "score_function", "reparameterisation"] = "error",
        samples: Count = 16,
        method: Literal["auto", "enumerate", "eliminate"] = "auto",
    ) -> None:
        if non_enumerable == "score_function" and samples < 2:
            raise UserError(
                "estimator.samples = 1: expected 2 or more with estimator.non_enumerable=score_function, "
                "which compares samples"
            )
        self.states = states
        self.nodes = nodes if non_enumerable == "error" else None
        self.choice = Choice(RULES.get(non_enumerable))
        self.samples = samples
        self.method = method

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        with smoothing() as smooth:
            loss, estimate = self.expectation(program, parameters, batch)
        if smooth.used:  # exact for the smoothed program; the objective is the hard one's
            with torch.no_grad():
                hard = self.expectation(program, parameters, batch)[1]
            estimate.objective = hard.objective
            estimate.evaluations += hard.evaluations
        estimate.biased |= smooth.biased or program.findings.biases({"exact"})
        return loss, estimate

    def expectation(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """The weighted sum over all joint values of the draws."""
        if program.one_sample_at_a_time:
            return self.sum_of_leaves(program, parameters, batch)
        return self.sum_of_states(program, parameters, batch)

    def sum_of_states(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """All joint values as the samples of one run, or each draw summed out alone."""
        known = None
        if self.eliminates:
            known = known_elimination(program, parameters, batch, self.states)
        if isinstance(known, Elimination) and self.prefers_elimination(known.states):
            with suppress(Changed):  # It is probed again.
                return self.eliminated(known, program, parameters, batch)
        discovery = SupportDiscovery(Supports(self.nodes, program.batch_axes), self.choice)
        trace = program.run(lambda site: discovery, parameters, batch)[0]
        if not trace.draws:
            loss = trace.objective()
            return loss, Estimate(objective=loss.detach(), evaluations=1, biased=False)
        if len({draw.name for draw in trace.draws}) < len(trace.draws):
            names = ", ".join(draw.name for draw in trace.draws)
            raise ProgramError(f"exact: two draws share a name ({names}); give each draw its own")
        supports = discovery.supports(trace)
        states = math.prod(support.states for support in supports.values())
        if self.eliminates and self.prefers_elimination(states):
            try:
                if isinstance(known, str):
                    raise NotProved(known)
                elimination = self.probed(program, parameters, batch, supports, trace)
                return self.eliminated(elimination, program, parameters, batch)
            except (NotProved, Changed) as error:
                raise self.refusal(states, trace, str(error)) from error
        if states > self.states:
            raise self.refusal(states, trace)
        copies = self.samples if len(supports) < len(trace.draws) else 1
        return self.enumerated(Enumeration(supports, states, copies), program, parameters, batch)

    def enumerated(
        self, walk: Enumeration, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """The weighted sum over all joint values, the samples of one run."""
        supports, samples = walk.supports, len(walk.states)

        def rule(site: str) -> Rule:
            sampled = None if site in supports else self.choice.sampled(site)
            return walk if sampled is None else RepeatedSamples(sampled, samples // walk.copies)

        trace = program.run(rule, parameters, batch, samples=samples)[0]
        weights = walk.weights(trace)
        scored = walk.copies > 1 and any(draw.name not in supports for draw in trace.scored)
        baseline = OtherSamples(weights, walk.copies) if scored else None
        loss = surrogate([trace], baseline, weights)
        return loss, Estimate(
            objective=mean_objective([loss]),
            evaluations=samples,
            biased=any(support.weights is not None for support in supports.values()),
        )

    @property
    def eliminates(self) -> bool:
        return self.method != "enumerate" and not self.choice.samples

    def prefers_elimination(self, states: int) -> bool:
        return self.method == "eliminate" or states > self.states

    def probed(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any,
        supports: dict[str, Support],
        trace: Trace,
    ) -> Elimination:
        """How the draws of a run are summed out.

        Raises:
            NotProved: what depends on what could not be proved, or a table would have more than `states` entries.
        """
        refuse_bounds(trace, "exact")
        try:
            graph = probe(program, parameters, batch, supports, trace)
            elimination = elimination_of(graph, self.states)
        except NotProved as error:
            remember(str(error), program, parameters, batch, self.states)
            raise
        remember(elimination, program, parameters, batch, self.states)
        return elimination

    def eliminated(
        self, elimination: Elimination, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """All draws summed out one by one after one run, whose samples are the rows of the factors' tables."""
        (trace,) = program.run(
            lambda site: elimination, parameters, batch, samples=elimination.rows
        )
        loss = elimination.loss(trace)
        return loss, Estimate(
            objective=mean_objective([loss]), evaluations=elimination.rows, biased=False
        )

    def refusal(self, states: int, trace: Trace, why: str = "") -> ProgramError:
        """The error for a program with too many joint values, or one whose draws were to be eliminated."""
        distributions = [draw.distribution for draw in trace.draws]
        words = str(states) if states < 10**15 else f"about 10^{len(str(states)) - 1}"
        reasons = [f"its draws cannot be eliminated: {why}"] if why else []
        if states > self.states:
            reasons.insert(0, f"{words} states, more than estimator.states={self.states}")
        return ProgramError(f"exact: {', and '.join(reasons)}; {others('exact', *distributions)}")

    def sum_of_leaves(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """All leaves of the tree of draws, each by a run of its own; several trees where some draws are sampled."""
        supports = Supports(self.nodes, program.batch_axes)
        tree = Tree(self.states, supports, self.choice)
        trees = [list(tree.walk(program, parameters, batch))]
        baselines: list[Baseline | None] = [None]
        if tree.samples:
            for _ in range(self.samples - 1):
                another = Tree(self.states, supports, self.choice)
                trees.append(list(another.walk(program, parameters, batch)))
            values = [sum(cost_of(leaf) for leaf in leaves) for leaves in trees]
            others = max(1, len(values) - 1)
            baselines = [constant_baseline((sum(values) - value) / others) for value in values]
        losses = [
            surrogate([leaf.trace], baseline, leaf.weight)
            for leaves, baseline in zip(trees, baselines, strict=True)
            for leaf in leaves
        ]
        loss = torch.stack(losses).sum() / len(trees)
        return loss, Estimate(
            objective=mean_objective([loss]), evaluations=len(losses), biased=tree.quadrature
        )


def constant_baseline(value: float) -> Baseline:
    """The same baseline everywhere."""
    return lambda site, returns, axis, known: value


def cost_of(leaf: Leaf) -> float:
    """A leaf's term in the sum over leaves."""
    trace = leaf.trace
    costs = [trace.leading(cost.value.detach(), cost.axes) for cost in trace.costs]
    return float(add(average(costs, trace, leaf.weight))) if costs else 0.0
