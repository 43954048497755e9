"""The page docs/glossary.md: words by hand above a marker, options and metrics by code below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from experiments.glossary.metrics import core_metrics, task_metrics
from experiments.glossary.options import Entry, entries
from framework.plugin import ROOT

PAGE = ROOT / "docs" / "glossary.md"
MARKER = "<!-- Below this line everything is written by `python -m experiments.glossary`. -->"


def write() -> None:
    """Write the generated part again; what stands above the marker stays."""
    PAGE.write_text(expected(), encoding="utf-8")


def expected() -> str:
    """The page as it ought to be."""
    words = PAGE.read_text(encoding="utf-8").partition(MARKER)[0]
    return f"{words}{MARKER}\n\n{generated()}"


def generated() -> str:
    lines = [*options_chapter(), *metrics_chapter()]
    return "\n".join(lines).rstrip() + "\n"


def options_chapter() -> Iterator[str]:
    yield from (
        "## Options",
        "",
        "`group=name` chooses a component, `key=value` sets an option: "
        "`diffobj train experiment=cartpole estimator=ppo estimator.clip=0.1`. "
        "`null` is written where an option is left open.",
        "",
    )
    for entry in entries():
        yield from section(entry)


def section(entry: Entry) -> Iterator[str]:
    yield from (f"### {entry.heading}", "", entry.summary)
    if entry.variants:
        yield from ("", f"Variants of it: {', '.join(f'`{name}`' for name in entry.variants)}.")
    if entry.options:
        rows = [(f"`{o.key}`", o.kind, code(o.default), o.meaning) for o in entry.options]
        yield from ("", *table(("option", "value", "default", "meaning"), rows))
    yield ""


def metrics_chapter() -> Iterator[str]:
    yield from (
        "## Metrics",
        "",
        "Tags in TensorBoard and `metrics.jsonl`; the metrics of the final evaluation stand in `result.json`, too.",
        "",
        "### Of every run",
        "",
    )
    yield from table(("tag", "meaning"), tagged(core_metrics()))
    for task, metrics in task_metrics():
        yield from ("", f"### Of task {task}", "", *table(("name", "meaning"), tagged(metrics)))


def tagged(metrics: Iterable[str] | dict[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", text) for name, text in dict(metrics).items()]


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A Markdown table."""
    for row in (head, ("---",) * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def code(text: str) -> str:
    return f"`{text}`" if text else ""
