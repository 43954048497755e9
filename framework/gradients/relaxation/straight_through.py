"""The straight-through family: the program runs on hard draws, with the gradient of a differentiable surrogate.

straight_through          dx = dp                             the mean's gradient (Bengio et al. 2013)
straight_through_gumbel   dx = d soft                         of the relaxed draw whose mode x is (Jang et al. 2017)
gumbel_rao                dx = E[d soft | x]                  the same expectation, less variance (Paulus et al. 2021)
reinmax                   dx = 2 d pi_x - dp / 2              pi_x moves as a softmax from (x + p) / 2 (Liu et al. 2023)

For a Bernoulli draw of probability p and a cost f the expected derivatives with respect to the logit are

straight_through  p(1-p) [p f'(1) + (1-p) f'(0)]        reinmax  p(1-p) [f'(1) + f'(0)] / 2

and the truth is p(1-p) [f(1) - f(0)]: reinmax is the trapezium rule, exact for quadratic costs (of one-hot draws too);
straight-through is exact for linear ones, and for quadratic ones at p = 1/2 only. Beyond that any of them may be the
farthest off. All are biased, and know derivatives of the first order only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from framework.capabilities import Capabilities
from framework.config.types import Count, Positive
from framework.errors import ProgramError
from framework.gradients.distributions.noise import gumbel_noise, logistic_noise
from framework.gradients.estimator import first_order_only
from framework.gradients.relaxation.gumbel_softmax import DiscretePath, Tempered
from framework.gradients.surrogate.sampled import SampledSurrogate
from framework.relaxed import note_surrogate_gradient


def approximate(
    forward: Callable[..., Tensor], backward: Callable[..., Tensor] | Literal["straight_through"]
) -> Callable[..., Tensor]:
    """A function with the value of `forward(*inputs)` and the derivatives, of any order, of `backward(*inputs)`.

    An estimate that uses such a derivative is declared biased.

    Args:
        forward: any function of tensors; it is called without gradients.
        backward: a differentiable surrogate; "straight_through": the first input itself.

    Raises:
        ProgramError: when called, a surrogate of another shape than the value.
    """

    def call(*inputs: Tensor) -> Tensor:
        with torch.no_grad():
            value = forward(*(given.detach() for given in inputs))
        surrogate = inputs[0] if backward == "straight_through" else backward(*inputs)
        if value.shape != surrogate.shape:
            raise ProgramError(
                f"approximate: forward gave {list(value.shape)} and backward {list(surrogate.shape)}; "
                "expected the same shape"
            )
        note_surrogate_gradient(surrogate)
        return with_gradient_of(value, surrogate)

    return call


class StraightThrough(DiscretePath):
    """Draw hard and differentiate the mean in its place."""

    name = "straight_through"

    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        mean = torch.sigmoid(logits)
        return with_gradient_of(
            torch.bernoulli(mean.detach()), first_order_only(self.name, site, mean)
        )

    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        mean = torch.softmax(logits, -1)
        hard = one_hot_argmax(logits + gumbel_noise(logits))
        return with_gradient_of(hard, first_order_only(self.name, site, mean))


class StraightThroughGumbel(Tempered):
    """Draw hard and differentiate, in its place, the relaxed draw of the same noise."""

    name = "straight_through_gumbel"

    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        noisy = logits + logistic_noise(logits)
        soft = torch.sigmoid(noisy / self.temperature)
        return with_gradient_of((noisy > 0).to(soft.dtype), first_order_only(self.name, site, soft))

    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        noisy = logits + gumbel_noise(logits)
        soft = torch.softmax(noisy / self.temperature, -1)
        return with_gradient_of(one_hot_argmax(noisy), first_order_only(self.name, site, soft))


class GumbelRao(Tempered):
    """Straight-through Gumbel, its gradient averaged over noise that would have led to the same hard draw."""

    name = "gumbel_rao"

    def __init__(
        self,
        *,
        temperature: Positive = 0.5,
        final_temperature: Positive | None = None,
        anneal_steps: Count = 1000,
        inner_draws: Count = 16,
    ) -> None:
        super().__init__(
            temperature=temperature, final_temperature=final_temperature, anneal_steps=anneal_steps
        )
        self.inner_draws = inner_draws

    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        return self.one_hot(site, as_two_categories(logits))[..., 0]

    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        hard = one_hot_argmax(logits + gumbel_noise(logits))
        noisy = gumbel_given(hard, logits.detach(), self.inner_draws)
        soft = torch.softmax(with_value(noisy, logits) / self.temperature, -1).mean(0)
        return with_gradient_of(hard, first_order_only(self.name, site, soft))


class ReinMax(DiscretePath):
    """Draw hard and differentiate with second-order accuracy, from half-way between the draw and its mean."""

    name = "reinmax"

    def __init__(self, *, temperature: Positive = 1.0) -> None:
        self.temperature = temperature

    def bernoulli(self, site: str, logits: Tensor) -> Tensor:
        with torch.no_grad():
            mean = torch.sigmoid(logits)
            hard = torch.bernoulli(mean)
            half_way = (hard + torch.sigmoid(logits / self.temperature)) / 2
            slope = 2 * half_way * (1 - half_way) - mean * (1 - mean) / 2
        # An infinite logit has a slope of 0.
        limit = torch.finfo(logits.dtype).max
        return with_gradient_of(
            hard, first_order_only(self.name, site, slope * logits.clamp(-limit, limit))
        )

    def one_hot(self, site: str, logits: Tensor) -> Tensor:
        hard = one_hot_argmax(logits + gumbel_noise(logits))
        with torch.no_grad():
            half_way = (hard + torch.softmax(logits / self.temperature, -1)) / 2
        moved = torch.softmax(with_value(half_way.log(), logits), -1)
        soft = 2 * moved - torch.softmax(logits, -1) / 2
        return with_gradient_of(hard, first_order_only(self.name, site, soft))


def with_gradient_of(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, to the last bit, with the derivatives of `soft`."""
    return hard + (soft - soft.detach())


