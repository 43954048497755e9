"""GAE, V-trace, UPGO and their common recurrence as one kernel each: a lane for each game, the last step first.

In torch they are a launch for each step, and some for all the terms; here each is one in all, and what is between the
record and the result is never written. The formulas are those of advantages.py. Needs Triton, which torch brings where
it has CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from framework.gradients.policy_gradient.advantages import Transitions

# Games of a program.
BLOCK = 128


@triton.jit
def _backwards(terms, factors, result, steps, games, block: tl.constexpr):  # type: ignore[no-untyped-def]
    game = tl.program_id(0) * block + tl.arange(0, block)
    here = game < games
    after = tl.zeros((block,), dtype=terms.dtype.element_ty)
    for back in range(steps):
        place = (steps - 1 - back) * games + game
        term = tl.load(terms + place, mask=here, other=0.0)
        factor = tl.load(factors + place, mask=here, other=0.0)
        after = term + factor * after
        tl.store(result + place, after, mask=here)


@triton.jit
def _step(rewards, values, following, over, cut, valid, place, here, discount):  # type: ignore[no-untyped-def]
    """V(s_t), the error delta_t, and whether the episode goes on after the step."""
    terminated = tl.load(over + place, mask=here, other=0) != 0
    truncated = tl.load(cut + place, mask=here, other=0) != 0
    real = tl.load(valid + place, mask=here, other=0) != 0
    value = tl.load(values + place, mask=here, other=0.0)
    earned = tl.load(rewards + place, mask=here, other=0.0)
    after = discount * tl.load(following + place, mask=here, other=0.0)
    error = earned + tl.where(terminated, 0.0, after) - value
    return value, tl.where(real, error, 0.0), real & ~(terminated | truncated)


@triton.jit
def _gae(  # type: ignore[no-untyped-def]
    rewards,
    values,
    following,
    over,
    cut,
    valid,
    result,
    steps,
    games,
    discount,
    decay,
    upgoing: tl.constexpr,
    block: tl.constexpr,
):
    """GAE where `decay` is gamma lambda; UPGO where it is gamma, and only what beat its prediction is carried."""
    game = tl.program_id(0) * block + tl.arange(0, block)
    here = game < games
    advantage = tl.zeros((block,), dtype=rewards.dtype.element_ty)
    beaten = here & (game < 0)
    for back in range(steps):
        place = (steps - 1 - back) * games + game
        _, error, goes_on = _step(
            rewards, values, following, over, cut, valid, place, here, discount
        )
        if upgoing:
            goes_on = goes_on & beaten
        carried = tl.where(goes_on, decay * advantage, 0.0)
        advantage = (error + carried).to(rewards.dtype.element_ty)
        beaten = error >= 0
        tl.store(result + place, advantage, mask=here)


@triton.jit
def _vtrace(  # type: ignore[no-untyped-def]
    rewards,
    values,
    following,
    over,
    cut,
    valid,
    ratios,
    targets,
    advantages,
    steps,
    games,
    discount,
    decay,
    rho_bar,
    c_bar,
    block: tl.constexpr,
):
    game = tl.program_id(0) * block + tl.arange(0, block)
    here = game < games
    correction = tl.zeros((block,), dtype=rewards.dtype.element_ty)
    for back in range(steps):
        place = (steps - 1 - back) * games + game
        value, error, goes_on = _step(
            rewards, values, following, over, cut, valid, place, here, discount
        )
        ratio = tl.load(ratios + place, mask=here, other=0.0)
        # Not by a minimum, which would hide that a ratio is no number.
        rho, c = tl.where(ratio > rho_bar, rho_bar, ratio), tl.where(ratio > c_bar, c_bar, ratio)
        after = tl.where(goes_on, discount * correction, 0.0)
        tl.store(advantages + place, rho * (error + after), mask=here)
        carried = tl.where(goes_on, decay * c * correction, 0.0)
        correction = (rho * error + carried).to(rewards.dtype.element_ty)
        tl.store(targets + place, value + correction, mask=here)


def backwards(terms: Tensor, factors: Tensor) -> Tensor:
    """x_t = terms_t + factors_t x_{t+1}, `[T, N]`, beginning at the end with 0; carries no gradient."""
    terms, factors = terms.detach().contiguous(), factors.detach().contiguous()
    result = torch.empty_like(terms)
    steps, games = terms.shape
    _backwards[grid(games)](terms, factors, result, steps, games, block=BLOCK)
    return result


def gae(steps: Transitions, discount: float, gae_lambda: float) -> Tensor:
    """As advantages.py has it."""
    given = tensors_of(steps)
    result = torch.empty_like(given[0])
    numbers = (*result.shape, discount, discount * gae_lambda)
    _gae[grid(result.shape[1])](*given, result, *numbers, upgoing=False, block=BLOCK)
    return result


def upgo(steps: Transitions, discount: float) -> Tensor:
    """As advantages.py has it."""
    given = tensors_of(steps)
    result = torch.empty_like(given[0])
    numbers = (*result.shape, discount, discount)
    _gae[grid(result.shape[1])](*given, result, *numbers, upgoing=True, block=BLOCK)
    return result


def vtrace(
    steps: Transitions,
    ratios: Tensor,
    discount: float,
    gae_lambda: float,
    rho_bar: float,
    c_bar: float,
) -> tuple[Tensor, Tensor]:
    """As advantages.py has it; carries no gradient."""
    given = tensors_of(steps)
    targets, advantages = torch.empty_like(given[0]), torch.empty_like(given[0])
    numbers = (*targets.shape, discount, discount * gae_lambda, rho_bar, c_bar)
    ratios = ratios.detach().to(given[0].dtype).contiguous()
    _vtrace[grid(targets.shape[1])](*given, ratios, targets, advantages, *numbers, block=BLOCK)
    return targets, advantages


def tensors_of(steps: Transitions) -> tuple[Tensor, ...]:
    """What a kernel reads of a record: three tensors of numbers of one kind, and three of bytes."""
    numbers = (steps.rewards, steps.values, steps.next_values)
    flags = (steps.terminated, steps.truncated, steps.valid)
    kind = steps.rewards.dtype
    return (
        *(number.detach().to(kind).contiguous() for number in numbers),
        *(flag.contiguous().view(torch.uint8) for flag in flags),
    )


def grid(games: int) -> tuple[int]:
    return (triton.cdiv(games, BLOCK),)
