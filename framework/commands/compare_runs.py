"""`diffobj compare runs=FOLDER`: runs that are there already, in one table and one picture.

What differs between their settings tells them apart. Runs that differ by nothing but the seed are one row, one curve.
"""

from __future__ import annotations

import csv
import io
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.arguments import as_path
from framework.atomic import write_atomically
from framework.errors import UserError, suggestion
from framework.plugin import registry
from framework.training.checkpoints.resume import warn
from framework.training.collected import CollectedRun, Group, collect, grouped, short, told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# So many curves have a colour and a name; the others are grey.
COLOURED = 10
# Of names with so many letters two do not fit beside each other.
BROAD = 90


@dataclass(frozen=True)
class RunComparison:
    """Runs compared; printed, it is the table.

    Attributes:
        folder: holds comparison.md, .csv and .png.
        metric: by which they are ordered; of several kinds of runs that of the first.
        mode: whether less ("min") or more of it is better; "": nobody says it.
        groups: runs that differ by nothing but the seed, from the best to the worst.
    """

    folder: Path
    metric: str
    mode: str
    groups: list[Group]

    def __str__(self) -> str:
        return (self.folder / "comparison.md").read_text(encoding="utf-8").rstrip()


def compare_runs(
    runs: str | Path | Sequence[str | Path],
    *,
    metric: str | None = None,
    folder: str | Path | None = None,
) -> RunComparison:
    """Collect runs into a table (Markdown and CSV) and a picture of their curves.

    Args:
        runs: a run, a folder of runs, a sweep or a study, or several of them.
        metric: what is compared; None: the primary metric of the runs.
        folder: where the table and the picture are written; None: `outputs/compare/runs_<time>`.

    Raises:
        UserError: there is no such folder, no run in it, or no such metric.
    """
    several = [runs] if isinstance(runs, str | bytes) or not isinstance(runs, Sequence) else runs
    named = [as_path("runs", each) for each in several]
    if folder is not None and not str(folder):
        raise UserError("folder = '': expected a folder")
    if not named:
        raise UserError("which runs? diffobj compare runs=FOLDER")
    found = collect(named, warn, metric)
    known = sorted({name for run in found for name in run.found.metrics})
    if metric is not None and metric not in known:
        raise UserError(f"metric = '{metric}': {suggestion(metric, known)}")
    chosen = metric or next((r.found.metric for r in found if r.found.metric), "")
    mode = mode_of(found, chosen)
    groups = ranked(grouped(found), chosen, mode)
    if folder is None:
        now = time.strftime("%Y-%m-%d_%H-%M-%S")
        place = Path("outputs", "compare", f"runs_{now}-{time.time_ns() // 1000 % 10**6:06d}")
    else:
        place = as_path("folder", folder)
    compared = RunComparison(place, chosen, mode, groups)
    write(compared)
    return compared


def mode_of(found: Sequence[CollectedRun], metric: str) -> str:
    """Whether less or more of a metric is better, as the tasks say it of their primary metrics."""
    for run in found:
        name = str(run.settings.get("task.name"))
        if run.found.metric == metric and name in registry().names("tasks"):
            options = {
                key.removeprefix("task."): value
                for key, value in run.settings.items()
                if key.startswith("task.")
            }
            mode: str = registry().component("tasks", name).load().judged_by(options)[1]
            return mode
    return ""


def ranked(groups: Sequence[Group], metric: str, mode: str) -> list[Group]:
    """Task by task from the best mean to the worst, those without a value last; unchanged where there is no mode."""
    sign = -1 if mode == "max" else 1
    tasks = list(dict.fromkeys(group.task for group in groups))

    def place(group: Group) -> tuple[int, bool, float]:
        values = group.values(metric)
        mean = sign * statistics.fmean(values) if values and mode else 0.0
        return tasks.index(group.task), not values, mean

    return sorted(groups, key=place)


def write(compared: RunComparison) -> None:
    """The table, the data and the picture."""
    from framework.media import Image

    write_atomically(compared.folder / "comparison.md", markdown(compared).encode())
    write_atomically(compared.folder / "comparison.csv", rows(compared.groups).encode())
    Image.from_figure("comparison", picture(compared)).save(compared.folder)


def metrics_of(groups: Sequence[Group]) -> list[str]:
    """All metrics of the final evaluations."""
    return list(
        dict.fromkeys(m for group in groups for run in group.runs for m in run.found.metrics)
    )


