"""diffobj runs: list the runs below a folder, the newest first: diffobj runs in=outputs/javelin

    diffobj runs [in=FOLDER] [format=table|json]

Each with its age, state, steps, primary metric and folder; FOLDER is outputs where none is given. Commands that take
run=RUN_FOLDER also take run=latest, the first of this list, and run=FOLDER, the newest run inside a folder. In Python:
`framework.runs`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from framework.commands.main import keyed
from framework.errors import UserError
from framework.training.runs import OUTPUTS, FoundRun, as_json, runs


def run(arguments: Sequence[str]) -> int:
    """Print a line for each run."""
    options = keyed(arguments, ("in", "format"))
    form, place = options.get("format", "table"), options.get("in", str(OUTPUTS))
    if form not in {"table", "json"}:
        raise UserError(f"format = '{form}': expected table or json")
    found = runs(place)
    if form == "json":
        for each in found:
            print(as_json(each))
        return 0
    rows = [cells(each, time.time()) for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    for age, state, steps, metric, folder in rows:
        print(
            f"{age:>{widths[0]}}  {state:<{widths[1]}}  {steps:>{widths[2]}}  {metric:<{widths[3]}}  {folder}"
        )
    if not rows:
        print(f"no run in {place}")
    return 0


def cells(found: FoundRun, now: float) -> tuple[str, str, str, str, str]:
    """What the table says of a run: age, state, steps, primary metric, folder."""
    metric = "not evaluated" if found.value is None else f"{found.metric} {found.value:.4g}"
    steps = f"{found.steps:,} steps"
    return ago(now - found.started), found.state, steps, metric, str(found.folder)


def ago(seconds: float) -> str:
    """An age in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
