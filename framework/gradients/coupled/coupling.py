"""What couples two runs of a program: a recorded draw, and the protocol of a coupling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.distributions.noise_families import Family

Values = tuple[Tensor, ...]


SCALAR = torch.Size(())


@dataclass(eq=False, slots=True)
class BaseDraw:
    """A draw of the base run.

    Attributes:
        parameters: the distribution's, on the autograd graph; `[n, ...]` with `has_sample_axis`, else without n.
        noise, value: `[n, ...]`; `value` is the draw.
        has_sample_axis: whether the parameters have the sample axis, that is, may depend on an earlier draw.
        layer: counted from 0.
        per_datum: whether the draw has the batch axes; else one draw is shared by all data of its sample.
        leaf: where counterfactual runs are relaxed, a tensor whose last n rows are the draw in its layer's
            counterfactual run, whose costs can be differentiated with respect to it.
    """

    site: str
    family: Family
    parameters: Values
    noise: Tensor
    value: Tensor
    has_sample_axis: bool
    layer: int
    per_datum: bool = True
    leaf: Tensor | None = None

    @property
    def detached(self) -> Values:
        """The parameters, cut off the graph."""
        return tuple(p.detach() for p in self.parameters)

    def repeated(self, times: int) -> BaseDraw:
        """The same draw for `times` blocks."""
        parameters = self.detached
        if self.has_sample_axis:
            parameters = tuple(repeat(p, times) for p in parameters)
        noise, value = repeat(self.noise, times), repeat(self.value, times)
        return replace(self, parameters=parameters, noise=noise, value=value)


class Coupling(Protocol):
    """What distinguishes one way to couple runs from another."""

    @property
    def name(self) -> str:
        """The estimator's, for errors."""

    @property
    def relaxes(self) -> bool:
        """Whether counterfactual runs are relaxed and differentiated; else they are runs of the objective itself."""

    def family(self, site: str, distribution: Distribution) -> Family:
        """The family of a draw.

        Raises:
            ProgramError: a distribution that cannot be served.
        """

    def counterfactual(self, draw: BaseDraw) -> Tensor:
        """The value of a draw in its own layer's counterfactual run, `[n, ...]`, without a gradient."""

    def resample_downstream(self, draw: BaseDraw, parameters: Values) -> Tensor:
        """The value of a draw after a counterfactual run's layer, where its parameters have changed."""


def repeat(value: Tensor, times: int) -> Tensor:
    """`[n, ...]` -> `[times * n, ...]`."""
    return value if times == 1 else torch.cat([value] * times)


def all_close(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether parameters are the same up to rounding."""
    pairs = zip(some, others, strict=True)
    return all(torch.allclose(a, b, 1e-3, 1e-5, equal_nan=True) for a, b in pairs)


def hidden_randomness_error(draw: BaseDraw, coupling: Coupling) -> ProgramError:
    """The error for a program that takes another course when its draws are repeated."""
    return ProgramError(
        f"draw '{draw.site}': its distribution changed though the draws before it were made again: the program is "
        f"random by other means than context.sample, and {coupling.name} cannot couple its runs; "
        f"{alternatives(own_randomness=True)}"
    )
