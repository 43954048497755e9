"""The chain rule from the draws to the user's parameters.

An estimator computes g, the gradient with respect to the parameters of each draw's distribution, sample by sample. The
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
from framework.gradients.coupled.coupled_runs import CoupledRuns
from framework.gradients.coupled.coupling import BaseDraw
from framework.gradients.distributions.noise_families import Family
from framework.parameters import Parameters

# A distribution's parameter and the gradient with respect to it: one term of a vector-Jacobian product.
Cotangent = tuple[Tensor, Tensor]


@dataclass(eq=False)
class Group:
    """Draws of one family, shape and return, stacked along `axis`.

    Attributes:
        attached_parameters: the distributions' parameters on the autograd graph, `[..., draws, ...]`, with n where they
            have the sample axis.
        parameters: the same detached, `[n or 1, ..., draws, ...]`.
        noise, value: `[n, ..., draws, ...]`.
        returns, counterfactual_returns: costs charged after the draws, `[n, *batch]`; see `CoupledRuns`.
        per_datum: whether the draws have the batch axes; else one draw is shared by all data of its sample.
    """

    family: Family
    members: list[BaseDraw]
    attached_parameters: tuple[Tensor, ...]
    parameters: tuple[Tensor, ...]
    noise: Tensor
    value: Tensor
    returns: Tensor
    counterfactual_returns: Tensor
    per_datum: bool
    axis: int

    def credit(self, costs: Tensor) -> Tensor:
        """Costs `[n, *batch]` as what each draw is charged with: its datum's, or the sum of all data's."""
        if not self.per_datum:
            costs = costs.flatten(1).sum(1)
        return costs.reshape(*costs.shape, *[1] * (self.noise.dim() - costs.dim()))

    def stacked(self, values: Iterable[Tensor]) -> Tensor:
        """One tensor `[n, ...]` for each member, stacked."""
        return torch.stack(list(values), self.axis)

    def cotangents(self, gradients: Iterable[Tensor]) -> list[Cotangent]:
        """The parameters with their gradients, from the gradients of each sample, `[n, ..., draws, ...]`."""
        return [
            (parameter, gradient.sum_to_size(parameter.shape))
            for parameter, gradient in zip(self.attached_parameters, gradients, strict=True)
        ]


def group_draws(runs: CoupledRuns) -> list[Group]:
    """The draws of a run in as few groups as possible."""
    groups: dict[object, list[int]] = {}
    for i, draw in enumerate(runs.draws):
        costs = (id(runs.returns[i]), id(runs.counterfactual_returns[i]))
        shapes = (
            draw.noise.shape,
            draw.value.dtype,
            draw.has_sample_axis,
            draw.per_datum,
            draw.layer,
        )
        groups.setdefault((draw.family, *costs, *shapes), []).append(i)
    return [stack_draws(runs, members) for members in groups.values()]


def stack_draws(runs: CoupledRuns, indices: list[int]) -> Group:
    """The group of the draws with the given indices."""
    members = [runs.draws[i] for i in indices]
    first = members[0]
    axis = len(runs.shape) if first.per_datum else 1
    attached = tuple(
        torch.stack(values, axis if first.has_sample_axis else axis - 1)
        for values in zip(*(draw.parameters for draw in members), strict=True)
    )
    detached = (p.detach() if first.has_sample_axis else p.detach().unsqueeze(0) for p in attached)
    return Group(
        family=first.family,
        members=members,
        attached_parameters=attached,
        parameters=tuple(detached),
        noise=torch.stack([draw.noise for draw in members], axis),
        value=torch.stack([draw.value for draw in members], axis),
        returns=runs.returns[indices[0]],
        counterfactual_returns=runs.counterfactual_returns[indices[0]],
        per_datum=first.per_datum,
        axis=axis,
    )


def backward(
    runs: CoupledRuns,
    cotangents: Iterable[Cotangent],
    parameters: Parameters,
    scale: float | Tensor,
) -> None:
    """Add `scale` times the gradient to each parameter's `.grad`.

    Args:
        cotangents: gradients summed over samples and data; the objective is their mean.

    Raises:
        ProgramError: neither a draw nor a cost depends on a parameter.
    """
    inputs = [p for p in parameters.values() if p.requires_grad]
    terms = [(runs.objective, torch.ones_like(runs.objective) * scale)]
    weight = scale / runs.size
    for target, gradient in cotangents:
        terms.append((target, (gradient * weight).to(target.dtype)))
    terms = [(target, gradient) for target, gradient in terms if target.requires_grad]
    if not terms:
        raise ProgramError(
            "the objective depends on no parameter in a way this estimator can see; "
            f"{alternatives(what='need only its values', values_only=True)}"
        )
    targets, gradients = zip(*terms, strict=True)
    torch.autograd.backward(targets, gradients, inputs=inputs or None)
