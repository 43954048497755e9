"""Relaxed programs: branches, comparisons and orderings that are smooth where a gradient flows, and hard elsewhere.

Each operation has a stated `width`, in the units of the values compared: within a few widths of a jump or a tie it is
blurred, beyond it is the hard operation to rounding, and width -> 0 is the hard operation everywhere but at the tie
itself. With s(x) = 1 / (1 + exp(-x)):

step s(x/w)    where s(m/w) a + (1 - s(m/w)) b    argmax softmax(x/w)    rank sum over j of s((x_i - x_j)/w)
abs hypot(x, w)    clamp softplus ramps    round a tanh in each unit    sort SoftSort    top_k s((x - t)/w), sum k

An operation is smooth where a derivative flows through the value that decides, else hard: in an evaluation, under a
numerical estimator or on a draw that follows the score function it decides as the written program does. So the same
program serves every estimator, and an estimator that encounters a smooth operation runs the program once more without
gradients to report the hard objective. (SoftSort: Prillo & Eisenschlos 2020; smoothed branches: Petersen et al. 2021.)

Programs call this module; how a draw is relaxed is the estimator's business, in `gradients/relaxation/`.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from framework.errors import ProgramError
from framework.recording.derivatives import carries_gradient

# Halvings of the bracket around the threshold of `top_k`: enough for float64.
BISECTIONS = 60


@dataclass
class Smoothing:
    """What a program uses while it runs inside a `with` block; see `smoothing`.

    Attributes:
        used: whether any operation was smooth, so that the costs are not the hard objective's.
        used_surrogate_gradient: whether any value had another function's derivative (`framework.approximate`).
    """

    used: bool = False
    used_surrogate_gradient: bool = False
    _outer: Smoothing | None = field(default=None, repr=False, compare=False)

    @property
    def biased(self) -> bool:
        return self.used or self.used_surrogate_gradient

    def __enter__(self) -> Self:
        self._outer = _watched.get()
        _watched.set(self)
        return self

    def __exit__(self, *raised: object) -> None:
        outer = self._outer
        _watched.set(outer)
        if outer is not None:
            outer.used |= self.used
            outer.used_surrogate_gradient |= self.used_surrogate_gradient


_watched: ContextVar[Smoothing | None] = ContextVar("smoothing", default=None)


def smoothing() -> Smoothing:
    """Note whether a block runs any operation in its smooth form or uses a surrogate gradient; for estimators."""
    return Smoothing()


def smooth(deciding: Tensor, width: float) -> bool:
    """Whether an operation that `deciding` decides is to be smooth here and now.

    Raises:
        ProgramError: a width that is negative or no number.
    """
    if not 0 <= width < math.inf:
        raise ProgramError(f"width = {width!r}: expected a number of at least 0 (0: hard)")
    if width == 0 or not carries_gradient(deciding):
        return False
    noted = _watched.get()
    if noted is not None:
        noted.used = True
    return True


def note_surrogate_gradient(surrogate: Tensor) -> None:
    """Note that a value has the derivative of `surrogate`, if it has any."""
    noted = _watched.get()
    if noted is not None and carries_gradient(surrogate):
        noted.used_surrogate_gradient = True


def step(x: Tensor, width: float) -> Tensor:
    """1 where x > 0, else 0; smooth: s(x / width), which is 0.5 at 0 and 0.95 at three widths."""
    return torch.sigmoid(x / width) if smooth(x, width) else (x > 0).to(x.dtype)


def sign(x: Tensor, width: float) -> Tensor:
    """-1, 0 or 1; smooth: 2 s(x / width) - 1 = tanh(x / 2 width)."""
    return torch.tanh(x / (2 * width)) if smooth(x, width) else torch.sign(x)


def greater(a: Tensor, b: Tensor | float, width: float) -> Tensor:
    """1 where a > b, else 0; smooth: s((a - b) / width)."""
    return step(a - b, width)


def less(a: Tensor, b: Tensor | float, width: float) -> Tensor:
    """1 where a < b, else 0; smooth: s((b - a) / width)."""
    return step(b - a, width)


def where(margin: Tensor, a: Tensor | float, b: Tensor | float, width: float) -> Tensor:
    """The branch `a` where margin > 0, else `b`; smooth: s(margin / width) a + (1 - s(margin / width)) b.

    Args:
        margin: by how much the condition is met, such as `speed - limit` for `speed > limit`.
        a, b: both branches' values, finite; shapes broadcast.
        width: the margin within which both branches count.
    """
    if not smooth(margin, width):
        return torch.where(margin > 0, a, b)
    share = torch.sigmoid(margin / width)
    return share * a + (1 - share) * b


def abs(x: Tensor, width: float) -> Tensor:
    """|x|; smooth: sqrt(x^2 + width^2), at most `width` too large."""
    return torch.hypot(x, torch.full_like(x, width)) if smooth(x, width) else torch.abs(x)


def clamp(x: Tensor, low: float, high: float, width: float) -> Tensor:
    """x held between `low` and `high`; smooth: low + r(x - low) - r(x - high), r(y) = width log(1 + exp(y / width)).

    The smooth value stays between the bounds, and is at most 0.7 widths from the hard one.
    """
    if not smooth(x, width):
        return torch.clamp(x, low, high)
    return low + ramp(x - low, width) - ramp(x - high, width)


def ramp(x: Tensor, width: float) -> Tensor:
    """max(x, 0); smooth: width log(1 + exp(x / width)), 0.7 widths too large at 0."""
    return softplus(x, 1 / width, 40.0) if smooth(x, width) else torch.relu(x)


def round(x: Tensor, width: float) -> Tensor:
    """The nearest whole number; smooth: a tanh stair that climbs around each half and meets x at whole numbers.

    floor(x) + 1/2 + tanh((f - 1/2) / 2 width) / (2 tanh(1 / 4 width)), where f = x - floor(x): for a large width it is
    x itself. Its derivative is positive, continuous and averages to 1.
    """
    if not smooth(x, width):
        return torch.round(x)
    below = torch.floor(x).detach()
    stair = torch.tanh((x - below - 0.5) / (2 * width)) / math.tanh(1 / (4 * width))
    return below + 0.5 + 0.5 * stair


def argmax(x: Tensor, width: float, dim: int = -1) -> Tensor:
    """The largest element's position as a one-hot vector along `dim`; smooth: softmax(x / width).

    The leader counts e times as much as an element that is one width below it.
    """
    if smooth(x, width):
        return torch.softmax(x / width, dim)
    return one_hot(x.argmax(dim), x.shape[dim]).to(x.dtype).movedim(-1, dim)


def rank(x: Tensor, width: float) -> Tensor:
    """How many elements of the last axis are smaller; smooth: the sum over j != i of s((x_i - x_j) / width)."""
    if not smooth(x, width):
        return x.argsort(-1).argsort(-1).to(x.dtype)
    ahead = torch.sigmoid((x.unsqueeze(-1) - x.unsqueeze(-2)) / width)
    # An element ties with itself.
    return ahead.sum(-1) - 0.5


def permutation(x: Tensor, width: float) -> Tensor:
    """The matrix P `[..., D, D]` with P x = x sorted, ascending; smooth: row i is softmax(-|sorted(x)_i - x| / width).

    Each row is a distribution (SoftSort); apply it to whatever must be sorted like x.
    """
    if not smooth(x, width):
        return one_hot(x.argsort(-1), x.shape[-1]).to(x.dtype)
    distance = (x.sort(-1).values.unsqueeze(-1) - x.unsqueeze(-2)).abs()
    return torch.softmax(-distance / width, -1)


def sort(x: Tensor, width: float) -> Tensor:
    """The last axis in ascending order; smooth: P x with `permutation`'s P, each position a mean of near values."""
    if not smooth(x, width):
        return x.sort(-1).values
    return (permutation(x, width) @ x.unsqueeze(-1)).squeeze(-1)


