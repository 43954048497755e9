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

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Beta, Categorical, Distribution, Independent, Normal
from torch.nn.functional import softplus

from framework.errors import UserError
from plugins.games.policies.bodies import MOST_VALUES, initialised

# Values of a whole number that is chosen.
MOST = 256
Continuous = Literal["clipped", "squashed", "bounded", "beta"]
# The logarithm of a deviation that depends on features, at least and at most (Haarnoja et al. 2018).
LOG_STD = (-20.0, 2.0)


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

    def to_unit(self, actions: Tensor) -> Tensor:
        """What a critic reads of sampled actions: numbers from -1 to 1, or which one of several."""
        return actions

    def from_unit(self, unit: Tensor) -> Tensor:
        """The environment's actions for what a critic reads."""
        return self.to_environment(unit)

    def any_action(self, policy: Distribution) -> Tensor:
        """Actions with equal chances, as a critic reads them; `policy` says how many and which are allowed."""
        raise NotImplementedError


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
    """A normal distribution for each number of a bounded or unbounded box.

    `clipped`: the box's ends are -1 and 1, and samples beyond are clipped to them; in a box that lacks an end
    somewhere, samples are used as they are, clipped at the ends that there are. `bounded`: the same about a mean that
    is always inside. `squashed`: tanh of a normal sample, always inside.

    Args:
        state_dependent_std: the deviation depends on the features; else it is a parameter of its own.
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        space: Box,
        log_std_init: float,
        kind: Continuous,
        state_dependent_std: bool = False,
    ) -> None:
        super().__init__()
        self.shape = space.shape
        self.kind = kind
        self.state_dependent_std = state_dependent_std
        self.log_std_init = log_std_init
        # The largest number of a type is no bound: to be bounded, a box must have a width.
        with numpy.errstate(over="ignore"):
            width = space.high.astype(numpy.float32) - space.low.astype(numpy.float32)
        self.bounded = bool(numpy.isfinite(width).all())
        if kind != "clipped" and not self.bounded:
            raise UserError(
                f"task.continuous = '{kind}' needs bounds, and the actions are {space}; choices: clipped"
            )
        count = math.prod(space.shape)
        outputs = 2 * count if state_dependent_std else count
        self.linear = initialised(nn.Linear(features, outputs), 0.01)
        if not state_dependent_std:
            self.log_std = nn.Parameter(torch.full((count,), log_std_init))
        register_bounds(self, space)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Distribution:
        mean = self.linear(features).float()
        if self.state_dependent_std:
            mean, log_std = mean.chunk(2, -1)
            deviation = (log_std + self.log_std_init).clamp(*LOG_STD).exp()
        else:
            deviation = self.log_std.exp().expand_as(mean)
        if self.kind == "bounded":
            mean = mean.tanh()
        family = SquashedNormal if self.kind == "squashed" else Gaussian
        return Independent(family(mean, deviation, validate_args=False), 1, validate_args=False)

    def to_unit(self, actions: Tensor) -> Tensor:
        return (actions.tanh() if self.kind == "squashed" else actions).clamp(-1, 1)

    def from_unit(self, unit: Tensor) -> Tensor:
        return shaped(self.low + (self.high - self.low) * (unit + 1) / 2, self.shape)

    def any_action(self, policy: Distribution) -> Tensor:
        return 2 * torch.rand_like(policy.mean) - 1

    def to_environment(self, actions: Tensor) -> Tensor:
        if not self.bounded:
            return shaped(actions.clamp(self.low, self.high), self.shape)
        return self.from_unit(self.to_unit(actions))


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
        return shaped(self.low + (self.high - self.low) * actions, self.shape)


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
    features: int,
    actions: Space[Any],
    continuous: Continuous,
    log_std_init: float,
    state_dependent_std: bool = False,
) -> Head:
    """The head that serves an action space.

    Raises:
        UserError: a space that none serves, or a distribution that needs bounds which the space lacks.
    """
    refuse_too_many(actions)
    if isinstance(actions, Discrete):
        return DiscreteHead(features, int(actions.n), int(actions.start))
    if isinstance(actions, MultiDiscrete):
        sizes = [int(n) for n in actions.nvec.flatten()]
        return MultiDiscreteHead(features, sizes, actions.start.flatten(), actions.shape)
    if isinstance(actions, MultiBinary):
        return MultiDiscreteHead(features, [2] * math.prod(actions.shape), None, actions.shape)
    if isinstance(actions, Box) and actions.dtype is not None and actions.dtype.kind in "iub":
        return whole_numbers_head(features, actions)
    if isinstance(actions, Box) and actions.dtype is not None and actions.dtype.kind == "f":
        if continuous == "beta":
            return BetaHead(features, actions)
        return GaussianHead(features, actions, log_std_init, continuous, state_dependent_std)
    raise UserError(
        f"no policy serves the actions {actions}; served are Discrete, MultiDiscrete, MultiBinary and Box"
    )


def refuse_too_many(actions: Space[Any]) -> None:
    """Refuse what would need a layer of an output for each of too many choices.

    Raises:
        UserError: names the space.
    """
    sizes: Any = 0
    if isinstance(actions, Discrete):
        sizes = actions.n
    elif isinstance(actions, MultiDiscrete):
        sizes = actions.nvec
    elif isinstance(actions, MultiBinary | Box):
        sizes = (2 if isinstance(actions, MultiBinary) else 1) * math.prod(actions.shape)
    count = int(numpy.sum(sizes, dtype=float))
    if count > MOST_VALUES:
        raise UserError(
            f"no policy serves the actions {actions}: {count:,} choices, and {MOST_VALUES:,} at most can have "
            "outputs of their own; declare several smaller ones (MultiDiscrete)"
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


def shaped(actions: Tensor, shape: Sequence[int]) -> Tensor:
    """Numbers `[*batch, count]` as actions `[*batch, *shape]`; a box without axes has one number."""
    return actions.unflatten(-1, tuple(shape)) if shape else actions.squeeze(-1)


def mask_logits(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Logits with the lowest finite number for forbidden actions: probability 0 and no part in the entropy."""
    return (
        logits if mask is None else logits.masked_fill(~mask.bool(), torch.finfo(logits.dtype).min)
    )


def register_bounds(head: nn.Module, space: Box) -> None:
    for name, bound in (("low", space.low), ("high", space.high)):
        flat = torch.as_tensor(bound, dtype=torch.float32).flatten()
        head.register_buffer(name, flat, persistent=False)
