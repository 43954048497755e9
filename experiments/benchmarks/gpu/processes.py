"""One process under torchrun: NCCL where there is a GPU, gloo elsewhere; the same result as without."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.benchmarks.gpu.figures import Figure, Machine
from framework.training.folders.records import read_records
from framework.training.folders.run_folder import RunFolder

LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1")


def processes(machine: Machine) -> Iterator[Figure]:
    """A training with one process alone, and with one that torchrun has started."""
    found = {
        name: trained(machine, launcher)
        for name, launcher in (("alone", ()), ("torchrun", LAUNCHER))
    }
    for name, (value, rate) in found.items():
        yield Figure(f"javelin, {name}: range at the end", value, "m")
        yield Figure(f"javelin, {name}: steps a second", rate, "steps/s")
    difference = abs(found["alone"][0] - found["torchrun"][0]) / abs(found["alone"][0])
    yield Figure("difference of one process under torchrun", difference, "", 1e-6, most=True)


def trained(machine: Machine, launcher: tuple[str, ...]) -> tuple[float, float]:
    """The final metric of a short training in a process of its own, and its steps a second."""
    with tempfile.TemporaryDirectory() as place:
        words = [
            "experiment=javelin",
            f"trainer.device={machine.device.type}",
            "trainer.steps=60",
            "trainer.quality.every=0",
            "monitor.tensorboard=false",
            "monitor.progress=none",
            f"hydra.run.dir={place}/run",
        ]
        command = [sys.executable, *launcher, "-m", "framework.commands.main", "train", *words]
        subprocess.run(command, check=True, capture_output=True)
        folder = RunFolder(Path(place, "run"))
        rates = [
            record["time/steps_per_second"]
            for record in read_records(folder.path / "metrics.jsonl", print)
            if "time/steps_per_second" in record
        ]
        return float(folder.result()["metrics"]["range_metres"]), float(rates[-1])
