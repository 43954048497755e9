"""The recurrence of all advantages as one kernel: a lane for each game goes through its steps, the last one first.

In torch it is one launch for each step; here it is one in all. Needs Triton, which torch brings where it has CUDA.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

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


def backwards(terms: Tensor, factors: Tensor) -> Tensor:
    """x_t = terms_t + factors_t x_{t+1}, `[T, N]`, beginning at the end with 0; carries no gradient."""
    terms, factors = terms.detach().contiguous(), factors.detach().contiguous()
    result = torch.empty_like(terms)
    steps, games = terms.shape
    _backwards[(triton.cdiv(games, BLOCK),)](terms, factors, result, steps, games, block=BLOCK)
    return result
