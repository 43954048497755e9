"""What one run of a program did: its draws, its costs and the sums over their axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from framework.errors import ProgramError
from framework.recording.axes import ALL, NONE, Axes
from framework.recording.rule import Rule


@dataclass(eq=False, slots=True)
class Draw:
    """A random value in a program, made now (`sample`) or earlier (`observe`); `axes` are its log-probability's."""

    name: str
    distribution: Distribution
    value: Tensor
    rule: Rule
    axes: Axes
    baseline: Tensor | None = None
    mask: Tensor | None = None
    behaviour: Tensor | None = None


@dataclass(eq=False, slots=True)
class Cost:
    """A cost and how many scored draws had been made before it: those, and no others, are charged with it.

    `elementwise` are the draws of which each element of the cost depends on the same element only, as declared.
    """

    name: str
    value: Tensor
    position: int
    axes: Axes
    elementwise: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class LogProb:
    """The log-probability of a draw that the program took for its costs, `[n, *batch, *rest]`.

    `position` is how many scored draws had been made when it was taken.
    """

    draw: Draw
    value: Tensor
    position: int


@dataclass(eq=False, slots=True)
class Prediction:
    """What a program predicts of recorded steps, `[T, N]` each; see `Context.value`."""

    values: Tensor
    next_values: Tensor
    terminated: Tensor
    truncated: Tensor
    behaviour: Tensor | None


