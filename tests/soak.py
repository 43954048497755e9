"""A long training watched from inside: python -m tests.soak [MINUTES].

Memory, descriptors, threads and the time of a step must not grow. Evaluations, checkpoints, pictures, TensorBoard and
the log are all due often. Exits with 1 where something grew.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import framework

# The first quarter warms up: allocators, late imports, TensorBoard's queues.
WARM = 0.25
# Growth from the first to the last quarter that is noise: MiB, descriptors, threads, a share of the time of a step.
ALLOWED = {"memory": 8.0, "descriptors": 0.5, "threads": 0.5, "seconds of a step": 0.25}
OPTIONS = (
    "trainer.steps=100000000",
    "trainer.evaluate_every=200",
    "trainer.checkpoint_every=100",
    "trainer.log_every=10",
    "monitor.show_every=1",
    "monitor.histograms_every=200",
    "monitor.progress=none",
    "trainer.quality.every=400",
)


def measured() -> dict[str, float]:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "descriptors": float(len(os.listdir("/proc/self/fd"))),
        "threads": float(threading.active_count()),
    }


def watch(minutes: float) -> list[dict[str, float]]:
    """Train for some minutes; a measurement every 200 steps."""
    found: list[dict[str, float]] = []
    began = time.monotonic()
    window: list[float] = []
    last = [time.monotonic()]

    def on_step(step: int, estimate: object) -> bool:
        now = time.monotonic()
        window.append(now - last[0])
        last[0] = now
        if step % 200 == 0:
            # The median: evaluations and saves are in some of them.
            found.append({**measured(), "seconds of a step": statistics.median(window)})
            window.clear()
        return now - began < 60 * minutes

    with tempfile.TemporaryDirectory() as place:
        framework.train("javelin", folder=Path(place) / "run", overrides=OPTIONS, on_step=on_step)
    return found[int(WARM * len(found)) :]


def grown(found: list[dict[str, float]]) -> dict[str, float]:
    """From the median of the first quarter to that of the last; of a step's time the share."""
    quarter = max(1, len(found) // 4)
    growth = {}
    for name in ALLOWED:
        first = statistics.median(record[name] for record in found[:quarter])
        last = statistics.median(record[name] for record in found[-quarter:])
        growth[name] = (last - first) / (first if name == "seconds of a step" else 1.0)
    return growth


def main(minutes: float = 20.0) -> int:
    found = watch(minutes)
    growth = grown(found)
    print(
        f"the last {200 * len(found):,} steps of {minutes:g} minutes, from their first to their last quarter:"
    )
    for name, amount in growth.items():
        print(f"{name:<20}{amount:+.3f}   allowed {ALLOWED[name]:+.3f}")
    return int(any(amount > ALLOWED[name] for name, amount in growth.items()))


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
