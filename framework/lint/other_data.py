"""Runs of a program again with other draws for half of the data, to see what follows the draws of others."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from framework.lint.measure import ROUNDING
from framework.lint.replay import GivenDraws, UndecidedError, responses_of, second_sample
from framework.lint.sample_axis import Again
from framework.recording.trace import Draw

# Other draws that are tried: a discrete one may be drawn the same again.
ROUNDS = 4


def follows_other_data(
    again: Again,
    draws: Sequence[Draw],
    moved: Collection[str],
    shape: tuple[int, ...],
) -> str | None:
    """What of a datum follows the draws of others, such as "cost 'cost'"; None: nothing is seen to.

    Args:
        again: runs the program by a rule for its draws, with a leading shape.
        draws: those that were made, in order, with the names of those that are moved.
        shape: `[samples, data, ...]`, of which as many samples are run as it says.

    Raises:
        UndecidedError: the program cannot be run again with the same result.
    """
    samples, data = shape[:2]
    start = [draw.value.detach()[:samples] for draw in draws]

    def run(values: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
        given = GivenDraws([draw.name for draw in draws], [value.clone() for value in values])
        try:
            trace = again(given, shape)
        except Exception as error:
            raise UndecidedError(str(error)) from error
        return [(key[0], value) for key, value in responses_of(trace)]

    def with_others(others: Tensor) -> list[Tensor]:
        values = []
        for draw, value in zip(draws, start, strict=True):
            if draw.name in moved and draw.axes.per_datum:
                value = value.clone()
                value[:, others] = second_sample(draw)[:samples, others]
            values.append(value)
        return values

    before = run(start)
    if not same(before, run(start), torch.ones(data, dtype=torch.bool), samples):
        raise UndecidedError("a second run with the same draws is another")
    for number in range(ROUNDS):
        others = half(data, number)
        after = run(with_others(others))
        for (what, a), (_, b) in zip(before, after, strict=True):
            if not same([(what, a)], [(what, b)], ~others, samples):
                return what
    return None


def half(count: int, number: int) -> Tensor:
    """Which half of `count` things is another, bool `[count]`: by chance, since pairs may have any pattern."""
    generator = torch.Generator().manual_seed(number)
    which = torch.zeros(count, dtype=torch.bool)
    which[torch.randperm(count, generator=generator)[: count // 2]] = True
    return which


def same(
    before: Sequence[tuple[str, Tensor]],
    after: Sequence[tuple[str, Tensor]],
    which: Tensor,
    samples: int,
) -> bool:
    """Whether two runs have the same responses at some of the data, but for rounding."""
    for (_, a), (_, b) in zip(before, after, strict=True):
        if a.shape != b.shape:
            raise UndecidedError("with other draws the program goes another way")
        ones = [rows_of(value, len(which), samples) for value in (a, b)]
        for one, other in zip(*ones, strict=True):
            if not torch.allclose(
                one[which], other[which], rtol=ROUNDING, atol=1e-7, equal_nan=True
            ):
                return False
    return True


def rows_of(value: Tensor, data: int, samples: int) -> list[Tensor]:
    """A response by datum, `[data, ...]`; nothing where it has no axis of data."""
    if value.shape[:2] == (samples, data):
        return [value.detach().transpose(0, 1)]
    return [value.detach()] if value.shape[:1] == (data,) else []
