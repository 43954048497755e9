"""The life of several processes under torchrun: one of them is killed, is asked to stop, or hangs."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs import newest, python, records, result

pytestmark = pytest.mark.slow

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
TRAIN = ("-m", "framework.commands.main", "train", "experiment=javelin", "estimator=rloo")
# Seconds of work, so that a signal finds it there.
OPTIONS = ("trainer.steps=1500", "trainer.checkpoint_every=100", "monitor.tensorboard=false")
HANGING = """
import time
import torch
import framework
from framework import ranks

class Hanging(framework.Task):
    def __init__(self):
        self.model = torch.nn.Linear(1, 1)

    def objective(self, context, batch):
        self.calls = getattr(self, "calls", 0) + 1
        if ranks.rank() == 1 and self.calls > 20:
            hangs_here()
        context.cost(self.model.weight.square().sum())

def hangs_here():
    time.sleep(600)

framework.train(Hanging(), folder="run", steps=1000, overrides=["trainer.watchdog=0.05"])
"""


def started(folder: Path, *more: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Two processes that train in `folder / "run"`."""
    words = (*OPTIONS, "resume=auto", f"hydra.run.dir={folder / 'run'}", *more)
    return python(*TORCHRUN, f"--max-restarts={restarts}", *TRAIN, *words, cwd=folder)


def process_of(launcher: subprocess.Popen[str], rank: int) -> int:
    """The number of one of the processes that torchrun has started."""

    def children() -> Iterator[int]:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                parent = (place / "stat").read_text().rpartition(")")[2].split()[1]
                variables = (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if int(parent) == launcher.pid and b"RANK=%d" % rank in variables:
                yield int(place.name)

    return next(children())


def wait_for_steps(folder: Path, steps: int) -> None:
    """Until so many steps are logged."""
    until = time.monotonic() + 120
    while not any(r["step"] >= steps for r in records(folder / "run")):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_run_that_loses_processes_is_the_undisturbed_one(tmp_path):
    calm, lossy = tmp_path / "calm", tmp_path / "lossy"
    for folder in (calm, lossy):
        folder.mkdir()
    undisturbed = started(calm)
    undisturbed.communicate()
    assert undisturbed.returncode == 0
    disturbed = started(lossy, restarts=3)
    for rank, steps in ((1, 200), (0, 700)):
        wait_for_steps(lossy, steps)
        os.kill(process_of(disturbed, rank), signal.SIGKILL)
        time.sleep(1)
    disturbed.communicate()
    assert disturbed.returncode == 0
    assert result(lossy / "run")["steps"] == 1500
    ends = [newest(folder / "run")["model"] for folder in (calm, lossy)]
    for name, value in ends[0].items():
        assert (ends[1][name] - value).abs().max() <= 1e-6 * value.abs().max()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_one_stops_all_and_saves_once(tmp_path, rank):
    # More steps than there is time for, however late the signal comes.
    launcher = started(tmp_path, "trainer.checkpoint_every=0", "trainer.steps=1000000")
    wait_for_steps(tmp_path, 100)
    os.kill(process_of(launcher, rank), signal.SIGTERM)
    asked = time.monotonic()
    launcher.communicate()
    # No verdict on the last steps: what is refused is a job that goes on, or waits for a time-out.
    assert time.monotonic() - asked < 60
    assert [p.name for p in (tmp_path / "run/checkpoints").glob("step_*.pt")] == [
        f"step_{result(tmp_path / 'run')['steps']:09}.pt"
    ]
    assert 100 <= result(tmp_path / "run")["steps"] < 1000000


def test_a_process_that_hangs_ends_the_job_and_says_where(tmp_path):
    (tmp_path / "script.py").write_text(HANGING)
    launcher = python(*TORCHRUN, "script.py", cwd=tmp_path)
    _, said = launcher.communicate(timeout=200)
    assert launcher.returncode != 0
    assert "Timeout (0:00:03)!" in said
    assert "in hangs_here" in said