def as_two_categories(logits: Tensor) -> Tensor:
    """A Bernoulli draw's logits as the normalised logits `[..., 2]` of 1 and 0."""
    return torch.stack([logsigmoid(logits), logsigmoid(-logits)], -1)


def one_hot_argmax(noisy: Tensor) -> Tensor:
    """The one-hot vector of the largest element of the last axis."""
    return torch.zeros_like(noisy).scatter(-1, noisy.argmax(-1, keepdim=True), 1.0).detach()


def with_value(value: Tensor, logits: Tensor) -> Tensor:
    """`value` with the derivatives of the logits; what is impossible (-inf) stays so."""
    return logits + torch.where(logits.isneginf(), 0.0, value - logits).detach()


def gumbel_given(hard: Tensor, logits: Tensor, count: int) -> Tensor:
    """Noisy logits `[count, ..., K]` given that their largest element is where `hard` is 1.

    The largest of all is a standard Gumbel draw whatever its place; the others are Gumbel draws cut off there.
    """
    # The logarithms of exponential draws.
    noise = -gumbel_noise(logits.expand(count, *logits.shape))
    largest = (noise * hard).sum(-1, keepdim=True)
    others = torch.logaddexp(noise - logits, largest)
    return -torch.where(hard > 0, largest, others)


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "path"),
    evaluations="n",
    costs="differentiable",
    multi_sample_bounds="served",
    biased=True,
    divided_model=True,
)
def straight_through(*, samples: Count = 64, sites: Mapping[str, Any] = {}) -> SampledSurrogate:
    """Hard draws with the gradient of their mean; the cheapest, and far off for most costs."""
    return SampledSurrogate(StraightThrough(), samples, sites)


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "path"),
    evaluations="n",
    costs="differentiable",
    multi_sample_bounds="served",
    biased=True,
    divided_model=True,
)
def straight_through_gumbel(
    *,
    samples: Count = 64,
    temperature: Positive = 0.5,
    final_temperature: Positive | None = None,
    anneal_steps: Count = 1000,
    sites: Mapping[str, Any] = {},
) -> SampledSurrogate:
    """Hard draws with the gradient of their Gumbel-softmax relaxation; biased."""
    rule = StraightThroughGumbel(
        temperature=temperature, final_temperature=final_temperature, anneal_steps=anneal_steps
    )
    return SampledSurrogate(rule, samples, sites)


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "path"),
    evaluations="n",
    costs="differentiable",
    multi_sample_bounds="served",
    biased=True,
    divided_model=True,
)
def gumbel_rao(
    *,
    samples: Count = 64,
    temperature: Positive = 0.5,
    final_temperature: Positive | None = None,
    anneal_steps: Count = 1000,
    inner_draws: Count = 16,
    sites: Mapping[str, Any] = {},
) -> SampledSurrogate:
    """Straight-through Gumbel averaged over inner draws: the same bias, less variance."""
    rule = GumbelRao(
        temperature=temperature,
        final_temperature=final_temperature,
        anneal_steps=anneal_steps,
        inner_draws=inner_draws,
    )
    return SampledSurrogate(rule, samples, sites)


@Capabilities(
    draws=("Bernoulli", "OneHotCategorical", "path"),
    evaluations="n",
    costs="differentiable",
    multi_sample_bounds="served",
    biased=True,
    bias="except for quadratic costs",
    divided_model=True,
)
def reinmax(
    *, samples: Count = 64, temperature: Positive = 1.0, sites: Mapping[str, Any] = {}
) -> SampledSurrogate:
    """Hard draws with a second-order accurate gradient: exact for quadratic costs, else biased."""
    return SampledSurrogate(ReinMax(temperature=temperature), samples, sites)
