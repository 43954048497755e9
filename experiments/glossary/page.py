"""The generated parts of docs/: options and metrics in the glossary, the public names in the architecture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from experiments.glossary.metrics import core_metrics, task_metrics
from experiments.glossary.names import names_table
from experiments.glossary.options import Entry, entries
from experiments.glossary.table import table
from framework.plugin import ROOT

GLOSSARY = ROOT / "docs" / "glossary.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
BEGIN = "<!-- Written by `python -m experiments.glossary` from here on. -->"
END = "<!-- Written by hand from here on. -->"


def pages() -> dict[Path, str]:
    """Each page as it ought to be: what stands outside the markers stays."""
    parts: dict[Path, Iterable[str]] = {
        GLOSSARY: [*options_chapter(), *metrics_chapter()],
        ARCHITECTURE: names_table(),
    }
    return {page: replaced(page.read_text(encoding="utf-8"), part) for page, part in parts.items()}


def replaced(text: str, lines: Iterable[str]) -> str:
    """A page with the lines between its markers replaced."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    written = "\n".join(lines).strip()
    return f"{before}{BEGIN}\n\n{written}\n\n{END}{after}"


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


def tagged(metrics: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(f"`{name}`", text) for name, text in metrics.items()]


def code(text: str) -> str:
    return f"`{text}`" if text else ""