def top_k(x: Tensor, k: int, width: float) -> Tensor:
    """1 for the k largest elements of the last axis, else 0; smooth: s((x - t) / width) with t such that they sum to k.

    That is the maximum of <x, y> + width H(y) over y in [0, 1]^D with sum k, where H is the binary entropy.

    Raises:
        ProgramError: k is not between 1 and the number of elements.
    """
    count = x.shape[-1]
    if not 1 <= k <= count:
        raise ProgramError(f"top_k: k = {k}, expected 1 to {count}, the number of elements")
    if k == count:
        return torch.ones_like(x)
    if not smooth(x, width):
        return torch.zeros_like(x).scatter(-1, x.topk(k).indices, 1.0)
    threshold = threshold_of(x.detach(), k, width)
    # Newton steps at the root: they leave the value and give it the implicit derivatives.
    for _ in range(2):
        chosen = torch.sigmoid((x - threshold) / width)
        slope = (chosen * (1 - chosen)).sum(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        # Minus k, it is 0 at the root.
        excess = chosen.sum(-1, keepdim=True)
        threshold = threshold + width * (excess - excess.detach()) / slope
    return torch.sigmoid((x - threshold) / width)


def threshold_of(x: Tensor, k: int, width: float) -> Tensor:
    """The t `[..., 1]` at which s((x - t) / width) sums to k along the last axis, by bisection."""
    count = x.shape[-1]
    low = x.amin(-1, keepdim=True) - width * math.log(count / (count - k))
    high = x.amax(-1, keepdim=True) + width * math.log(count / k)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        too_many = torch.sigmoid((x - middle) / width).sum(-1, keepdim=True) > k
        low, high = torch.where(too_many, middle, low), torch.where(too_many, high, middle)
    return (low + high) / 2
