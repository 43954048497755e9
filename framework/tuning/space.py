"""What a study searches, in Hydra's words: `key=interval(a,b)`, `key=choice(a,b)`, `key=a,b`, `key=range(a,b,step)`.

An interval is searched by its logarithm where both ends are positive and one is at least `LOG_FROM` times the other;
`tag(log, interval(a,b))` and `tag(linear, interval(a,b))` say it. It is of whole numbers where it is written
`int(interval(a,b))` or the key takes no others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from framework.config.composition import PATHS, hydra_errors_as_user_errors
from framework.errors import UserError
from framework.sweeping import key_of, values_of

# From this ratio of its ends on, an interval is searched by its logarithm.
LOG_FROM = 10
WORDS = "key=interval(a,b), key=choice(a,b) or key=range(a,b,step)"
TAGS = {"log", "linear"}
# How many values a choice or a range may have.
MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One key that is searched.

    Attributes:
        key: a setting or a group.
        written: what was written for it.
        choices: the values of a choice or a range, as an override has them; empty: it is an interval.
        ordered: whether the choices are numbers, each next to those that are near it.
        low, high: the ends of an interval, both included.
        log: whether the interval is searched by its logarithm.
        whole: whether it is of whole numbers.
    """

    key: str
    written: str
    choices: tuple[str, ...] = ()
    ordered: bool = False
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    def suggest(self, trial: Any) -> str:
        """Optuna's choice for a trial, as an override has it; the same again where it has made one."""
        if self.ordered:
            # As they were written: 0.1 + 0.2 is 0.30000000000000004, and no multiple of 0.1 to Optuna.
            low, high = (float(f"{float(self.choices[at]):.12g}") for at in (0, -1))
            step = float(f"{(high - low) / max(1, len(self.choices) - 1):.12g}") or 1.0
            if low.is_integer() and step.is_integer():
                return self.text(trial.suggest_int(self.key, int(low), int(high), step=int(step)))
            return self.text(trial.suggest_float(self.key, low, high, step=step))
        if self.choices:
            return self.text(trial.suggest_categorical(self.key, self.choices))
        if self.whole:
            ends = int(self.low), int(self.high)
            return self.text(trial.suggest_int(self.key, *ends, log=self.log))
        return self.text(trial.suggest_float(self.key, self.low, self.high, log=self.log))

    def text(self, value: Any) -> str:
        """A value of Optuna's as an override has it."""
        if self.ordered:
            return min(self.choices, key=lambda choice: abs(float(choice) - value))
        return str(value)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.key} of {', '.join(self.choices)}"
        kind = ["whole"] * self.whole + ["log"] * self.log
        ends = f"{self.low:.6g} to {self.high:.6g}"
        return f"{self.key} from {ends}{f' ({chr(44).join(kind)})' if kind else ''}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "choices": list(self.choices)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Dimension:
        return cls(**{**record, "choices": tuple(record["choices"])})


def parsed(overrides: Sequence[str]) -> tuple[list[Dimension], list[str]]:
    """The keys that the overrides search, and the overrides that hold for every trial.

    Raises:
        UserError: an override that cannot be read, an empty choice or interval, or nothing to search.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Glob
    from hydra.errors import HydraException

    searched: list[Dimension] = []
    fixed: list[str] = []
    for text in overrides:
        # A path may hold what Hydra's grammar does not allow.
        if key_of(text) in PATHS:
            fixed.append(text)
            continue
        try:
            (override,) = OverridesParser.create().parse_overrides([text])
        except HydraException:
            raise UserError(f"'{text}': expected key=value, {WORDS}") from None
        with hydra_errors_as_user_errors():
            if not override.is_sweep_override() and not isinstance(override.value(), Glob):
                fixed.append(text)
                continue
            searched.append(dimension(text, override))
    keys = [key_of(text) for text in fixed] + [each.key for each in searched]
    if twice := [each.key for each in searched if keys.count(each.key) > 1]:
        raise UserError(f"'{twice[0]}' is given twice; a study searches it or has it fixed")
    if all(len(each.choices) == 1 for each in searched):
        raise UserError(
            f"there is nothing to search: write {WORDS}, such as optimizer.learning_rate=interval(1e-4,1e-1)"
        )
    return searched, fixed


def dimension(text: str, override: Any) -> Dimension:
    """What one override searches.

    Raises:
        UserError: it is empty, or no such thing can be searched.
    """
    from hydra.core.override_parser.types import IntervalSweep

    key, written, value = key_of(text), text.partition("=")[2], override.value()
    if key.startswith("~"):
        raise UserError(f"'{text}': a key is removed or searched")
    if isinstance(value, IntervalSweep):
        return interval(text, key, written, value)
    values = tuple(dict.fromkeys(islice(values_of(text, override), MOST + 1)))
    if len(values) > MOST:
        raise UserError(f"'{text}': more than {MOST:,} values; search an interval(a,b)")
    if not values:
        raise UserError(f"'{text}': it is empty; expected at least one value")
    if not override.is_range_sweep():
        return Dimension(key=key, written=written, choices=values)
    return Dimension(
        key=key, written=written, choices=tuple(sorted(values, key=float)), ordered=True
    )


def interval(text: str, key: str, written: str, value: Any) -> Dimension:
    """An interval that is searched.

    Raises:
        UserError: it is empty or endless, or cannot be searched as its tags say.
    """
    low, high = float(value.start), float(value.end)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UserError(f"'{text}': expected two finite ends")
    if low >= high:
        raise UserError(f"'{text}': it is empty; expected a lower end, then a higher one")
    if unknown := value.tags - TAGS:
        raise UserError(f"'{text}': unknown tag '{min(unknown)}'; expected log or linear")
    if "log" in value.tags and low <= 0:
        raise UserError(f"'{text}': expected positive ends, as it is searched by its logarithm")
    wide = low > 0 and high >= LOG_FROM * low
    return Dimension(
        key=key,
        written=written,
        low=low,
        high=high,
        log="linear" not in value.tags and (wide or "log" in value.tags),
        whole=isinstance(value.start, int) and isinstance(value.end, int),
    )


def between(each: Dimension) -> str | None:
    """An override with a value of an interval that is no whole number; None where that is no question."""
    ends_whole = each.low.is_integer() and each.high.is_integer()
    if each.choices or each.whole or not ends_whole:
        return None
    return f"{each.key}={each.low + 0.5}"


def ends(each: Dimension) -> list[str]:
    """The values of a dimension that are checked before the first trial: all of a choice, the ends of numbers."""
    if each.choices:
        return [each.choices[0], each.choices[-1]] if each.ordered else list(each.choices)
    return [str(int(end)) if each.whole else str(end) for end in (each.low, each.high)]
