"""Heads: from features to a distribution over actions, one for each kind of action space.

A head's actions are the distribution's samples; `to_environment` turns them into the environment's actions (a number
between 0 and 1 into a torque, say). Log-probabilities are always those of the sample, so nothing is lost by clipping,
and in single precision under autocast, too: learning compares them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Beta, Categorical, Distribution, Independent, Normal
from torch.nn.functional import softplus

from framework.errors import UserError
from plugins.games.policies.bodies import initialised

# Values of a whole number that is chosen.
MOST = 256
Continuous = Literal["clipped", "squashed", "beta"]


class Head(nn.Module):
    """From features `[*batch, F]` to a distribution of batch shape `[*batch]`."""

    # Entries of an action mask; continuous actions have none.
    choices: int = 0

    @abstractmethod
    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        """The policy; actions whose `mask` is false have probability 0."""

    def greedy(self, policy: Distribution) -> Tensor:
        """The most likely action."""
        return policy.mode

    def to_environment(self, actions: Tensor) -> Tensor:
        """The environment's actions for sampled ones."""
        return actions


class DiscreteHead(Head):
    """One choice among A actions."""

    def __init__(self, features: int, choices: int, first: int = 0) -> None:
        super().__init__()
        self.linear = initialised(nn.Linear(features, choices), 0.01)
        self.choices = choices
        self.first = first

    def forward(self, features: Tensor, mask: Tensor | None = None) -> GumbelMaxCategorical:
        return GumbelMaxCategorical(mask_logits(self.linear(features).float(), mask))

    def greedy(self, policy: Distribution) -> Tensor:
        assert isinstance(policy, GumbelMaxCategorical)
        return policy.unnormalised.argmax(-1)

    def to_environment(self, actions: Tensor) -> Tensor:
        return actions + self.first if self.first else actions


