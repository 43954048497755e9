"""Pairs: two ways of doing the same, timed in turn within one run by CPU time, reported as a ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    *,
    rounds: int = 15,
    seconds: float = 0.2,
) -> tuple[float, float, float]:
    """Time both in alternation.

    Returns:
        the median of the rounds' ratios ours / theirs, and the median CPU seconds of one call of each.
    """
    calls = [calls_in(seconds, f) for f in (ours, theirs)]
    times: list[list[float]] = []
    for number in range(rounds):
        pair = [0.0, 0.0]
        for which in (0, 1) if number % 2 else (1, 0):
            pair[which] = timed((ours, theirs)[which], calls[which])
        times.append(pair)
    ratios = [a / b for a, b in times]
    own, other = (statistics.median(pair[i] for pair in times) for i in (0, 1))
    return statistics.median(ratios), own, other


def timed(function: Callable[[], object], calls: int) -> float:
    """The CPU seconds of one call, averaged over `calls`."""
    began = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - began) / calls


def calls_in(seconds: float, function: Callable[[], object]) -> int:
    """How many calls fit into `seconds`; warms the function up as well."""
    function()
    return max(1, int(seconds / max(1e-9, timed(function, 3))))


def report(title: str, found: tuple[float, float, float], bar: float) -> None:
    """One line: the ratio, its bar, and the times it comes from."""
    median, own, other = found
    verdict = "within" if median <= bar else "ABOVE"
    print(
        f"{title:<52} {median:5.2f}x  {verdict} {bar:.2f}x   ({1e6 * own:,.0f} us against {1e6 * other:,.0f} us)",
        flush=True,
    )
