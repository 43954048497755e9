"""Exact gradients: autodiff where nothing is drawn, the sum over all values where finitely many can be.

E[f] = sum over x of p(x) f(x). Every joint value of the program's finite draws becomes one sample of weight p(x); a
Normal draw is integrated by Gauss-Hermite quadrature, exact to rounding for smooth costs and declared biased because
a cost with a jump is not smooth. The derivative is that of p, so that the cost may be a black box in the draws.
A program run one sample at a time, whose draws may depend on what was drawn, is run once for each leaf of its tree
of draws.

In a program of finite and other draws `non_enumerable` samples the others, Normal ones included: with z these n draws,

    E[f] = E_z [ sum over x of p(x | z) f(x, z) ]

is exact in x and an unbiased average in z; each of the n sums is compared with the others' mean.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import Capabilities
from framework.config.types import Count
from framework.errors import ProgramError, UserError
from framework.gradients.distributions.log_probability import log_probability
from framework.gradients.distributions.refusal import others
from framework.gradients.distributions.support import Support, Supports, refuse_without_support
from framework.gradients.enumeration.tree import Leaf, Tree
from framework.gradients.estimator import Estimate, SurrogateEstimator, mean_objective
from framework.gradients.pathwise.reparameterisation import Reparameterisation
from framework.gradients.score_function import ScoreFunction
from framework.gradients.surrogate.dice import Baseline, Known, average, possible, surrogate
from framework.parameters import Parameters
from framework.program import Program
from framework.relaxed import smoothing
from framework.rule import Rule
from framework.trace import Trace, add

RULES: dict[str, Rule] = {
    "score_function": ScoreFunction(),
    "reparameterisation": Reparameterisation(),
}


@Capabilities(
    draws=("finite", "Normal"),
    evaluations="1, or the number of states",
    higher_derivatives=True,
    own_randomness=False,
    bias="except by quadrature, within its error",
    automatic=True,
)
class Exact(SurrogateEstimator):
    """Exact: autodiff, every value of finite draws, Gauss-Hermite quadrature of Normal draws.

    Args:
        states: the largest number of joint values of all draws, or of leaves of their tree.
        nodes: of the quadrature of each element of a Normal draw.
        non_enumerable: how draws that are not finite are sampled; "error": Normal ones are integrated, others refused.
        samples: n, of those draws.

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
    ) -> None:
        if non_enumerable == "score_function" and samples < 2:
            raise UserError(
                "estimator.samples = 1: expected 2 or more with estimator.non_enumerable=score_function, "
                "which compares samples"
            )
        self.states = states
        self.nodes = nodes if non_enumerable == "error" else None
        self.fallback = RULES.get(non_enumerable)
        self.samples = samples

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
        """All joint values as the samples of one run."""
        discovery = SupportDiscovery(Supports(self.nodes, program.batch_axes), self.fallback)
        trace = program.run(lambda site: discovery, parameters, batch)[0]
        supports = discovery.finder.of_draws(trace)
        if not trace.draws:
            loss = trace.objective()
            return loss, Estimate(objective=loss.detach(), evaluations=1, biased=False)
        if len({draw.name for draw in trace.draws}) < len(trace.draws):
            names = ", ".join(draw.name for draw in trace.draws)
            raise ProgramError(f"exact: two draws share a name ({names}); give each draw its own")
        states = math.prod(support.states for support in supports.values())
        if states > self.states:
            distributions = [draw.distribution for draw in trace.draws]
            raise ProgramError(
                f"exact: {states} states, more than estimator.states={self.states}; "
                f"{others('exact', *distributions)}"
            )
        copies = self.samples if len(supports) < len(trace.draws) else 1
        walk = Enumeration(supports, states, copies)
        sampled = None if self.fallback is None else RepeatedSamples(self.fallback, states)
        trace = program.run(
            lambda site: sampled if sampled and site not in supports else walk,
            parameters,
            batch,
            samples=states * copies,
        )[0]
        weights = walk.weights(trace)
        scored = sampled is not None and sampled.scored and copies > 1
        baseline = OtherSamples(weights, copies) if scored else None
        loss = surrogate([trace], baseline, weights)
        return loss, Estimate(
            objective=mean_objective([loss]),
            evaluations=states * copies,
            biased=any(support.weights is not None for support in supports.values()),
        )

    def sum_of_leaves(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> tuple[Tensor, Estimate]:
        """All leaves of the tree of draws, each by a run of its own; several trees where some draws are sampled."""
        supports = Supports(self.nodes, program.batch_axes)
        tree = Tree(self.states, supports, self.fallback)
        trees = [list(tree.walk(program, parameters, batch))]
        baselines: list[Baseline | None] = [None]
        if tree.samples:
            for _ in range(self.samples - 1):
                another = Tree(self.states, supports, self.fallback)
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


class SupportDiscovery:
    """The rule of a first run with one sample, which shows the program's draws."""

    name = "exact"
    # A draw made earlier is refused.
    scored = False
    biased = False
    relaxed = False

    def __init__(self, finder: Supports, fallback: Rule | None) -> None:
        self.finder = finder
        self.fallback = fallback

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        if not self.finder.has(distribution):
            if self.fallback is None:
                raise refuse_without_support(site, distribution)
            # Refuses the draw where it cannot serve it.
            self.fallback.draw(site, distribution, shape)
        return distribution.sample(shape)


class Enumeration:
    """The rule of the second run: sample i of every finite draw takes the value that the digits of i's state name.

    The samples are `states` blocks of `copies`; each copy has its own sampled values of the other draws.
    """

    name = "exact"
    scored = True
    biased = False
    relaxed = False

    def __init__(self, supports: dict[str, Support], states: int, copies: int) -> None:
        self.supports = supports
        self.copies = copies
        self.states = torch.arange(states).repeat_interleave(copies)  # [n]
        # For each draw the product of the states of the draws after it.
        self.strides: dict[str, int] = {}
        for site, support in supports.items():
            states //= support.states
            self.strides[site] = states

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        support = self.supports.get(site)
        if support is None:
            raise ProgramError(
                f"exact: draw '{site}' is made or not by the value of another: declare the program "
                "with one_sample_at_a_time=True"
            )
        return support.at(self.numbers(site), distribution, has_sample_axis=not shape)

    def numbers(self, site: str) -> Tensor:
        """Which of its joint values the draw takes in each sample, `[n]`."""
        return self.states // self.strides[site] % self.supports[site].states

    def weights(self, trace: Trace) -> Tensor:
        """Each sample's weight `[n, *batch]`: the probability of its finite draws times quadrature weights."""
        total = torch.ones(len(self.states), *[1] * (len(trace.shape) - 1))
        for draw in trace.draws:
            support = self.supports.get(draw.name)
            if support is None:
                continue
            if support.weights is not None:
                total = total * support.quadrature(self.numbers(draw.name)).reshape_as(total)
                continue
            with torch.no_grad():
                log_prob = log_probability(draw.distribution, draw.value)
                total = total * trace.leading(log_prob, draw.axes).exp()
        return total / self.copies


class RepeatedSamples:
    """Samples the other draws; one that depends on no other is the same in every state, whose weights then sum to 1."""

    name = "exact"
    biased = False
    relaxed = False

    def __init__(self, rule: Rule, states: int) -> None:
        self.rule = rule
        self.scored = rule.scored
        self.states = states

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        if not shape:
            return self.rule.draw(site, distribution, shape)
        value = self.rule.draw(site, distribution, torch.Size((shape[0] // self.states,)))
        return value.repeat(self.states, *[1] * (value.dim() - 1))


class OtherSamples:
    """Leave-one-out: the mean of the other copies' returns, each summed over all states."""

    def __init__(self, weights: Tensor, copies: int) -> None:
        self.weights = weights * copies
        self.copies = copies

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known) -> Tensor:
        weighted = self.weights * possible(returns, self.weights)
        sums = weighted.unflatten(0, (-1, self.copies)).sum(0)  # [copies, *batch]
        others: Tensor = (sums.sum(0) - sums) / (self.copies - 1)
        return others.repeat(len(returns) // self.copies, *[1] * (returns.dim() - 1))


def constant_baseline(value: float) -> Baseline:
    """The same baseline everywhere."""
    return lambda site, returns, axis, known: value


def cost_of(leaf: Leaf) -> float:
    """A leaf's term in the sum over leaves."""
    trace = leaf.trace
    costs = [trace.leading(cost.value.detach(), cost.axes) for cost in trace.costs]
    return float(add(average(costs, trace, leaf.weight))) if costs else 0.0
