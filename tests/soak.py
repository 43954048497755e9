"""A long training watched from inside: python -m tests.soak [MINUTES].

Memory, descriptors, threads, checkpoints and the time of a step must not grow. Evaluations, checkpoints, pictures,
TensorBoard and the log are all due often. Exits with 1 where something grew.

Memory is measured twice. In use: after collecting what nothing refers to and giving free pages back to the system; it
is so steady that a few bytes kept by each step are noticed. As it is: fragmentation and late collection are in it, and
it wanders by megabytes. Time is that of the processor, which other programs on the machine hardly change.
"""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import framework

# The first quarter warms up: allocators, late imports, TensorBoard's queues.
WARM = 0.25
# Steps between two looks at the process, and looks in one record.
LOOK, LOOKS = 200, 10
BLOCK = LOOK * LOOKS
# Growth that is noise: a share of what it was, things in all, or bytes a step.
SHARE = {"seconds of a step": 0.25, "seconds of a block": 0.25}
IN_ALL = {"descriptors": 0.5, "threads": 0.5}
BYTES = {"memory in use": 16.0, "memory as it is": 100.0, "checkpoint": 4.0}
# A jump or two, such as a library that first does something late, is no growth by the step; more of them are a leak.
JUMPS = {"memory in use": 8.0 * 2**20, "memory as it is": 16.0 * 2**20}
# Records that are compared are at most so many apart: a jump lies between few of them.
NEAR = 8
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
Record = dict[str, float]


def resident() -> float:
    """The memory of this process that is in RAM, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def in_use() -> float:
    """The same, without what waits for a collection and without free pages."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


class Watch:
    """Looks at the process from inside the training.

    Args:
        folder: the run's.
        plant: called at every step: what a test lets grow.
    """

    def __init__(self, folder: Path, plant: Callable[[], None]) -> None:
        self.folder, self.plant = folder, plant
        self.records: list[Record] = []
        self.memory: list[float] = []
        self.steps: list[float] = []
        self.last = time.process_time()

    def step(self, step: int) -> None:
        self.plant()
        now = time.process_time()
        self.steps.append(now - self.last)
        self.last = now
        if step % LOOK == 0:
            self.memory.append(resident())
        if step % BLOCK == 0:
            self.records.append(self.record(step))
            self.memory, self.steps = [], []
            # What the measurement takes is not the training's.
            self.last = time.process_time()

    def record(self, step: int) -> Record:
        saved = sorted((self.folder / "checkpoints").glob("step_*.pt"))
        return {
            "step": step,
            "memory as it is": max(self.memory),
            "memory in use": in_use(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
            "checkpoint": float(saved[-1].stat().st_size) if saved else 0.0,
            # Evaluations and saves are in some steps, and in every block.
            "seconds of a step": statistics.median(self.steps),
            "seconds of a block": sum(self.steps),
        }


def watch(
    minutes: float, *overrides: str, plant: Callable[[], None] = lambda: None
) -> list[Record]:
    """Train for some minutes; a record every `BLOCK` steps, those of the warm-up left out."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        watching = Watch(folder, plant)

        def on_step(step: int, estimate: object) -> bool:
            watching.step(step)
            return time.monotonic() - began < 60 * minutes

        options = [*OPTIONS, *overrides]
        framework.train("javelin", folder=folder, overrides=options, on_step=on_step)
    return watching.records[int(WARM * len(watching.records)) :]


def slope(records: list[Record], name: str) -> float:
    """Growth by the step: the median over pairs of records (Theil 1950) near each other, which no jump moves."""
    return statistics.median(
        (after[name] - before[name]) / (after["step"] - before["step"])
        for before, after in combinations(records, 2)
        if after["step"] - before["step"] <= NEAR * BLOCK
    )


def rise(records: list[Record], name: str) -> float:
    """Growth in all: from the median of the first quarter of the records to that of the last."""
    quarter = len(records) // 4
    first, last = (
        statistics.median(record[name] for record in part)
        for part in (records[:quarter], records[-quarter:])
    )
    return last - first


def judged(records: list[Record]) -> list[tuple[str, float, float, str]]:
    """What was measured: its name, its growth, how much is allowed, and the unit."""
    lines = [(name, slope(records, name), most, "bytes a step") for name, most in BYTES.items()]
    lines += [(name, rise(records, name), most, "bytes in all") for name, most in JUMPS.items()]
    lines += [(name, rise(records, name), most, "in all") for name, most in IN_ALL.items()]
    for name, most in SHARE.items():
        level = statistics.median(record[name] for record in records)
        lines.append((name, rise(records, name) / level, most, "of what it was"))
    return lines


def grown(records: list[Record]) -> list[str]:
    """What grew by more than is allowed.

    Raises:
        ValueError: there are too few records for a verdict.
    """
    if len(records) < 8:
        raise ValueError(f"{len(records)} records of {BLOCK} steps; at least 8 are needed")
    return list(dict.fromkeys(n for n, growth, most, _ in judged(records) if growth > most))


def main(minutes: float = 20.0) -> int:
    records = watch(minutes)
    found = grown(records)
    first, last = records[0], records[-1]
    print(f"steps {first['step']:,} to {last['step']:,} of {minutes:g} minutes:")
    for name, growth, most, unit in judged(records):
        verdict = "GREW" if growth > most else "steady"
        ends = f"{first[name]:,.6g} -> {last[name]:,.6g}"
        print(f"{name:<20}{verdict:<8}{growth:+12,.2f} {unit} (allowed {most:+,g}); {ends}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*map(float, sys.argv[1:])))
