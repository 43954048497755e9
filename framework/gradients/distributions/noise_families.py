"""A draw as a function of its parameters and of noise that is independent of them, so that runs can be coupled.

Bernoulli      z = logits + logistic noise,  the draw is z > 0
categorical    z = logits + Gumbel noise,    the draw is argmax z, with logits = log p
Normal         z = loc + scale * Gaussian noise, the draw is z itself

Two runs with the same noise differ only as far as their parameters do.

Discrete draws have their logits as parameters or, with `by_probs`, their probabilities: where one of these is 0, the
logits are infinite and have no derivative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
)
from torch.nn.functional import one_hot


class Family(Protocol):
    """A family of distributions. Parameters and noise are given per element: `[n, ...]`, or parameters without n."""

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        """What the gradient is taken with respect to."""

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        """Noise of shape `[*shape, *parameters' shape]`."""

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """The continuous latent z of the draw."""

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """The draw, without a gradient."""


@dataclass(frozen=True)
class BernoulliFamily:
    """Bernoulli draws by their logits or their probabilities."""

    by_probs: bool = False

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        assert isinstance(distribution, Bernoulli)
        return (single(distribution.probs if self.by_probs else distribution.logits),)

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        uniform = fresh(parameters[0], shape).uniform_()
        return uniform.logit_(SMALLEST[uniform.dtype])

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return (parameters[0].logit() if self.by_probs else parameters[0]) + noise

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        latent = self.latent((parameters[0].detach(),), noise)
        # 1 where it is positive, in half the time of comparing and casting.
        return latent.sign_().relu_()


@dataclass(frozen=True)
class CategoricalFamily:
    """Categorical draws by their normalised logits or probabilities, as one-hot vectors or as indices."""

    one_hot: bool
    by_probs: bool = False

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        assert isinstance(distribution, Categorical | OneHotCategorical)
        return (single(distribution.probs if self.by_probs else distribution.logits),)

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        exponential = fresh(parameters[0], shape).exponential_()
        return -exponential.clamp_min_(torch.finfo(exponential.dtype).tiny).log_()

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return (parameters[0].log() if self.by_probs else parameters[0]) + noise

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        index = self.latent((parameters[0].detach(),), noise).argmax(-1)
        return one_hot(index, noise.shape[-1]).to(noise.dtype) if self.one_hot else index


@dataclass(frozen=True)
class NormalFamily:
    """Normal draws by their mean and scale."""

    def parameters(self, distribution: Distribution) -> tuple[Tensor, ...]:
        assert isinstance(distribution, Normal)
        return (single(distribution.loc), single(distribution.scale))

    def noise(self, parameters: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
        return fresh(parameters[0], shape).normal_()

    def latent(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return parameters[0] + parameters[1] * noise

    def value(self, parameters: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        return self.latent(parameters, noise).detach()


FAMILIES: dict[type[Distribution], Family] = {
    Bernoulli: BernoulliFamily(),
    Categorical: CategoricalFamily(one_hot=False),
    OneHotCategorical: CategoricalFamily(one_hot=True),
    Normal: NormalFamily(),
}


def built_from_probs(distribution: Distribution) -> bool:
    """Whether a discrete distribution was given probabilities, not logits."""
    inner = getattr(distribution, "_categorical", distribution)
    if hasattr(inner, "_param"):
        return inner._param is vars(inner).get("probs")
    # Geometric and NegativeBinomial: from probabilities they take no logits to draw.
    return "probs" in vars(inner) and "logits" not in vars(inner)


# The logit of a smaller uniform may be infinite.
SMALLEST = {torch.float32: 1.2e-7, torch.float64: 2.3e-16}


def single(parameter: Tensor) -> Tensor:
    """Half precision cast to single: noise of few bits would be biased."""
    return parameter if parameter.dtype in SMALLEST else parameter.float()


def fresh(like: Tensor, shape: torch.Size) -> Tensor:
    """An empty tensor of shape `[*shape, *like's shape]`."""
    return like.new_empty(shape + like.shape)


def base_of(distribution: Distribution) -> Distribution:
    """The distribution inside any number of `Independent`."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution
