"""The table on paper: Markdown for readers, JSON for programs, a picture for the eye."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from experiments.gradient_table.cell import MEANING, Cell, Verdict
from experiments.problems import PROBLEMS
from framework.media import Image

SYMBOLS: dict[Verdict, str] = {
    "holds": "✓",
    "declared": "b",
    "refused": "·",
    "wrong": "✗",
    "error": "!",
}
COLOURS: dict[Verdict, str] = {
    "holds": "#4daf6a",
    "declared": "#f2c14e",
    "refused": "#e8e8e8",
    "wrong": "#d62728",
    "error": "#7b3294",
}


def write(cells: Sequence[Cell], folder: Path) -> None:
    """gradient_table.md, .json and .png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gradient_table.md").write_text(markdown(cells), encoding="utf-8")
    data = [{k: finite(v) for k, v in asdict(cell).items()} for cell in cells]
    text = ",\n".join(json.dumps(cell, ensure_ascii=False) for cell in data)
    (folder / "gradient_table.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
    Image.from_figure("gradient_table", picture(cells)).save(folder)


def finite(value: str | float) -> str | float | None:
    """JSON has no NaN: what was not measured is null, what has no end is words."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def markdown(cells: Sequence[Cell]) -> str:
    estimators = list(dict.fromkeys(cell.estimator for cell in cells))
    problems = list(dict.fromkeys(cell.problem for cell in cells))
    counts = Counter(cell.verdict for cell in cells)
    lines = [
        "# The table of truth",
        "",
        f"Every estimator ({len(estimators)}) over every problem ({len(problems)}) of `experiments/problems`, whose "
        "gradient is known exactly. Made by `python -m experiments.gradient_table`, which fails where "
        "a cell is silently wrong.",
        "",
        *(f"- `{SYMBOLS[v]}` {meaning}: {counts[v]}" for v, meaning in MEANING.items()),
        "",
        "An estimate holds where its mean is within rounding or within 4 standard errors of the truth, in every "
        "element of the gradient and in the objective. The refusals' "
        "words are in [gradient_table.json](gradient_table.json).",
        "",
        "![The table in colours](gradient_table.png)",
        "",
    ]
    at = {(cell.problem, cell.estimator): cell for cell in cells}
    for group in dict.fromkeys(PROBLEMS[name].group for name in problems):
        members = [name for name in problems if PROBLEMS[name].group == group]
        lines += [f"## {group.replace('_', ' ').capitalize()}", ""]
        lines += [f"| problem | {' | '.join(estimators)} |", f"|---|{':-:|' * len(estimators)}"]
        for name in members:
            symbols = [SYMBOLS[at[name, e].verdict] if (name, e) in at else "" for e in estimators]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(symbols)} |")
        lines += ["", "<details><summary>bias z, variance, CPU-ms</summary>", ""]
        lines += [
            "| problem | estimator | | bias z | variance | CPU-ms |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            figures(at[name, e]) for name in members for e in estimators if served(at, name, e)
        ]
        lines += ["", "</details>", ""]
    return "\n".join(lines)


def served(at: dict[tuple[str, str], Cell], problem: str, estimator: str) -> bool:
    cell = at.get((problem, estimator))
    return cell is not None and cell.verdict not in ("refused", "error")


def figures(cell: Cell) -> str:
    """A row: an estimator that gave a gradient, with its figures."""
    what = SYMBOLS[cell.verdict] + (f" {cell.detail}" if cell.detail else "")
    numbers = " | ".join(
        "" if math.isnan(v) else f"{v:.3g}" for v in (cell.bias_z, cell.variance, cell.cpu_ms)
    )
    return f"| {cell.problem.replace('_', ' ')} | {cell.estimator} | {what} | {numbers} |"


def picture(cells: Sequence[Cell]) -> Figure:
    """Problems down, estimators across, a colour for each verdict."""
    estimators = list(dict.fromkeys(cell.estimator for cell in cells))
    problems = list(dict.fromkeys(cell.problem for cell in cells))
    verdicts = list(SYMBOLS)
    grid = [[float("nan")] * len(estimators) for _ in problems]
    for cell in cells:
        place = verdicts.index(cell.verdict)
        grid[problems.index(cell.problem)][estimators.index(cell.estimator)] = place
    size = (4 + 0.26 * len(estimators), 2 + 0.15 * len(problems))
    figure = Figure(figsize=size, layout="constrained", dpi=100)
    axes = figure.add_subplot()
    colours = ListedColormap([COLOURS[verdict] for verdict in verdicts])
    axes.pcolormesh(grid, cmap=colours, vmin=-0.5, vmax=len(verdicts) - 0.5, edgecolors="w", lw=0.5)
    axes.set_xticks([i + 0.5 for i in range(len(estimators))], estimators, rotation=90, fontsize=7)
    names = [name.replace("_", " ") for name in problems]
    axes.set_yticks([i + 0.5 for i in range(len(names))], names, fontsize=6)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_frame_on(False)
    for verdict in verdicts:
        axes.plot([], [], "s", color=COLOURS[verdict], label=MEANING[verdict])
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
