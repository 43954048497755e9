"""What couples two runs of a program: the record of a draw, and the protocol of a coupling."""

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


ALONE = torch.Size(())


@dataclass(eq=False, slots=True)
class Record:
    """A draw of the first run.

    Attributes:
        parameters: the distribution's, on the autograd graph; `[n, ...]` where `carried`, else without n.
        noise, value: `[n, ...]`; `value` is the draw.
        carried: whether the parameters carry the sample axis, that is, may depend on an earlier draw.
        layer: counted from 0.
        leaf: where partners are relaxed, a tensor whose last n rows are the draw in the partner: partners' costs can
            be differentiated with respect to it.
    """

    site: str
    family: Family
    parameters: Values
    noise: Tensor
    value: Tensor
    carried: bool
    layer: int
    leaf: Tensor | None = None

    @property
    def fixed(self) -> Values:
        """The parameters, cut off the graph."""
        return tuple(p.detach() for p in self.parameters)

    def repeated(self, times: int) -> Record:
        """The same draw for `times` blocks."""
        parameters = self.fixed
        if self.carried:
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
        """Whether partners are relaxed and differentiated; else they are runs of the objective itself."""

    def family(self, site: str, distribution: Distribution) -> Family:
        """The family of a draw.

        Raises:
            ProgramError: a distribution that cannot be served.
        """

    def partner(self, record: Record) -> Tensor:
        """The value that a draw takes in its own layer's partner, `[n, ...]`, without a gradient."""

    def later(self, record: Record, parameters: Values) -> Tensor:
        """The value of a draw behind a partner's layer, where its parameters have become other ones."""


def repeat(value: Tensor, times: int) -> Tensor:
    """`[n, ...]` -> `[times * n, ...]`."""
    return value if times == 1 else torch.cat([value] * times)


def alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether parameters are the same but for rounding."""
    pairs = zip(some, others, strict=True)
    return all(torch.allclose(a, b, 1e-3, 1e-5, equal_nan=True) for a, b in pairs)


def own_randomness(record: Record, coupling: Coupling) -> ProgramError:
    """The error for a program that does not come the same way again when its draws are made again."""
    return ProgramError(
        f"draw '{record.site}': its distribution changed though the draws before it were made again: the program is "
        f"random by other means than context.sample, and {coupling.name} cannot couple its runs; "
        f"{alternatives(own_randomness=True)}"
    )
