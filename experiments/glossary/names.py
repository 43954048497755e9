"""The public names of the framework, of a task, a context and an estimator: the table in docs/architecture.md."""

from __future__ import annotations

from collections.abc import Iterator

import framework
from experiments.glossary.table import table
from framework import Context, Estimator, Task

# How many there were before the code was laid out as it is now.
BEFORE = {"framework": 15, "Task": 19, "Context": 10, "Estimator": 8}


def public(kind: type) -> list[str]:
    """The names that a class itself offers, in the order of its source."""
    names = dict.fromkeys([*kind.__annotations__, *vars(kind)])
    return [name for name in names if not name.startswith("_")]


def public_names() -> dict[str, list[str]]:
    """All public names by owner."""
    classes = {kind.__name__: public(kind) for kind in (Task, Context, Estimator)}
    return {"framework": list(framework.__all__), **classes}


def names_table() -> Iterator[str]:
    """How many names there were, how many there are, and which."""
    now = public_names()
    rows = [
        (f"`{owner}`", str(BEFORE[owner]), str(len(names)), ", ".join(f"`{n}`" for n in names))
        for owner, names in now.items()
    ]
    total = sum(map(len, now.values()))
    rows.append(("**in all**", f"**{sum(BEFORE.values())}**", f"**{total}**", ""))
    return table(("", "before", "now", "names now"), rows)
