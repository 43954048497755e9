"""The error a user can fix: one line that names the key, the value, what was expected and the nearest choice."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the user can fix. Commands print it in one line and exit with status 2."""


class ProgramError(UserError):
    """A program and an estimator that do not fit, or a program that breaks the contract of its context."""


class Elsewhere(ProgramError):
    """Another of several processes has failed, which says itself why."""


def suggestion(name: str, choices: Iterable[str]) -> str:
    """What to write instead of `name`: the nearest of `choices`, or all of them when none is near."""
    known = sorted(set(choices))
    near = [choice for choice in known if len(name) > 1 and initials(choice) == name]
    near += difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"choices: {', '.join(known)}" if known else "nothing is registered there"


def initials(name: str) -> str:
    """The first letters of a name's words: "lr" for "learning_rate"."""
    return "".join(word[:1] for word in name.split("_"))
