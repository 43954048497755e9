"""How far a run is, in one line: a bar or the step, the time left, the primary metric and the task's three numbers.

Columns are fixed: the next line has each number in the same place. Where a line is narrow, the longest names lose their
ends, marked by a full stop; no number ever does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

# Columns of a number, of the time left, of the bar, and of a name at the least.
NUMBER, TIME, BAR, NAME = 6, 7, (5, 40), 3


class ProgressLine:
    """The latest numbers of a run, and where it is."""

    def __init__(
        self,
        experiment: str,
        *,
        steps: int,
        start: int,
        metric: str,
        numbers: Mapping[str, str],
        end: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin at a step.

        Args:
            metric: the task's primary metric; shown from its latest evaluation.
            numbers: tags of further numbers by the names under which they are shown.
            end: the step at which this session ends; None: the last one.
        """
        self.experiment, self.steps, self.start, self.step = experiment, steps, start, start
        self.end = steps if end is None else end
        self.tags = {metric: f"evaluation/{metric}"} | dict(numbers)
        self.values: dict[str, float] = {}
        self.clock, self.began = clock, clock()

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Take the numbers of a step; a final evaluation counts as one."""
        self.step = step
        self.values |= {tag.replace("final/", "evaluation/", 1): v for tag, v in values.items()}

    @property
    def unseen(self) -> dict[str, str]:
        """The tags that have had no number so far, by name."""
        return {name: tag for name, tag in self.tags.items() if tag not in self.values}

    def seconds_left(self) -> float | None:
        """Until the end, at the speed since the session began; None before its first step."""
        done = self.step - self.start
        if done <= 0:
            return 0.0 if self.step >= self.end else None
        return max(0, self.end - self.step) * (self.clock() - self.began) / done

    def plain(self, width: int) -> str:
        """The line for a file or a pipe, of at most `width` columns (80 or more)."""
        short = f"{self.count()} {duration(self.seconds_left()):>{TIME}} left  "
        enough = width - len(short) - 5 - self.columns() >= (NAME + 2) * len(self.tags)
        head = f"step {short}" if enough else short
        return (head + self.cells(width - len(head))).rstrip()

    def bar(self, width: int) -> str:
        """The line for a terminal of `width` columns (80 or more); what is done is drawn as ━, the rest as ─."""
        count = f"{self.count()} {duration(self.seconds_left()):>{TIME}}  "
        names = sum(map(len, self.tags))
        rest = width - len(count) - self.columns() - names - 1
        title = f"{self.experiment} " if rest >= len(self.experiment) + 13 else ""
        length = min(BAR[1], max(BAR[0], rest - len(title)))
        filled = math.floor(length * min(1.0, self.step / max(1, self.steps)))
        head = f"{title}{'━' * filled}{'─' * (length - filled)} {count}"
        return head + self.cells(width - len(head))

    def count(self) -> str:
        return f"{self.step:>{len(str(self.steps))}}/{self.steps}"

    def columns(self) -> int:
        """The columns of all numbers and of the gaps around them, names left out."""
        return (1 + NUMBER) * len(self.tags) + 2 * (len(self.tags) - 1)

    def cells(self, width: int) -> str:
        """Names and numbers in `width` columns."""
        names = shortened(list(self.tags), width - self.columns())
        texts = [
            number(self.values[tag]) if tag in self.values else "-" for tag in self.tags.values()
        ]
        return "  ".join(
            f"{name} {text:>{NUMBER}}" for name, text in zip(names, texts, strict=True)
        )


def shortened(names: Sequence[str], room: int) -> list[str]:
    """Names cut to `room` characters in all, the longest first, each to `NAME` at the least."""
    lengths = [len(name) for name in names]
    while sum(lengths) > room and max(lengths) > NAME:
        lengths[lengths.index(max(lengths))] -= 1
    return [
        name if len(name) <= length else f"{name[: length - 1]}."
        for name, length in zip(names, lengths, strict=True)
    ]


def number(value: float) -> str:
    """A number in at most 6 characters, with as many of 4 digits as they allow."""
    # Smaller ones have exponents of three digits.
    value = 0.0 if abs(value) < 1e-99 else value
    for digits in (4, 3, 2, 1):
        mantissa, exponent, power = f"{value:.{digits - 1}e}".partition("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        scientific = f"{mantissa}e{int(power)}" if exponent else mantissa
        for text in (f"{value:.{digits}g}", scientific):
            if len(text) <= NUMBER:
                return text
    return scientific


def duration(seconds: float | None) -> str:
    """A time in at most 7 characters: 1:02:03, 12 h 05 or 7 d."""
    if seconds is None:
        return "-:--:--"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours < 10:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{hours} h {minutes:02}" if hours < 100 else f"{min(hours // 24, 99999)} d"
