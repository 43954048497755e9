"""Optimisers and learning-rate schedules by name.

An optimiser is a function from parameters to a `torch.optim` optimiser; torch is imported inside it, so that a
configuration's keys are checked before torch is loaded. A schedule is a function from the run's length to a pure
function `step -> factor` of the learning rate: resuming it needs no state. Keyword arguments are the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from framework.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

Rate = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Schedule = Callable[[int], float]


def adam(
    parameters: Iterable[Tensor],
    *,
    learning_rate: Rate = 1e-3,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    epsilon: Rate = 1e-8,
) -> Optimizer:
    """Adam (Kingma & Ba 2015), all parameters in one pass."""
    from torch.optim import Adam

    from framework.eager_optimizer import eager

    betas = (beta1, beta2)
    return eager(Adam)(parameters, lr=learning_rate, betas=betas, eps=epsilon, fused=True)


def adamw(
    parameters: Iterable[Tensor],
    *,
    learning_rate: Rate = 1e-3,
    beta1: Fraction = 0.9,
    beta2: Fraction = 0.999,
    epsilon: Rate = 1e-8,
    weight_decay: Decay = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    from torch.optim import AdamW

    from framework.eager_optimizer import eager

    betas = (beta1, beta2)
    return eager(AdamW)(
        decayed(parameters, weight_decay),
        lr=learning_rate,
        betas=betas,
        eps=epsilon,
        weight_decay=weight_decay,
        fused=True,
    )


def sgd(
    parameters: Iterable[Tensor],
    *,
    learning_rate: Rate = 1e-2,
    momentum: Fraction = 0.0,
    nesterov: bool = False,
    weight_decay: Decay = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with or without momentum."""
    from torch.optim import SGD

    from framework.eager_optimizer import eager

    if nesterov and momentum == 0:
        raise UserError("optimizer.nesterov = True: expected optimizer.momentum above 0 with it")

    return eager(SGD)(
        decayed(parameters, weight_decay),
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )


def rmsprop(
    parameters: Iterable[Tensor],
    *,
    learning_rate: Rate = 1e-3,
    alpha: Fraction = 0.99,
    epsilon: Rate = 1e-8,
    momentum: Fraction = 0.0,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012)."""
    from torch.optim import RMSprop

    from framework.eager_optimizer import eager

    return eager(RMSprop)(parameters, lr=learning_rate, alpha=alpha, eps=epsilon, momentum=momentum)


def decayed(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters in groups: one whose class says `no_weight_decay`, such as a class prototype, has no weight decay."""
    groups: dict[bool, list[Tensor]] = {False: [], True: []}
    for parameter in parameters:
        groups[getattr(parameter, "no_weight_decay", False)].append(parameter)
    return [
        {"params": members, "weight_decay": 0.0 if no_weight_decay else weight_decay}
        for no_weight_decay, members in groups.items()
        if members
    ]


def constant(steps: int, *, warmup: Count = 0) -> Schedule:
    """The same learning rate throughout, after `warmup` steps of linear rise."""
    return lambda step: warmup_factor(step, warmup)


def cosine(steps: int, *, warmup: Count = 0, final: Share = 0.0) -> Schedule:
    """Half a cosine from the full learning rate down to `final` times it at the last step."""

    def factor(step: int) -> float:
        fall = 0.5 * (1 + math.cos(math.pi * progress(step, warmup, steps)))
        return warmup_factor(step, warmup) * (final + (1 - final) * fall)

    return factor


def linear(steps: int, *, warmup: Count = 0, final: Share = 0.0) -> Schedule:
    """A straight line from the full learning rate down to `final` times it at the last step."""

    def factor(step: int) -> float:
        return warmup_factor(step, warmup) * (1 - (1 - final) * progress(step, warmup, steps))

    return factor


def checked(schedule: Callable[[int], Any]) -> Schedule:
    """A schedule of the user's own, which is asked once for each step.

    Raises:
        UserError: by the schedule, where the function gives no number from 0 on.
    """

    def factor(step: int) -> float:
        given = schedule(step)
        if isinstance(given, Real) and 0 <= float(given) < math.inf:
            return float(given)
        raise UserError(
            f"scheduler: the function gave {given!r} for step {step}; expected a factor of the learning rate, 0 or more"
        )

    return factor


def warmup_factor(step: int, warmup: int) -> float:
    """The warm-up's factor: linear up to 1, which step number `warmup` is the first to have."""
    return min(1.0, (step + 1) / (warmup + 1))


def progress(step: int, warmup: int, steps: int) -> float:
    """How much of the time after the warm-up is over, from 0 to 1."""
    return min(1.0, max(0.0, (step - warmup) / max(1, steps - warmup)))
