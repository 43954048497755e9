"""Several processes that train together: how much faster two are, and what n of them would exchange.

Run: python -m experiments.benchmarks.ranks [detection | detection_64 | ppo | cost]

Throughput: the same command with one process and with two, in turn, the same global batch, one thread in each, nothing
logged or evaluated in between; it needs two idle cores.

Cost: what a process sends in a step and how long n of them would take, computed from one process's measured step by

    seconds(n) = compute / n + 2 (n - 1) / n * bytes / bandwidth + exchanges * latency * log2(n)

for gradients that are summed in a ring, with the bandwidth and the latency of the table's head. It is a model, not a
measurement: it leaves out stragglers and data that arrive late.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import framework
from experiments.command import given_arguments
from framework.training.assembly import make_components
from framework.training.folders.records import read_records

ROUNDS = 3
PROCESSES = (8, 64, 512)
# Of a network of 10 Gbit/s, in bytes per second and seconds.
BANDWIDTH, LATENCY = 1.25e9, 50e-6
QUIET = (
    "trainer.device=cpu",
    "trainer.threads=1",
    "trainer.quality.every=0",
    "trainer.evaluate_every=0",
    "trainer.checkpoint_every=0",
    "monitor.tensorboard=false",
    "monitor.progress=none",
    "monitor.histograms_every=0",
)


@dataclass(frozen=True)
class Training:
    """What is trained, and the least ratio that two processes are to reach.

    Attributes:
        exchanges: sums over all processes in a step, the gradient's and batch normalisation's among them.
    """

    arguments: tuple[str, ...]
    steps: int
    bar: float
    exchanges: int


TRAININGS = {
    "detection": Training(("experiment=detection", "task.workers=0"), 60, 1.7, 36),
    # As many exchanges, of which each comes after four times as much work.
    "detection_64": Training(
        ("experiment=detection", "task.workers=0", "task.batch_size=64"), 24, 1.7, 36
    ),
    "ppo": Training(
        (
            "experiment=cartpole",
            "estimator=ppo",
            "task.games=2048",
            "task.hidden=[128,128]",
            "task.evaluation_episodes=1",
        ),
        60,
        1.6,
        10,
    ),
}


def steps_per_second(training: Training, processes: int) -> float:
    """The median over the later half of a training's log."""
    with tempfile.TemporaryDirectory() as place:
        words = [
            *training.arguments,
            *QUIET,
            f"trainer.steps={training.steps}",
            f"trainer.log_every={training.steps // 12}",
            f"trainer.ranks={processes}",
            f"hydra.run.dir={place}/run",
        ]
        command = [sys.executable, "-m", "framework.commands.main", "train", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        tag = "time/steps_per_second"
        found = [
            r[tag] for r in read_records(Path(place, "run", "metrics.jsonl"), print) if tag in r
        ]
    return float(statistics.median(found[len(found) // 2 :]))


def throughput(name: str) -> None:
    """One line: the ratio of two processes to one, its bar, and the rates it comes from."""
    training = TRAININGS[name]
    rates = [[steps_per_second(training, count) for count in (1, 2)] for _ in range(ROUNDS)]
    ratio = statistics.median(two / one for one, two in rates)
    one, two = (statistics.median(pair[i] for pair in rates) for i in (0, 1))
    verdict = "reaches" if ratio >= training.bar else "BELOW"
    print(
        f"{name:<12} {ratio:5.2f}x  {verdict} {training.bar:.1f}x   "
        f"({two:.2f} steps/s in two processes, {one:.2f} in one)",
        flush=True,
    )


def exchanged_bytes(sent: float, processes: int) -> float:
    """What each process sends in a step to sum `sent` bytes in a ring."""
    return 2 * (processes - 1) / processes * sent


def seconds(compute: float, sent: float, exchanges: int, processes: int) -> float:
    """The model of the module's docstring."""
    waits = exchanges * LATENCY * math.log2(processes)
    return compute / processes + exchanged_bytes(sent, processes) / BANDWIDTH + waits


def cost() -> None:
    """The table: bytes and seconds for each training, and for estimators that exchange numbers instead of gradients."""
    head = " | ".join(f"{n} processes" for n in PROCESSES)
    print(f"10 Gbit/s, {1e6 * LATENCY:.0f} us; seconds a step, and megabytes that a process sends")
    print(
        f"| training | bytes summed | one process | {head} |\n|---|---|---|{'---|' * len(PROCESSES)}"
    )
    for name, training in TRAININGS.items():
        settings = framework.compose(*training.arguments, *QUIET)
        parameters = make_components(settings).task.parameters
        gradients = 4 * sum(p.numel() for p in parameters.values())
        one = 1 / steps_per_second(training, 1)
        # A number for each direction, and torch's generator.
        by_numbers = 8 * 2 * 16 + 5056
        for what, sent in ((name, gradients), (f"{name}, by evolution strategies", by_numbers)):
            cells = [
                f"{seconds(one, sent, training.exchanges, n):.4f} s, {exchanged_bytes(sent, n) / 1e6:.3f} MB"
                for n in PROCESSES
            ]
            print(f"| {what} | {sent:,} | {one:.4f} s | {' | '.join(cells)} |", flush=True)


def main() -> None:
    chosen = given_arguments(__doc__, most=1) or [*TRAININGS, "cost"]
    known = [*TRAININGS, "cost"]
    if chosen[0] not in known:
        sys.exit(f"'{chosen[0]}': expected one of {', '.join(known)}")
    for name in chosen:
        if name == "cost":
            cost()
        else:
            throughput(name)


if __name__ == "__main__":
    main()
