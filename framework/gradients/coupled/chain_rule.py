"""The chain rule from the draws to the user's parameters.

An estimator finds g, the gradient with respect to the parameters of each draw's distribution, sample by sample. The
distributions came from the user's parameters through whatever network, so the gradient is that of

    sum over draws of stop(g) * parameters  +  cost with the draws held fixed.

Draws of one shape are stacked into a *group* that looks like one larger draw: a program may hold hundreds of scalars.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.coupled.coupled_runs import Played
from framework.gradients.coupled.coupling import Record
from framework.gradients.distributions.noise_families import Family
from framework.parameters import Parameters

Pushed = tuple[Tensor, Tensor]  # a distribution's parameter and the gradient with respect to it


@dataclass(eq=False)
class Group:
    """Draws of one family, shape and return, stacked along `axis`.

    Attributes:
        live: the distributions' parameters on the autograd graph, `[..., draws, ...]`, with n where they carry it.
        parameters: the same detached, `[n or 1, ..., draws, ...]`.
        noise, value: alike.
        returns, partners: costs behind the draws, `[n, *batch]`; see `Played`.
        per_datum: whether the draws carry the batch axes; else one draw is shared by all data of its sample.
    """

    family: Family
    members: list[Record]
    live: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    noise: Tensor
    value: Tensor
    returns: Tensor
    partners: Tensor
    per_datum: bool
    axis: int

    def credit(self, costs: Tensor) -> Tensor:
        """Costs `[n, *batch]` as what each draw is charged with: its datum's, or the sum of all data's."""
        return credit(costs, self.per_datum, self.noise.dim())

    def stacked(self, values: Iterable[Tensor]) -> Tensor:
        """One tensor `[n, ...]` for each member, stacked."""
        return torch.stack(list(values), self.axis)

    def push(self, gradients: Iterable[Tensor]) -> list[Pushed]:
        """The parameters with their gradients, from the gradients of each sample, `[n, ..., draws, ...]`."""
        return [
            (live, gradient.sum_to_size(live.shape))
            for live, gradient in zip(self.live, gradients, strict=True)
        ]


def credit(costs: Tensor, per_datum: bool, dimensions: int) -> Tensor:
    """Costs `[n, *batch]` made to broadcast against a draw of so many dimensions."""
    if not per_datum:
        costs = costs.flatten(1).sum(1)
    return costs.reshape(*costs.shape, *[1] * (dimensions - costs.dim()))


def carries_batch(record: Record, shape: tuple[int, ...]) -> bool:
    """Whether a draw carries the batch axes of the leading `shape`, `[n, *batch]`."""
    return tuple(record.value.shape[: len(shape)]) == shape


def grouped(played: Played) -> list[Group]:
    """The draws of a run in as few groups as possible."""
    alike: dict[object, list[int]] = {}
    for i, record in enumerate(played.records):
        costs = (id(played.returns[i]), id(played.partners[i]))
        shapes = (record.noise.shape, record.value.dtype, record.carried, record.layer)
        alike.setdefault((record.family, *costs, *shapes), []).append(i)
    return [group_of(played, members) for members in alike.values()]


def group_of(played: Played, indices: list[int]) -> Group:
    members = [played.records[i] for i in indices]
    first = members[0]
    per_datum = carries_batch(first, played.shape)
    axis = len(played.shape) if per_datum else 1
    live = tuple(
        torch.stack(values, axis if first.carried else axis - 1)
        for values in zip(*(record.parameters for record in members), strict=True)
    )
    fixed = (p.detach() if first.carried else p.detach().unsqueeze(0) for p in live)
    return Group(
        family=first.family,
        members=members,
        live=live,
        parameters=tuple(fixed),
        noise=torch.stack([record.noise for record in members], axis),
        value=torch.stack([record.value for record in members], axis),
        returns=played.returns[indices[0]],
        partners=played.partners[indices[0]],
        per_datum=per_datum,
        axis=axis,
    )


def backward(
    played: Played, pushed: Iterable[Pushed], parameters: Parameters, scale: float | Tensor
) -> None:
    """Add `scale` times the gradient to each parameter's `.grad`.

    Args:
        pushed: gradients summed over samples and data; the objective is their mean.

    Raises:
        ProgramError: neither a draw nor a cost depends on a parameter.
    """
    wanted = [p for p in parameters.values() if p.requires_grad]
    given = [(played.objective, torch.ones_like(played.objective) * scale)]
    weight = scale / played.data
    for target, gradient in pushed:
        given.append((target, (gradient * weight).to(target.dtype)))
    given = [(target, gradient) for target, gradient in given if target.requires_grad]
    if not given:
        raise ProgramError(
            "the objective depends on no parameter in a way this estimator can see; "
            f"{alternatives(what='need only its values', values_only=True)}"
        )
    targets, gradients = zip(*given, strict=True)
    torch.autograd.backward(targets, gradients, inputs=wanted or None)
