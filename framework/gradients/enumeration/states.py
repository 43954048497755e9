"""The rules of enumeration: a first run that finds the draws, and a second whose samples are their joint values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.errors import ProgramError
from framework.gradients.distributions.boundary import refuse_boundary
from framework.gradients.distributions.log_probability import log_probability
from framework.gradients.distributions.support import Support, Supports, refuse_without_support
from framework.gradients.enumeration.choice import Choice, ExactRule
from framework.gradients.surrogate.dice import Known, possible
from framework.recording.rule import Rule
from framework.recording.trace import Trace


class SupportDiscovery(ExactRule):
    """The rule of a first run with one sample, which shows the program's draws."""

    # A draw made earlier is refused.
    scored = False

    def __init__(self, finder: Supports, choice: Choice) -> None:
        self.finder = finder
        self.choice = choice

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        refuse_boundary(self.name, site, distribution)
        if not (self.choice.sums(site) and self.finder.has(distribution)):
            sampled = self.choice.sampled(site)
            if sampled is None:
                raise refuse_without_support(site, distribution)
            # Refuses the draw where it cannot serve it.
            sampled.draw(site, distribution, shape)
        return distribution.sample(shape)

    def supports(self, trace: Trace) -> dict[str, Support]:
        """The supports of a run's draws that are summed over, by name."""
        found = self.finder.of_draws(trace)
        return {site: support for site, support in found.items() if self.choice.sums(site)}


class Enumeration(ExactRule):
    """The rule of the second run: sample i of every finite draw takes the value that the digits of i's state name.

    The samples are `states` blocks of `copies`; each copy has its own sampled values of the other draws.
    """

    def __init__(self, supports: dict[str, Support], states: int, copies: int) -> None:
        self.supports = supports
        self.copies = copies
        device = next((support.values.device for support in supports.values()), None)
        self.states = torch.arange(states, device=device).repeat_interleave(copies)  # [n]
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
        shape = (len(self.states), *[1] * (len(trace.shape) - 1))
        total = torch.ones(shape, device=self.states.device)
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


class RepeatedSamples(ExactRule):
    """Samples the other draws; one that depends on no other is the same in every state, whose weights then sum to 1."""

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
