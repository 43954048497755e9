"""The derivatives of REBAR's and RELAX's control variates, by family of draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from framework.gradients.coupled.chain_rule import Group
from framework.gradients.distributions.noise_families import (
    BernoulliFamily,
    CategoricalFamily,
    NormalFamily,
)


def bernoulli_gradient(group: Group, residual: Tensor, slope: Tensor) -> list[Tensor]:
    (logits,) = group.parameters
    sign = 2 * group.value - 1
    p = (logits * sign).sigmoid()  # of the value drawn
    distance = (logits + group.noise).abs()
    return [residual * sign * (1 - p) + slope * (1 + p * torch.expm1(-distance))]


def categorical_gradient(group: Group, residual: Tensor, slope: Tensor) -> list[Tensor]:
    (logits,) = group.parameters
    latent = logits + group.noise
    raw = residual * hard_value(group) + slope * (latent - latent.amax(-1, keepdim=True)).exp()
    # The probabilities still sum to 1.
    return [raw - logits.softmax(-1) * raw.sum(-1, keepdim=True)]


def normal_gradient(group: Group, residual: Tensor, slope: Tensor) -> list[Tensor]:
    _, scale = group.parameters
    noise = group.noise
    return [
        residual * noise / scale + slope,
        residual * (noise.square() - 1) / scale + slope * noise,
    ]


GRADIENTS: dict[type, Callable[[Group, Tensor, Tensor], list[Tensor]]] = {
    BernoulliFamily: bernoulli_gradient,
    CategoricalFamily: categorical_gradient,
    NormalFamily: normal_gradient,
}


def hard_value(group: Group) -> Tensor:
    """The draws, categories as one-hot vectors; shaped as the noise."""
    if isinstance(group.family, CategoricalFamily) and not group.family.one_hot:
        return one_hot(group.value, group.noise.shape[-1]).to(group.noise.dtype)
    return group.value
