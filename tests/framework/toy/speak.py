"""diffobj speak: say what one was told: diffobj speak WORDS

A plugin's own command.
"""

from __future__ import annotations

from collections.abc import Sequence


def run(arguments: Sequence[str]) -> int:
    """Print the words; the status is their number."""
    print(*arguments)
    return len(arguments)
