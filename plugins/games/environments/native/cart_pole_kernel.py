"""Cart-poles by one kernel for many steps: the state stays in registers, and only what is asked for is written.

The same equations as in `cart_pole`, under given actions; first states are drawn in the kernel. Needs Triton, which
torch brings where it has CUDA.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from framework.randomness import fresh_key
from plugins.games.environments.games import Outcome
from plugins.games.environments.native.cart_pole import (
    FARTHEST,
    FORCE,
    GRAVITY,
    LEVER,
    MASS,
    POLE,
    START,
    STEEPEST,
    TIME_STEP,
    CartPole,
)

# Games of a program.
BLOCK = 128
# What the kernel's steps are made of, each folded into one number.
CONSTANTS = {
    "low": START,
    "left": -FORCE / MASS,
    "twice": 2 * FORCE / MASS,
    "fall": GRAVITY / LEVER,
    "inertia": -4 / 3 * MASS / POLE,
    "lever": LEVER,
    "over_lever": 1 / LEVER,
    "step": TIME_STEP,
    "farthest": FARTHEST,
    "steepest": STEEPEST,
}


@triton.jit
def _play(  # type: ignore[no-untyped-def]
    state,
    clock,
    ended,
    actions,
    first,
    seed,
    seen,
    rewards,
    terminated,
    truncated,
    valid,
    begins,
    steps,
    games,
    limit,
    low: tl.constexpr,
    left: tl.constexpr,
    twice: tl.constexpr,
    fall: tl.constexpr,
    inertia: tl.constexpr,
    lever: tl.constexpr,
    over_lever: tl.constexpr,
    step: tl.constexpr,
    farthest: tl.constexpr,
    steepest: tl.constexpr,
    given: tl.constexpr,
    block: tl.constexpr,
):
    game = tl.program_id(0) * block + tl.arange(0, block)
    here = game < games
    place = tl.load(state + game, mask=here, other=0.0)
    speed = tl.load(state + games + game, mask=here, other=0.0)
    angle = tl.load(state + 2 * games + game, mask=here, other=0.0)
    spin = tl.load(state + 3 * games + game, mask=here, other=0.0)
    time = tl.load(clock + game, mask=here, other=0)
    over = tl.load(ended + game, mask=here, other=0) != 0
    for t in range(steps):
        action = tl.load(actions + t * games + game, mask=here, other=0).to(tl.float32)
        cosine, sine = tl.cos(angle), tl.sin(angle)
        push = left + twice * action - lever * spin * spin * sine
        turning = (fall * sine - over_lever * cosine * push) / (inertia + cosine * cosine)
        pushing = push + lever * turning * cosine
        place, speed, angle, spin = (
            place + step * speed,
            speed + step * pushing,
            angle + step * spin,
            spin + step * turning,
        )
        if given:
            offset = 4 * t * games + game
            a = tl.load(first + offset, mask=here, other=0.0)
            b = tl.load(first + offset + games, mask=here, other=0.0)
            c = tl.load(first + offset + 2 * games, mask=here, other=0.0)
            d = tl.load(first + offset + 3 * games, mask=here, other=0.0)
        else:
            offset = 4 * (t * games + game)
            a = low * (1 - 2 * tl.rand(seed, offset))
            b = low * (1 - 2 * tl.rand(seed, offset + 1))
            c = low * (1 - 2 * tl.rand(seed, offset + 2))
            d = low * (1 - 2 * tl.rand(seed, offset + 3))
        place, speed = tl.where(over, a, place), tl.where(over, b, speed)
        angle, spin = tl.where(over, c, angle), tl.where(over, d, spin)
        time = tl.where(over, 0, time + 1)
        real = ~over
        fell = real & ((tl.abs(place) > farthest) | (tl.abs(angle) > steepest))
        cut = (time >= limit) & ~fell
        row = t * games + game
        tl.store(seen + 4 * t * games + game, place, mask=here)
        tl.store(seen + (4 * t + 1) * games + game, speed, mask=here)
        tl.store(seen + (4 * t + 2) * games + game, angle, mask=here)
        tl.store(seen + (4 * t + 3) * games + game, spin, mask=here)
        tl.store(rewards + row, real.to(tl.float32), mask=here)
        tl.store(terminated + row, fell.to(tl.int8), mask=here)
        tl.store(truncated + row, cut.to(tl.int8), mask=here)
        tl.store(valid + row, real.to(tl.int8), mask=here)
        tl.store(begins + row, over.to(tl.int8), mask=here)
        over = fell | cut
    tl.store(state + game, place, mask=here)
    tl.store(state + games + game, speed, mask=here)
    tl.store(state + 2 * games + game, angle, mask=here)
    tl.store(state + 3 * games + game, spin, mask=here)
    tl.store(clock + game, time, mask=here)
    tl.store(ended + game, over.to(tl.int8), mask=here)


@torch.no_grad()
def play(games: CartPole, actions: Tensor, first: Tensor | None = None) -> Outcome:
    """Play T steps in each game and advance them, as T calls of `games.step` do.

    Args:
        actions: `[T, N]`.
        first: `[T, 4, N]`, the first states of episodes that begin with a step; None: drawn by the kernel, from a
            stream that torch's generator gives.

    Returns:
        every tensor with a leading axis T; observations are `[T, N, 4]`.
    """
    steps, count = actions.shape
    device, rows = games.device, (steps, count)
    state = games.state["seen"].T.contiguous()
    clock, ended = games.clock.clone(), games.ended.to(torch.int8)
    seen = torch.empty(steps, 4, count, device=device)
    rewards = torch.empty(rows, device=device)
    flags = torch.empty(4, *rows, dtype=torch.int8, device=device)
    _play[(triton.cdiv(count, BLOCK),)](
        state,
        clock,
        ended,
        actions.contiguous(),
        seen if first is None else first.contiguous(),
        # Of the CPU's generator: nothing is waited for.
        fresh_key() % 2**31 if first is None else 0,
        seen,
        rewards,
        *flags,
        steps,
        count,
        games.time_limit,
        **CONSTANTS,
        given=first is not None,
        block=BLOCK,
    )
    games.state, games.clock, games.ended = {"seen": state.T}, clock, ended.bool()
    terminated, truncated, valid, begins = flags.bool()
    return Outcome(seen.transpose(1, 2), rewards, terminated, truncated, valid, begins)
