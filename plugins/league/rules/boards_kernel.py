"""Boards of stones by one kernel for many moves: a match stays in registers, and each that ends begins again at once.

The same rules as in `connect_four` and `tic_tac_toe`, under given moves or random ones. Needs Triton, which torch
brings where it has CUDA.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from framework.randomness import fresh_key
from plugins.league.rules.boards import BoardRules
from plugins.league.rules.connect_four import DIRECTIONS, ROWS, STRIDE, ConnectFour

# Boards of a program.
BLOCK = 128
# Of Connect Four a column by its lowest cell.
COLUMN = tl.constexpr((1 << ROWS) - 1)
UP, RIGHT, RISING, FALLING = (tl.constexpr(step) for step in DIRECTIONS)
# Of tic-tac-toe the cells at which a row, a column and both diagonals begin.
LEFT, TOP, FIRST, THIRD = (tl.constexpr(cells) for cells in (0o111, 0o007, 0o001, 0o004))


@dataclass(frozen=True)
class Moves:
    """T moves on each of N boards, every tensor `[T, N]`.

    Attributes:
        own, occupied: the stones of the one who was to move and those of both, before the move.
        second: whether that was the second player.
        actions: what was played.
        gained: what the first player gained by it.
        ended: whether the match ended with it: the next one begins on that board.
    """

    own: Tensor
    occupied: Tensor
    second: Tensor
    actions: Tensor
    gained: Tensor
    ended: Tensor


@triton.jit
def _four(stones, step):  # type: ignore[no-untyped-def]
    """Whether four stones lie in a line; the bits above the columns are empty, which keeps lines from running on."""
    pairs = stones & (stones >> step)
    return pairs & (pairs >> (step + step))


@triton.jit
def _three(stones, step, begins):  # type: ignore[no-untyped-def]
    return stones & (stones >> step) & (stones >> (step + step)) & begins


@triton.jit
def _has_won(stones, falling: tl.constexpr):  # type: ignore[no-untyped-def]
    if falling:
        upright = _four(stones, UP) | _four(stones, RIGHT)
        line = upright | _four(stones, RISING) | _four(stones, FALLING)
    else:
        upright = _three(stones, 1, LEFT) | _three(stones, 3, TOP)
        line = upright | _three(stones, 4, FIRST) | _three(stones, 2, THIRD)
    return line != 0


@triton.jit
def _any_free(occupied, chance, choices: tl.constexpr, stride: tl.constexpr, top: tl.constexpr):  # type: ignore[no-untyped-def]
    """One of the actions that are allowed, each as likely: the one before which a share `chance` of them lies."""
    count = tl.zeros(occupied.shape, tl.int32)
    for action in tl.static_range(choices):
        count += ((occupied >> (stride * action + top)) & 1 == 0).to(tl.int32)
    left = tl.minimum((chance * count).to(tl.int32), count - 1)
    chosen = tl.zeros(occupied.shape, tl.int64)
    for action in tl.static_range(choices):
        free = (occupied >> (stride * action + top)) & 1 == 0
        chosen = tl.where(free & (left == 0), action, chosen)
        left -= free.to(tl.int32)
    return chosen


@triton.jit
def _play(  # type: ignore[no-untyped-def]
    state,
    turn,
    seen,
    movers,
    actions,
    gained,
    ended,
    seed,
    full,
    steps,
    boards,
    choices: tl.constexpr,
    stride: tl.constexpr,
    top: tl.constexpr,
    falling: tl.constexpr,
    given: tl.constexpr,
    block: tl.constexpr,
):
    board = tl.program_id(0) * block + tl.arange(0, block)
    here = board < boards
    own = tl.load(state + board, mask=here, other=0)
    occupied = tl.load(state + boards + board, mask=here, other=0)
    second = tl.load(turn + board, mask=here, other=0)
    for t in range(steps):
        row = t * boards + board
        tl.store(seen + row, own, mask=here)
        tl.store(seen + steps * boards + row, occupied, mask=here)
        tl.store(movers + row, second, mask=here)
        if given:
            action = tl.load(actions + row, mask=here, other=0)
        else:
            action = _any_free(occupied, tl.rand(seed, row), choices, stride, top)
            tl.store(actions + row, action, mask=here)
        # Of 64 bits, as the boards are.
        one = own - own + 1
        stone = one << (stride * action)
        if falling:
            # One more in the lowest cell carries to the first free one.
            stone = (occupied + stone) & ((one * COLUMN) << (stride * action))
        filled = occupied | stone
        won = _has_won(own | stone, falling)
        over = won | (filled == full)
        tl.store(gained + row, tl.where(won, 1 - 2 * second, 0).to(tl.int8), mask=here)
        tl.store(ended + row, over.to(tl.int8), mask=here)
        own = tl.where(over, 0, own ^ occupied)
        occupied = tl.where(over, 0, filled)
        second = tl.where(over, 0, 1 - second).to(tl.int8)
    tl.store(state + board, own, mask=here)
    tl.store(state + boards + board, occupied, mask=here)
    tl.store(turn + board, second, mask=here)


@torch.no_grad()
def play(rules: BoardRules, steps: int, actions: Tensor | None = None) -> Moves:
    """Play T moves on each board and advance them, as `rules.play` and `rules.restart` after each end do.

    Matches that have ended already begin again first.

    Args:
        steps: T.
        actions: `[T, N]`, of whoever is to move; None: random ones that are allowed, from a stream that torch's
            generator gives.
    """
    if not rules.state:
        rules.restart()
    rules.restart(rules.state["ended"])
    device, rows = rules.device, (steps, rules.boards)
    state = torch.stack([rules.state["own"], rules.state["occupied"]])
    turn = rules.state["second"].to(torch.int8)
    seen = torch.empty(2, *rows, dtype=torch.long, device=device)
    flags = torch.empty(3, *rows, dtype=torch.int8, device=device)
    movers, gained, ended = flags
    chosen = torch.empty(rows, dtype=torch.long, device=device) if actions is None else actions
    falling = isinstance(rules, ConnectFour)
    _play[(triton.cdiv(rules.boards, BLOCK),)](
        state,
        turn,
        seen,
        movers,
        chosen.contiguous(),
        gained,
        ended,
        # Of the CPU's generator: nothing is waited for.
        fresh_key() % 2**31 if actions is None else 0,
        rules.full,
        *rows,
        choices=rules.choices,
        stride=STRIDE if falling else 1,
        top=ROWS - 1 if falling else 0,
        falling=falling,
        given=actions is not None,
        block=BLOCK,
    )
    own, occupied = state
    none = torch.zeros_like(rules.state["ended"])
    rules.state = {"own": own, "occupied": occupied, "second": turn.bool(), "ended": none}
    own_seen, all_seen = seen
    return Moves(own_seen, all_seen, movers.bool(), chosen, gained.float(), ended.bool())
