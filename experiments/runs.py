"""The runs of a study: trained once, gone on with where they were stopped, and read when they are done."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import framework


def trained(place: Path, *options: str) -> Path:
    """The folder of a run with these options; what was trained to its end before is not trained again.

    Raises:
        SystemExit: the run was stopped by a signal; the same study goes on there when it is started again.
    """
    if finished(place):
        return place
    print(f"{place} ...", file=sys.stderr, flush=True)
    if (place / "result.json").exists():
        run = framework.train(resume=place)
    else:
        run = framework.train(overrides=options, folder=place)
    if run.stopped_by is not None:
        raise SystemExit(128 + run.stopped_by)
    return place


def finished(place: Path) -> bool:
    """Whether a run was trained to its end and judged; one that a signal stopped has no metrics."""
    return (place / "result.json").exists() and bool(result(place)["metrics"])


def result(place: Path) -> dict[str, Any]:
    """What `result.json` of a run holds."""
    found: dict[str, Any] = json.loads((place / "result.json").read_text())
    return found


def records(place: Path) -> list[dict[str, Any]]:
    """What a run logged, a record for each step."""
    return [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
