"""Values of one sample, or of one datum, that depend on the draws of others.

A draw that follows the score function is charged with the costs of its own sample and datum, and where it is summed
over, all data have the same of its values at once. So a call that may bring others together is noted while the program
runs; whether a cost follows them is seen by running it again (`replay`, `other_data`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from framework.lint.calls import ALONG, ESCAPES, PRODUCTS


def may_mix_samples(
    name: str,
    samples: int,
    options: tuple[Any, ...],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> bool:
    """Whether a call may bring samples together: it takes their axis away, looks or sums along it, or leaves torch."""

    def has_samples(value: Tensor) -> bool:
        return value.shape[:1] == (samples,)

    if samples == 1 or not any(map(has_samples, inputs)):
        return False
    if name in ESCAPES or not all(map(has_samples, outputs)) or pairs_up(samples, inputs, outputs):
        return True
    plain = name.strip("_")
    if plain in PRODUCTS:
        return inputs[0].dim() == 1 or any(map(has_samples, inputs[1:]))
    if plain == "getitem":
        first = options[0][0] if isinstance(options[0], tuple) and options[0] else options[0]
        return isinstance(first, Tensor | list) and has_samples(inputs[0])
    along_first = 0 in axes_of(options) or any(value.dim() == 1 for value in inputs)
    return plain == "batch_norm" or (plain in ALONG and along_first)


def may_mix_data(
    name: str,
    samples: int,
    data: int,
    options: tuple[Any, ...],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
) -> bool:
    """Whether a call may bring data together: `data` is the length of the batch axis in `[samples, data, ...]`."""

    def has_data(value: Tensor) -> bool:
        return data in value.shape[:2] or value.shape[:1] == (samples * data,)

    if data == 1 or not any(map(has_data, inputs)):
        return False
    if name in ESCAPES or not all(map(has_data, outputs)) or pairs_up(data, inputs, outputs):
        return True
    plain = name.strip("_")
    if plain in PRODUCTS:
        first, *others = inputs
        sums = [first.shape[-1:], *(value.shape[-2:-1] or value.shape for value in others)]
        return any(size in (data, samples * data) for shape in sums for size in shape)
    if plain == "getitem":
        given = options[0] if isinstance(options[0], tuple) else options[:1]
        return any(isinstance(index, Tensor | list) for index in given)
    axes = axes_of(options)
    near = any(axis % max(value.dim(), 1) < 2 for axis in axes for value in inputs)
    return plain == "batch_norm" or (plain in ALONG and (near or not axes))


def axes_of(options: Iterable[Any]) -> list[int]:
    """The whole numbers among a call's arguments, those in lists too: one of them may be an axis."""
    found: list[int] = []
    for option in options:
        if isinstance(option, tuple | list):
            found += axes_of(option)
        elif isinstance(option, int) and not isinstance(option, bool):
            found.append(option)
    return found


def pairs_up(size: int, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Whether a length occurs in a result more often than in any tensor that it is made from."""

    def most(values: Sequence[Tensor]) -> int:
        return max((list(value.shape).count(size) for value in values), default=0)

    return most(outputs) > max(1, most(inputs))
