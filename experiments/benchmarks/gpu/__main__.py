"""What a GPU makes of games, drawings and estimators, and whether it agrees with the CPU.

Run: python -m experiments.benchmarks.gpu [agreement] [waits] [stepping] [learning] [solving] [raster] [estimators]
     [processes]

Under six minutes in all on one GPU; each part also by its name. Every line is a figure, with its bar where it has one.
RESULTS.md beside this gets them, with the card's name and the commit. A part that fails says why in one line, the
others go on, and the exit status is 1. A machine without a GPU runs the same code at a
tiny size on its CPU and writes nothing: its seconds mean nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

from experiments.benchmarks.gpu import results
from experiments.benchmarks.gpu.agreement import agreement
from experiments.benchmarks.gpu.drawing import raster
from experiments.benchmarks.gpu.estimating import estimators
from experiments.benchmarks.gpu.figures import Figure, Machine
from experiments.benchmarks.gpu.playing import learning, solving, stepping
from experiments.benchmarks.gpu.processes import processes
from experiments.benchmarks.gpu.waiting import waits
from experiments.command import given_arguments

PARTS: dict[str, Callable[[Machine], Iterator[Figure]]] = {
    "agreement": agreement,
    "waits": waits,
    "stepping": stepping,
    "learning": learning,
    "solving": solving,
    "raster": raster,
    "estimators": estimators,
    "processes": processes,
}


# Seconds after which no further part begins.
LIMIT = 330.0


def main() -> None:
    given = given_arguments(__doc__)
    if unknown := [name for name in given if name not in PARTS]:
        sys.exit(f"'{unknown[0]}': expected {', '.join(PARTS)}")
    machine, began = Machine.here(), time.monotonic()
    found: dict[str, list[Figure]] = {}
    failed: dict[str, str] = {}
    print(machine.name, flush=True)
    for name in given or PARTS:
        found[name] = []
        if time.monotonic() - began > LIMIT:
            failed[name] = (
                f"not begun after {LIMIT:.0f} s; alone: experiments.benchmarks.gpu {name}"
            )
        else:
            failed |= measured(name, machine, found[name])
        if name in failed:
            print(f"{name}: {failed[name]}", flush=True)
        machine.tidy()
    if written := results.write(machine, found, time.monotonic() - began, failed):
        print(f"written: {written}")
    if any(f.reached is False for f in found.get("agreement", [])):
        sys.exit("the device disagrees with the CPU")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measured(name: str, machine: Machine, figures: list[Figure]) -> dict[str, str]:
    """Add a part's figures, and print them; what it failed with, in one line. The other parts go on."""
    try:
        for figure in PARTS[name](machine):
            print(figure, flush=True)
            figures.append(figure)
    except Exception as error:
        return {name: f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"}
    return {}


if __name__ == "__main__":
    main()
