"""The sample axis of a draw meets another axis: one that is as long by coincidence, or one that does not fit.

A draw of shape `[3]` less a constant of three elements is computed with three samples, one element for each sample,
though the elements belong to every sample; with any other number it is not computed. So the program is run with another
number of samples.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from framework.config.explanation import first_line
from framework.lint.calls import Call, line_of
from framework.recording.rule import SharedNoise
from framework.recording.trace import Trace

# Runs a program by a rule for its draws and a leading shape, without record.
Again = Callable[[Any, tuple[int, ...]], Trace]
REMEDY = "where the elements belong to every sample, give the draw an axis for them: x.unsqueeze(-1) is [samples, 1]"


def meets_its_length(
    samples: int, inputs: Sequence[Tensor], depends: Callable[[list[Tensor]], Collection[Any]]
) -> bool:
    """Whether a value that depends on a draw meets one that does not and whose first axis is as long as the samples'.

    Args:
        depends: what tensors depend on.
    """
    if samples == 1 or len(inputs) < 2:
        return False
    alike = [value for value in inputs if value.shape[:1] == (samples,)]
    drawn = [bool(depends([value])) for value in alike]
    dims = {value.dim() for value, found in zip(alike, drawn, strict=True) if found}
    return any(value.dim() in dims and not found for value, found in zip(alike, drawn, strict=True))


def another_number(samples: int) -> int:
    """Another number of samples, as even or odd as it was: a program may draw them in pairs."""
    return samples - 2 if samples > 3 else samples + 2


def failure(again: Again, shape: tuple[int, ...]) -> Exception | None:
    """Why the program does not run with this leading shape; None: it does."""
    try:
        again(SharedNoise(), shape)
    except Exception as error:
        return error
    return None


def coincidence(call: Call, samples: int, other: int, error: Exception) -> str:
    """What is said of a program that runs with one number of samples and not with another."""
    return (
        f"the program runs with {samples} samples and not with {other} ({first_line(error)}): by {call} a draw meets a "
        f"value that depends on none and is as long as there are samples, {samples}, and sample i meets its i-th part; "
        f"{REMEDY}"
    )


def is_misfit(error: Exception) -> bool:
    """Whether torch says that two axes are of different lengths."""
    return "must match the size of tensor" in str(error) or "must match the existing size" in str(
        error
    )


def misfit(samples: int, error: Exception) -> str:
    """What is said of a program that runs with one sample and not with several."""
    line = next((f" at {line}" for line in reversed(lines_of(error)) if line), "")
    return (
        f"the program does not run with {samples} samples{line} ({first_line(error)}): a draw begins with the axis of "
        f"the samples, {samples}; {REMEDY}"
    )


def lines_of(error: Exception) -> list[str | None]:
    """The lines that led to an error, None for those of torch and of the framework."""
    return [line_of(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
