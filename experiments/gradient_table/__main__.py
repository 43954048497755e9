"""The public table of truth: every estimator over every problem whose gradient is known.

    python -m experiments.gradient_table [--problems NAME|GROUP ...] [--estimators NAME ...] [--workers N] [--folder F]

Writes gradient_table.md, .json and .png into docs/ (a part of the table only where --folder says), and exits with 1
where a cell is silently wrong or a raw error.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from experiments.gradient_table.cell import MEANING, Cell
from experiments.gradient_table.page import write
from experiments.gradient_table.rows import rows
from experiments.problems import PROBLEMS
from framework.errors import UserError, suggestion
from framework.plugin import ROOT, registry

DOCS = ROOT / "docs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print what is wrong, write; returns 1 where anything is."""
    parser = argparse.ArgumentParser(prog="python -m experiments.gradient_table")
    parser.add_argument("--problems", nargs="+", default=[], metavar="NAME|GROUP")
    parser.add_argument("--estimators", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        problems, estimators = chosen_problems(options.problems), chosen(options.estimators)
    except UserError as mistake:
        print(f"gradient_table: {mistake}", file=sys.stderr)
        return 2
    whole = not options.problems and not options.estimators
    cells: list[Cell] = []
    for row in rows(problems, estimators, options.workers):
        cells += row
        for cell in row:
            if cell.verdict in ("wrong", "error"):
                print(f"{cell.problem}, {cell.estimator}: {MEANING[cell.verdict]}: {cell.detail}")
    folder = options.folder or (DOCS if whole else None)
    if folder is not None:
        write(cells, folder)
    counts = Counter(cell.verdict for cell in cells)
    summary = "; ".join(f"{counts[v]} {meaning}" for v, meaning in MEANING.items())
    print(f"{len(problems)} problems x {len(estimators)} estimators: {summary}")
    return int(bool(counts["wrong"] or counts["error"]))


def chosen_problems(names: Sequence[str]) -> list[str]:
    """The problems of these names or groups; all of them where none is named.

    Raises:
        UserError: there is none of a name.
    """
    groups = {problem.group for problem in PROBLEMS.values()}
    for name in names:
        if name not in PROBLEMS and name not in groups:
            raise UserError(f"no problem '{name}'; {suggestion(name, [*PROBLEMS, *groups])}")
    return [name for name, p in PROBLEMS.items() if not names or name in names or p.group in names]


def chosen(names: Sequence[str]) -> list[str]:
    """The estimators of these names; all registered ones where none is named."""
    for name in names:
        registry().component("estimators", name)
    return list(names or registry().names("estimators"))


if __name__ == "__main__":
    sys.exit(main())