@dataclass(eq=False, slots=True)
class Trace:
    """What one run of a program did. `shape` is the leading shape: `[n, *batch]`, or `[T, n]` for episodes."""

    shape: tuple[int, ...]
    recorded_trajectories: bool = False
    # One of several runs of one sample each.
    single_sample: bool = False
    batch: Any = None
    draws: list[Draw] = field(default_factory=list)
    scored: list[Draw] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    penalties: list[Cost] = field(default_factory=list)
    log_probs: list[LogProb] = field(default_factory=list)
    prediction: Prediction | None = None
    # `[K, n, *batch]`, or of all of A actions `[K, n, *batch, A]`; see `Context.action_values`.
    action_values: Tensor | None = None
    # Their values are log weights.
    bounds: list[Cost] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """Where its costs are."""
        charged = (*self.costs, *self.penalties, *self.bounds)
        return next((cost.value.device for cost in charged), torch.device("cpu"))

    def leading(self, value: Tensor, axes: Axes) -> Tensor:
        """Sum `value` over all axes but its leading ones, which are `axes`; the result broadcasts against `shape`.

        A value may lack the sample axis (it depends on no draw), the batch axes, or both.
        """
        depth = len(self.shape)
        if value.dim() == depth and axes == ALL:
            return value
        kept = axes.of(self.shape)
        if value.dim() > len(kept):
            value = value.flatten(len(kept)).sum(-1)
        if len(kept) == depth or not kept:
            return value
        return value.reshape(-1, *[1] * (depth - 1)) if axes.per_sample else value.unsqueeze(0)

    def mean(self, charge: Cost) -> Tensor:
        """The mean over samples and batch of the sum over every other axis, the steps' included.

        A scalar counts once, in a program of episodes too.
        """
        kept, value = charge.axes.of(self.shape), charge.value
        count = math.prod(kept[1:] if self.recorded_trajectories else kept)
        return value.mean() if count == value.numel() else value.sum() / count

    def log_prob(
        self, draw: Draw, function: Callable[[Distribution, Tensor], Tensor] | None = None
    ) -> Tensor:
        """A draw's log-probability (or `function` in its place), summed over its elements, 0 where it is masked."""
        if function is None:
            log_prob = draw.distribution.log_prob(draw.value)
        else:
            log_prob = function(draw.distribution, draw.value)
        if draw.mask is not None:
            log_prob = torch.where(draw.mask, log_prob, 0.0)
        return self.of_draw(draw, log_prob, "log-probability")

    def element_log_prob(
        self, draw: Draw, function: Callable[[Distribution, Tensor], Tensor]
    ) -> Tensor:
        """The log-probability of each element of a draw, `[n, *batch, *elements]`; a batch axis that it lacks is 1.

        `function` computes it from a distribution of one element each and the draw.
        """
        log_prob = function(element_distribution(draw.distribution), draw.value)
        if draw.axes.per_datum:
            return log_prob
        depth = len(self.shape)
        return log_prob.reshape(log_prob.shape[0], *[1] * (depth - 1), *log_prob.shape[1:])

    def element_shape(self, draw: Draw) -> tuple[int, ...]:
        """The shape of a draw's elements: what follows the leading axes, without an event's axes."""
        event = len(element_distribution(draw.distribution).event_shape)
        shape = tuple(draw.value.shape)
        return shape[len(draw.axes.of(self.shape)) : len(shape) - event]

    def of_draw(self, draw: Draw, value: Tensor, what: str) -> Tensor:
        """A quantity of each element of a draw, summed over its elements."""
        if self.recorded_trajectories:
            shape = tuple(value.shape)
            return self.leading(
                value, self.recorded_axes(shape, f"the {what} of draw '{draw.name}'")
            )
        return self.leading(value, draw.axes)

    def recorded_axes(self, shape: tuple[int, ...], what: str) -> Axes:
        """The axes of what recorded steps bring: `[T, n, ...]`, or a scalar.

        Raises:
            ProgramError: another shape.
        """
        if not shape:
            return NONE
        if shape[:2] == self.shape:
            return ALL
        raise ProgramError(
            f"{what} has shape {list(shape)}; expected a scalar or [steps, episodes, ...] "
            f"beginning with {list(self.shape)}"
        )

    def objective(self) -> Tensor:
        """The hard objective of this run: the mean over samples and batch of all costs and penalties."""
        means = [self.mean(c) for c in self.charges()]
        means += [self.bound(bound).mean() for bound in self.bounds]
        return means[0] if len(means) == 1 else torch.stack(means).sum()

    def charges(self) -> list[Cost]:
        """All costs and penalties.

        Raises:
            ProgramError: there are none.
        """
        terms = [*self.costs, *self.penalties]
        if not terms and not self.bounds:
            raise ProgramError("the program charged no cost: call context.cost(value)")
        return terms

    def spread(self, cost: Cost) -> Tensor:
        """A cost of each sample and datum, `[n, *batch]`."""
        return self.leading(cost.value, cost.axes).expand(self.shape)

    def total_cost(self) -> Tensor:
        """All costs and penalties of each sample and datum, `[n, *batch]`."""
        terms = [self.spread(charge) for charge in self.charges()]
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum(0)

    def charged(self) -> dict[int, Tensor]:
        """What is charged directly after k scored draws, for every such k > 0: `[n, *batch]` or smaller.

        Recorded steps charge everything after the last draw: which steps a cost is charged to, its time axis tells.
        After the last draw there is always an entry, if only 0: another run may have charged something there (a loop
        that went on), and to leave these draws out would leave their baseline out and bias the estimate.
        """
        last = len(self.scored)
        terms: dict[int, list[Tensor]] = {}
        for cost in self.costs:
            position = last if self.recorded_trajectories else cost.position
            if position:
                value = self.leading(cost.value, cost.axes)
                terms.setdefault(position, []).append(value)
        if self.scored and last not in terms:
            terms[last] = [torch.zeros((), device=self.scored[-1].value.device)]
        charged: dict[int, Tensor] = {}
        for position in sorted(terms):
            charged[position] = add(terms[position])
        return charged

    def costs_after(self, charged: Mapping[int, Tensor]) -> list[Tensor]:
        """For each scored draw the sum of all costs charged after it, `[n, *batch]`, from what `charged` returns.

        Of recorded steps, at each step the sum from that step on. Draws without a cost between them share a tensor.
        """
        after: list[Tensor] = []
        total: Tensor | None = None
        for position in range(len(self.scored), 0, -1):
            if position in charged:
                cost = charged[position].expand(self.shape)
                if self.recorded_trajectories:
                    cost = cost.flip(0).cumsum(0).flip(0)
                total = cost if total is None else cost + total
            after.append(torch.zeros(()) if total is None else total)
        return after[::-1]

    def bound(self, bound: Cost) -> Tensor:
        """A multi-sample bound's value for each datum, `[*batch]`: -log of the samples' mean weight."""
        weights = self.log_weights(bound)
        return math.log(len(weights)) - weights.logsumexp(0)

    def log_weights(self, bound: Cost) -> Tensor:
        """A bound's log weights, `[n, *batch]`.

        Raises:
            ProgramError: episodes, or one of several runs of one sample: the samples are not together.
        """
        if self.recorded_trajectories or self.single_sample:
            raise ProgramError(
                f"bound '{bound.name}' is made of all samples together, which a program of episodes, or one that runs "
                "one sample at a time, does not run together"
            )
        return self.leading(bound.value, bound.axes).expand(self.shape)


def element_distribution(distribution: Distribution) -> Distribution:
    """The distribution of each element of a draw, where the elements are declared to be independent."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution


def add(terms: Sequence[Tensor]) -> Tensor:
    """The sum of tensors that broadcast against each other, in as few operations as possible."""
    if len(terms) > 2 and all(term.shape == terms[0].shape for term in terms):
        return torch.stack(list(terms)).sum(0)
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
