"""RESULTS.md: the figures with the card, the commit and the command."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import torch

from experiments.benchmarks.gpu.figures import Figure, Machine, in_words
from framework.atomic import write_atomically
from framework.plugin import ROOT

PAGE = Path(__file__).parent / "RESULTS.md"


def page(
    machine: Machine,
    parts: Mapping[str, Sequence[Figure]],
    seconds: float,
    failed: Mapping[str, str],
) -> str:
    """The page, in Markdown; `failed`: what parts failed with."""
    lines = [
        "# On a GPU",
        "",
        f"{machine.name}, torch {torch.__version__}, commit {commit()}, {datetime.now(UTC):%Y-%m-%d}; "
        f"{seconds:.0f} s in all.",
        "",
        f"    python -m experiments.benchmarks.gpu {' '.join(parts)}",
    ]
    for name, figures in parts.items():
        lines += ["", f"## {name}", "", "| what | value | unit | bar |", "|---|---|---|---|"]
        lines += [
            f"| {f.name} | {in_words(f.value)} | {f.unit} | {f.verdict or '-'} |" for f in figures
        ]
        if name in failed:
            lines += ["", f"Failed: {failed[name]}"]
    return "\n".join(lines) + "\n"


def write(
    machine: Machine,
    parts: Mapping[str, Sequence[Figure]],
    seconds: float,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Path | None:
    """Write the page where there is a GPU; its path, or None."""
    if machine.device.type != "cuda":
        return None
    write_atomically(PAGE, page(machine, parts, seconds, failed).encode())
    return PAGE


def commit() -> str:
    """The commit that is measured; "unknown" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
