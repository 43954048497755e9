"""The values that a draw can take: all of them where they are finitely many, quadrature nodes of a Normal draw.

A draw of D independent elements with K values each takes K^D joint values, numbered by their digits in base K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from framework.errors import ProgramError
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.refusal import others
from framework.recording.trace import Trace


@dataclass(eq=False)
class Support:
    """The values that one draw takes, and their weights relative to its density.

    Attributes:
        values: `[K, *event]`, the draw's values for each of its elements alone.
        weights: `[K]`, quadrature weights, or None where the probability itself is the weight.
        elements: how many independent elements the draw has after the batch axes.
        batch_axes: that the draw has: all data take the same values, each with its own probability.
    """

    values: Tensor
    weights: Tensor | None
    elements: int
    batch_axes: int

    @property
    def states(self) -> int:
        """How many joint values there are."""
        return int(len(self.values) ** self.elements)

    def at(self, numbers: Tensor, distribution: Distribution, *, has_sample_axis: bool) -> Tensor:
        """The joint values with the given numbers `[n]`, as draws `[n, *batch, *rest, *event]`.

        Args:
            distribution: its first axis is the samples' where `has_sample_axis`.
        """
        return self.at_digits(self.digits(numbers), distribution, has_sample_axis=has_sample_axis)

    def at_digits(
        self, digits: Tensor, distribution: Distribution, *, has_sample_axis: bool
    ) -> Tensor:
        """As `at`, by which of its K values each element takes, `[n, elements]`."""
        base = base_of(distribution)
        axes = base.batch_shape[1:] if has_sample_axis else base.batch_shape
        lead, rest, event = axes[: self.batch_axes], axes[self.batch_axes :], base.event_shape
        values = self.values.reshape(-1, *event)[digits]  # [n, elements, *event]
        values = values.reshape(len(digits), *[1] * len(lead), *rest, *event)
        values = values.expand(len(digits), *lead, *rest, *event)
        return (base.loc + base.scale * values).detach() if isinstance(base, Normal) else values

    def quadrature(self, numbers: Tensor) -> Tensor:
        """The joint values' quadrature weights `[n]`; 1 for finite draws."""
        if self.weights is None:
            return torch.ones(len(numbers), device=numbers.device)
        return self.weights[self.digits(numbers)].prod(1)

    def digits(self, numbers: Tensor) -> Tensor:
        """Which of its K values each element takes, `[n, elements]`."""
        powers = len(self.values) ** torch.arange(self.elements, device=numbers.device)
        return numbers.unsqueeze(1) // powers % len(self.values)


@dataclass(frozen=True)
class Supports:
    """Finds the support of a program's draws.

    Attributes:
        nodes: quadrature nodes of each element of a Normal draw; None: Normal draws have no support either.
        batch_axes: the program's.
    """

    nodes: int | None
    batch_axes: int

    def has(self, distribution: Distribution) -> bool:
        """Whether a draw has a support."""
        base = base_of(distribution)
        return base.has_enumerate_support or (isinstance(base, Normal) and self.nodes is not None)

    def of(
        self, distribution: Distribution, *, has_sample_axis: bool, per_datum: bool
    ) -> Support | None:
        """A draw's support, or None.

        Args:
            has_sample_axis: the distribution's first axis is the samples'.
            per_datum: the batch axes follow; else the draw is shared by all data.
        """
        base = base_of(distribution)
        batch_axes = self.batch_axes if per_datum else 0
        elements = math.prod(base.batch_shape[has_sample_axis + batch_axes :])
        if base.has_enumerate_support:
            values = base.enumerate_support(expand=False)
            values = values.reshape(len(values), *base.event_shape)
            return Support(values, None, elements, batch_axes)
        if isinstance(base, Normal) and self.nodes is not None:
            points, weights = numpy.polynomial.hermite.hermgauss(self.nodes)
            return Support(
                torch.as_tensor(points * math.sqrt(2)).to(base.loc),
                torch.as_tensor(weights / math.sqrt(math.pi)).to(base.loc),
                elements,
                batch_axes,
            )
        return None

    def of_draws(self, trace: Trace) -> dict[str, Support]:
        """The supports of a run's draws, by name, of those that have one."""
        supports = {}
        for draw in trace.draws:
            repeated = draw.value.dim() > len(draw.distribution.batch_shape) + len(
                draw.distribution.event_shape
            )
            support = self.of(
                draw.distribution,
                has_sample_axis=not repeated,
                per_datum=draw.axes.per_datum,
            )
            if support is not None:
                supports[draw.name] = support
        return supports


def refuse_without_support(site: str, distribution: Distribution) -> ProgramError:
    """The error for a draw that cannot be enumerated."""
    base = base_of(distribution)
    return ProgramError(
        f"draw '{site}' ~ {type(base).__name__} has no finite set of values; "
        f"{others('exact', distribution)}, or exact with estimator.non_enumerable set to sample it"
    )