def markdown(compared: RunComparison) -> str:
    """A row for each group: what tells it apart, its runs, mean and standard deviation of each metric over seeds."""
    groups = compared.groups
    keys = list(groups[0].setting)
    first = [m for m in metrics_of(groups) if m == compared.metric]
    metrics = first + [m for m in metrics_of(groups) if m != compared.metric]
    count = sum(len(group.runs) for group in groups)
    lines = [
        f"# {count} run{'s' if count > 1 else ''} compared",
        "",
        f"{ordered_by(compared)} Mean ± standard deviation over runs that differ by nothing but the seed.",
        "",
    ]
    heads = [*(short(key) for key in keys), "runs", *metrics, "steps", "seconds"]
    lines += [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for group in groups:
        cells = [told(group.setting[key]).replace("|", "\\|") for key in keys]
        cells.append(counted(group))
        cells += [spread(group.values(metric)) for metric in metrics]
        cells.append(spread([run.found.steps for run in group.runs], whole=True))
        cells.append(spread([run.seconds for run in group.runs if run.seconds is not None]))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def ordered_by(compared: RunComparison) -> str:
    if not compared.mode:
        return "Final evaluations."
    return f"Final evaluations, the {'least' if compared.mode == 'min' else 'most'} {compared.metric} first."


def counted(group: Group) -> str:
    """How many runs, and of those that have not finished what became of them."""
    states = [run.found.state for run in group.runs if run.found.state != "finished"]
    rest = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return f"{len(group.runs)}{f' ({rest})' if rest else ''}"


def spread(values: Sequence[float], *, whole: bool = False) -> str:
    """A mean, with the standard deviation where there are several."""
    if not values:
        return ""
    if whole and len(set(values)) == 1:
        return f"{values[0]:,.0f}"
    mean = f"{statistics.fmean(values):.4g}"
    return f"{mean} ± {statistics.stdev(values):.2g}" if len(values) > 1 else mean


def rows(groups: Sequence[Group]) -> str:
    """A row for each run, as CSV."""
    metrics, keys = metrics_of(groups), list(groups[0].setting)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", *map(short, keys), "seed", "state", "steps", "seconds", *metrics])
    for group in groups:
        for run in group.runs:
            known = [run.found.metrics.get(metric, "") for metric in metrics]
            setting = [group.setting[key] for key in keys]
            about = [run.settings.get("seed", ""), run.found.state, run.found.steps]
            seconds = "" if run.seconds is None else run.seconds
            table.writerow([run.found.folder, *setting, *about, seconds, *known])
    return text.getvalue()


def picture(compared: RunComparison) -> Any:
    """The metric over the steps and the objective over the steps: of each group the mean, the spread and every run."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(group.task for group in compared.groups))
    figure = Figure(figsize=(12, 1.5 + 4 * len(tasks)), layout="constrained", dpi=110)
    panels = figure.subplots(len(tasks), 2, squeeze=False)
    palette = colormaps["tab10"]
    beyond = 0
    # The best ones come last, above the others.
    for group in reversed(compared.groups):
        left, right = panels[tasks.index(group.task)]
        place = [g for g in compared.groups if g.task == group.task].index(group)
        beyond += place >= COLOURED
        colour = palette(place) if place < COLOURED else (0.75, 0.75, 0.75, 1.0)
        label = f"{group.name or 'all'} ({len(group.runs)})" if place < COLOURED else None
        draw(left, [run.curve for run in group.runs], colour, label)
        draw(right, [run.training for run in group.runs], colour, label)
    for task, (left, right) in zip(tasks, panels, strict=True):
        of_task = f"{task}: " if len(tasks) > 1 else ""
        left.set(xlabel="step", title=f"{of_task}{compared.metric}, validation split")
        right.set(xlabel="step", title=f"{of_task}objective while training")
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            if not axes.lines:
                axes.text(0.5, 0.5, "nothing was recorded", ha="center", transform=axes.transAxes)
                axes.set(xticks=[], yticks=[])
    name_curves(figure, beyond)
    return figure


def name_curves(figure: Figure, beyond: int) -> None:
    """One legend for all panels; `beyond` curves are not in it."""
    lines = [line for axes in figure.axes for line in axes.get_lines()[::-1]]
    named = {str(line.get_label()): line for line in lines}
    shown = {label: line for label, line in named.items() if not label.startswith("_")}
    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=2 if len(shown) > 3 and max(map(len, shown)) < BROAD else 1,
        fontsize="small",
        frameon=False,
        title=f"and {beyond} more, in grey" if beyond > 0 else None,
    )


def draw(
    axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], colour: Any, label: str | None
) -> None:
    """Some curves of one colour: each faintly, their mean at the steps that all of them have, and one deviation."""
    drawn = [dict(curve) for curve in curves if curve]
    if not drawn:
        return
    steps = sorted(set.intersection(*(set(curve) for curve in drawn)))
    several = len(drawn) > 1 and bool(steps)
    for curve in drawn if several else []:
        axes.plot(list(curve), list(curve.values()), color=colour, lw=0.7, alpha=0.35)
    columns = [[curve[step] for curve in drawn] for step in steps]
    if several:
        means = [statistics.fmean(column) for column in columns]
        deviations = [statistics.stdev(column) for column in columns]
        low = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
        high = [mean + deviation for mean, deviation in zip(means, deviations, strict=True)]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        axes.plot(steps, means, color=colour, lw=1.8, label=label)
    else:
        for number, curve in enumerate(drawn):
            own = label if number == 0 else None
            # A line of one point would not be seen.
            marker = "." if len(curve) == 1 else None
            steps = list(curve)
            values = list(curve.values())
            axes.plot(steps, values, color=colour, lw=1.5, marker=marker, label=own)
