"""A hundred small SVG files of every kind that editors, icon sets and plotting libraries write: files.txt, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final


def files() -> dict[str, str]:
    """Each document, by the name above it; an empty line ends it."""
    found = {}
    for section in (Path(__file__).parent / "files.txt").read_text().split("\n\n"):
        name, _, text = section.strip().partition("\n")
        found[name.removeprefix("# ")] = text
    return found


FILES: Final = files()
