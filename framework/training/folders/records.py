"""`metrics.jsonl`: one JSON object a line, each with "step" and "seconds"; damaged ones are passed over and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.atomic import write_atomically
from framework.training.folders.untrusted import LINES, read_bytes


def read_records(path: Path, log: Callable[[str], None]) -> list[dict[str, Any]]:
    """The records of a run, in order; `log` gets a line where some cannot be read.

    Raises:
        UserError: the file itself cannot be read.
    """
    found = [(number, record_of(line)) for number, line in enumerate(lines_of(path), 1)]
    damaged = [number for number, record in found if record is None]
    if damaged:
        log(f"{path}: {told(damaged)} damaged and passed over")
    return [record for _, record in found if record is not None]


def drop_records(path: Path, beyond: Callable[[dict[str, Any]], bool]) -> tuple[float, str]:
    """Drop the records that a resumed session makes again, and damaged lines.

    The file is replaced only where something has to go.

    Returns:
        The seconds of the last record that stays, 0 where there is none; and what was damaged, in words.
    """
    lines = lines_of(path)
    found = [record_of(line) for line in lines]
    kept = [record is not None and not beyond(record) for record in found]
    if not all(kept):
        chosen = [line for line, stays in zip(lines, kept, strict=True) if stays]
        write_atomically(path, b"".join(chosen))
    last = next((r for r, stays in reversed(list(zip(found, kept, strict=True))) if stays), None)
    seconds = (last or {}).get("seconds")
    # The last line may be cut wherever a process was killed: that is no damage.
    damaged = [n for n, r in enumerate(found, 1) if r is None and lines[n - 1].endswith(b"\n")]
    said = f"{path}: {told(damaged)} damaged and dropped" if damaged else ""
    return (float(seconds) if isinstance(seconds, int | float) else 0.0), said


def lines_of(path: Path) -> list[bytes]:
    """A file's lines with their ends; none where there is no file.

    Raises:
        UserError: it is no file, has more than `LINES` bytes or cannot be read.
    """
    return read_bytes(path, LINES).splitlines(keepends=True) if os.path.lexists(path) else []


def record_of(line: bytes) -> dict[str, Any] | None:
    """A line's record; None where it is cut, no UTF-8, no JSON object or without a step."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    whole = isinstance(record, dict) and type(record.get("step")) is int and record["step"] >= 0
    return record if whole else None


def told(numbers: list[int]) -> str:
    """Line numbers in words, the first few of them."""
    shown = ", ".join(str(number) for number in numbers[:5])
    more = ", ..." if len(numbers) > 5 else ""
    return f"line {shown} is" if len(numbers) == 1 else f"lines {shown}{more} are"