class MultiDiscreteHead(Head):
    """Several choices at once, independent of each other given the features: actions `[*batch, K]`.

    Args:
        sizes: how many values each has.
        first: the lowest of them, `[K]`; None: 0.
        shape: of the environment's actions.
    """

    first: Tensor | None

    def __init__(
        self,
        features: int,
        sizes: list[int],
        first: NDArray[Any] | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.sizes, self.choices = sizes, sum(sizes)
        self.shape = tuple(shape or (len(sizes),))
        lowest = None if first is None or not first.any() else torch.as_tensor(first.astype(int))
        self.register_buffer("first", lowest, persistent=False)
        self.linear = initialised(nn.Linear(features, self.choices), 0.01)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        return MultiCategorical(mask_logits(self.linear(features).float(), mask), self.sizes)

    def to_environment(self, actions: Tensor) -> Tensor:
        if self.first is not None:
            actions = actions + self.first
        return actions if len(self.shape) == 1 else actions.unflatten(-1, self.shape)


class GaussianHead(Head):
    """A normal distribution for each number of a bounded or unbounded box; its deviation does not depend on features.

    `clipped`: the box's ends are -1 and 1, and samples beyond are clipped to them; in a box that lacks an end
    somewhere, samples are used as they are, clipped at the ends that there are. `squashed`: tanh of a normal sample,
    always inside.
    """

    low: Tensor
    high: Tensor

    def __init__(self, features: int, space: Box, log_std_init: float, squashed: bool) -> None:
        super().__init__()
        self.shape = space.shape
        self.squashed = squashed
        self.bounded = bool(space.is_bounded())
        if squashed and not self.bounded:
            raise UserError(
                f"task.continuous = 'squashed' needs bounds, and the actions are {space}; choices: clipped"
            )
        self.linear = initialised(nn.Linear(features, math.prod(space.shape)), 0.01)
        self.log_std = nn.Parameter(torch.full((math.prod(space.shape),), log_std_init))
        register_bounds(self, space)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        mean = self.linear(features).float()
        kind = SquashedNormal if self.squashed else Gaussian
        each = kind(mean, self.log_std.exp().expand_as(mean), validate_args=False)
        return Independent(each, 1, validate_args=False)

    def to_environment(self, actions: Tensor) -> Tensor:
        if not self.bounded:
            return torch.unflatten(actions.clamp(self.low, self.high), -1, self.shape)
        if self.squashed:
            actions = actions.tanh()
        inside = self.low + (self.high - self.low) * (actions.clamp(-1, 1) + 1) / 2
        return torch.unflatten(inside, -1, self.shape)


class BetaHead(Head):
    """A Beta distribution with one peak for each number of a bounded box; samples lie in (0, 1)."""

    low: Tensor
    high: Tensor

    def __init__(self, features: int, space: Box) -> None:
        super().__init__()
        if not space.is_bounded():
            raise UserError(
                f"task.continuous = 'beta' needs bounds, and the actions are {space}; choices: clipped"
            )
        self.shape = space.shape
        self.linear = initialised(nn.Linear(features, 2 * math.prod(space.shape)), 0.01)
        register_bounds(self, space)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        a, b = (1 + softplus(self.linear(features).float())).chunk(2, -1)
        return Independent(OpenBeta(a, b, validate_args=False), 1, validate_args=False)

    def greedy(self, policy: Distribution) -> Tensor:
        return policy.mean

    def to_environment(self, actions: Tensor) -> Tensor:
        return torch.unflatten(self.low + (self.high - self.low) * actions, -1, self.shape)


class GumbelMaxCategorical(Categorical):
    """A categorical distribution for the many small steps of a game.

    Logits are normalised only where a probability is asked for, and a sample is the argmax of the logits plus Gumbel
    noise: torch's own sampling inspects the probabilities first and so synchronises with an accelerator.
    """

    def __init__(self, logits: Tensor) -> None:
        self.unnormalised = self._param = logits
        self._num_events = logits.shape[-1]
        Distribution.__init__(self, logits.shape[:-1], validate_args=False)

    @cached_property
    def logits(self) -> Tensor:
        """Normalised."""
        return self.unnormalised.log_softmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            exponential = self.unnormalised.new_empty(
                (*sample_shape, *self.unnormalised.shape)
            ).exponential_()
            least = torch.finfo(exponential.dtype).tiny
            return (self.unnormalised - exponential.clamp_(min=least).log_()).argmax(-1)

    def entropy(self) -> Tensor:
        allowed = self.logits.clamp(min=torch.finfo(self.logits.dtype).min)
        return -(allowed * self.logits.exp()).sum(-1)


class MultiCategorical(Distribution):
    """Independent choices of given sizes; values `[*batch, K]`."""

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012  (torch's own protocol)

    def __init__(self, logits: Tensor, sizes: list[int]) -> None:
        parts = logits.split(sizes, -1)
        self.choices = [GumbelMaxCategorical(part) for part in parts]
        super().__init__(logits.shape[:-1], torch.Size((len(sizes),)), validate_args=False)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.stack([choice.sample(torch.Size(sample_shape)) for choice in self.choices], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        parts = zip(self.choices, value.unbind(-1), strict=True)
        return torch.stack([choice.log_prob(part) for choice, part in parts]).sum(0)

    def entropy(self) -> Tensor:
        return torch.stack([choice.entropy() for choice in self.choices]).sum(0)

    @property
    def mode(self) -> Tensor:
        return torch.stack([choice.unnormalised.argmax(-1) for choice in self.choices], -1)


class Gaussian(Normal):
    """A normal distribution; torch's own sampling inspects the scale first and so synchronises with an accelerator."""

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            noise = self.loc.new_empty((*sample_shape, *self.loc.shape)).normal_()
            return noise.mul_(self.scale).add_(self.loc)


class SquashedNormal(Gaussian):
    """The density of tanh of a normal sample; its samples are those before tanh, which `GaussianHead` applies.

    Near the ends tanh rounds to 1, and no sample could be recovered from its action. The entropy has no closed form.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Of the action `tanh(value)` (Haarnoja et al. 2018, appendix C)."""
        # log(1 - tanh(x)^2)
        log_slope = 2 * (math.log(2) - value - softplus(-2 * value))
        log_prob: Tensor = super().log_prob(value)
        return log_prob - log_slope

    def entropy(self) -> Tensor:
        raise NotImplementedError


class OpenBeta(Beta):
    """A Beta distribution whose samples that were rounded to 0 or 1 keep a finite log-probability."""

    def log_prob(self, value: Tensor) -> Tensor:
        log_prob: Tensor = super().log_prob(value.clamp(1e-6, 1 - 1e-6))
        return log_prob


def make_head(
    features: int, actions: Space[Any], continuous: Continuous, log_std_init: float
) -> Head:
    """The head that serves an action space.

    Raises:
        UserError: a space that none serves, or a distribution that needs bounds which the space lacks.
    """
    if isinstance(actions, Discrete):
        return DiscreteHead(features, int(actions.n), int(actions.start))
    if isinstance(actions, MultiDiscrete):
        sizes = [int(n) for n in actions.nvec.flatten()]
        return MultiDiscreteHead(features, sizes, actions.start.flatten(), actions.shape)
    if isinstance(actions, MultiBinary):
        return MultiDiscreteHead(features, [2] * math.prod(actions.shape), None, actions.shape)
    if isinstance(actions, Box) and actions.dtype is not None and actions.dtype.kind in "iu":
        return whole_numbers_head(features, actions)
    if isinstance(actions, Box) and actions.dtype is not None and actions.dtype.kind == "f":
        if continuous == "beta":
            return BetaHead(features, actions)
        return GaussianHead(features, actions, log_std_init, continuous == "squashed")
    raise UserError(
        f"no policy serves the actions {actions}; served are Discrete, MultiDiscrete, MultiBinary and Box"
    )


def whole_numbers_head(features: int, space: Box) -> MultiDiscreteHead:
    """A choice for each whole number of a box.

    Raises:
        UserError: a number with more than `MOST` values.
    """
    low, high = space.low.astype(int).flatten(), space.high.astype(int).flatten()
    sizes = [int(n) for n in high - low + 1]
    if max(sizes) > MOST:
        raise UserError(
            f"no policy serves the actions {space}: whole numbers have {MOST} values at most; declare floats"
        )
    return MultiDiscreteHead(features, sizes, low, space.shape)


def mask_logits(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits with the lowest finite number for forbidden actions: probability 0 and no part in the entropy."""
    return (
        logits if mask is None else logits.masked_fill(~mask.bool(), torch.finfo(logits.dtype).min)
    )


def register_bounds(head: nn.Module, space: Box) -> None:
    for name, bound in (("low", space.low), ("high", space.high)):
        flat = torch.as_tensor(bound, dtype=torch.float32).flatten()
        head.register_buffer(name, flat, persistent=False)
