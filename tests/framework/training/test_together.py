"""Several processes train one run together: what they learn, write and agree on."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from torch import nn

import framework
from framework.data import batches
from framework.errors import ProgramError, UserError
from framework.program import Program
from framework.randomness import generator
from framework.run import Run
from framework.task import Split, Task
from tests.processes import together
from tests.runs import python, records

COUNT = 2
OPTIONS = (
    "monitor.tensorboard=false",
    "trainer.device=cpu",
    "trainer.evaluate_every=2",
    "trainer.checkpoint_every=2",
    "trainer.log_every=1",
)


class Fitted(Task):
    """A network with batch normalisation that learns a sum; the batch of five has uneven parts."""

    batch_axes = 1

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.model = nn.Sequential(
                nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)
            )

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        rows = torch.randn(20, 3, generator=generator(seed, "rows"))
        return batches([*rows], 5, seed, start)

    def objective(self, context: Any, batch: Any) -> None:
        context.cost((self.model(batch).squeeze(-1) - batch.sum(-1)).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        rows = torch.linspace(-1, 1, 30).view(10, 3)
        return {"objective": (self.model(rows).squeeze(-1) - rows.sum(-1)).square().mean().item()}


class Unparted(Fitted):
    """The same, but every process has the whole batch."""

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        while True:
            yield torch.ones(5, 3)


def fit(folder: Path, task: Task | None = None, steps: int = 6, **how: Any) -> Run:
    return framework.train(task or Fitted(), folder=folder, steps=steps, overrides=OPTIONS, **how)


def train_all(rank: int, place: Path) -> None:
    """What each of the processes trains."""
    fit(place / "whole")
    # Only the second process wants to stop.
    fit(place / "stopped", on_step=lambda step, _: step < 3 or rank == 0)
    framework.train(Fitted(), resume=place / "alone", overrides=["trainer.stop_at=null"])
    with pytest.raises(ProgramError, match="gives each of 2 processes the same batch"):
        fit(place / "unparted", Unparted())
    with pytest.raises(UserError, match="estimator = automatic in 2 processes"):
        framework.train("javelin", folder=place / "refused", estimator="automatic")


@cache
def trained() -> Path:
    """A folder in which two processes have trained."""
    place = Path(mkdtemp())
    overrides = [*OPTIONS, "trainer.stop_at=3"]
    framework.train(Fitted(), folder=place / "alone", steps=6, overrides=overrides)
    together(COUNT, train_all, place)
    return place


def learned(folder: Path) -> dict[str, Any]:
    run = framework.load(folder, checkpoint="last", task=Fitted())
    return dict(run.task.model.state_dict())


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        assert torch.allclose(found[name].double(), values.double(), rtol=1e-5, atol=1e-6), name


def test_a_run_of_two_processes_learns_what_one_process_learns(tmp_path):
    alone = fit(tmp_path / "one")
    assert_same(learned(trained() / "whole"), dict(alone.task.model.state_dict()))
    one, two = records(tmp_path / "one"), records(trained() / "whole")
    assert [r["step"] for r in one] == [r["step"] for r in two]
    for tag in ("train/objective", "gradient/norm", "evaluation/objective"):
        values = [[r[tag] for r in each if tag in r] for each in (one, two)]
        assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_a_run_of_one_process_goes_on_in_two_and_back(tmp_path):
    whole = fit(tmp_path / "one")
    assert_same(learned(trained() / "alone"), dict(whole.task.model.state_dict()))
    framework.train(Fitted(), resume=trained() / "stopped", overrides=["trainer.stop_at=null"])
    assert_same(learned(trained() / "stopped"), dict(whole.task.model.state_dict()))


def test_one_process_writes_the_run():
    folder = trained() / "whole"
    assert sum(1 for _ in (folder / "checkpoints").glob("step_*.pt")) == 2
    assert (folder / "log.txt").read_text().count("all steps done") == 1
    assert "on cpu in 2 processes" in (folder / "log.txt").read_text()


def test_all_stop_where_one_wants_to():
    result = framework.load(trained() / "stopped", task=Fitted(), checkpoint="last")
    assert result.step in (3, 6)
    assert "stopped by a callback" in (trained() / "stopped" / "log.txt").read_text()


def test_what_cannot_be_divided_leaves_no_run():
    assert not (trained() / "unparted").exists()
    assert not (trained() / "refused").exists()


def test_a_script_is_told_how_to_start_several(tmp_path):
    with pytest.raises(UserError, match="torchrun --nproc-per-node=2 SCRIPT"):
        framework.train("javelin", folder=tmp_path / "run", overrides=["trainer.ranks=2"])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_command_starts_them_itself(tmp_path):
    place = tmp_path / "run"
    words = ["experiment=javelin", "trainer.ranks=2", "trainer.steps=20", f"hydra.run.dir={place}"]
    command = python("-m", "framework.commands.main", "train", *words, cwd=tmp_path)
    made, _ = command.communicate()
    assert command.returncode == 0
    assert "20 steps on cpu in 2 processes" in made
    assert made.splitlines()[-1] == str(place)
