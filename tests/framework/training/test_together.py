"""Several processes train one run together: what they learn, write and agree on."""

import json
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from torch import nn

import framework
from framework import ranks
from framework.data import batches
from framework.errors import Elsewhere, ProgramError, UserError
from framework.launch import SUPERVISED, tell
from framework.program import Program
from framework.randomness import generator
from framework.run import Run
from framework.task import Split, Task
from tests.processes import together
from tests.runs import python, records, result

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
    size = 5

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.model = nn.Sequential(
                nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1)
            )

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Any]:
        rows = torch.randn(20, 3, generator=generator(seed, "rows"))
        return batches([*rows], self.size, seed, start)

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


class Compared(Fitted):
    """The same, but each datum is divided by the largest of its batch."""

    def objective(self, context: Any, batch: Any) -> None:
        found = self.model(batch).squeeze(-1).square()
        context.cost(found / found.max())


def fit(folder: Path, task: Task | None = None, steps: int = 6, **how: Any) -> Run:
    return framework.train(task or Fitted(), folder=folder, steps=steps, overrides=OPTIONS, **how)


def sharded(folder: Path, shards: int | str, task: Any = None, **how: Any) -> Run:
    """The network, or what is named, in shards, one thread in each process."""
    options = [*OPTIONS, f"trainer.shards={shards}", "trainer.threads=1", *how.pop("more", ())]
    return framework.train(task or Fitted(), folder=folder, steps=6, overrides=options, **how)


def games(folder: Path, shards: int | str, *more: str) -> Run:
    """Seven games, whose observations and returns are normalised, for a policy learned by PPO."""
    small = [
        "task.games=7",
        "task.rollout_steps=5",
        "task.hidden=[8]",
        "task.evaluation_episodes=2",
    ]
    kept = ["task.normalise_observations=true", "task.normalise_returns=true", "estimator.epochs=2"]
    return sharded(folder, shards, "cartpole", estimator="ppo", more=(*small, *kept, *more))


def bits(run: Path) -> dict[str, list[Any]]:
    """The parameters and buffers of a run's last step."""
    state = torch.load(max(run.glob("checkpoints/step_*.pt")), weights_only=True)["model"]
    return {name: values.tolist() for name, values in state.items()}


class FittedByMore(Fitted):
    """The same with a batch of eleven."""

    size = 11


def train_eight(rank: int, place: Path) -> None:
    """A network, samples without data, and games, each in eight shards."""
    sharded(place / "data", 8, FittedByMore())
    sharded(place / "samples", 8, "javelin", estimator="rloo")
    games(place / "games", 8, "task.games=13")


def train_all(rank: int, place: Path) -> None:
    """What each of the processes trains."""
    # Whoever follows knows the outcome, too.
    assert set(fit(place / "whole").metrics) == {"objective"}
    sharded(place / "sharded", 3)
    sharded(place / "samples", 3, "javelin", estimator="rloo")
    games(place / "games", "null", "trainer.stop_at=3")
    games(place / "sharded games", 3)
    with pytest.raises(UserError, match="the same settings"):
        fit(place / "refused", seed=rank)
    # Only the second process wants to stop.
    fit(place / "stopped", on_step=lambda step, _: step < 3 or rank == 0)
    framework.train(Fitted(), resume=place / "alone", overrides=["trainer.stop_at=null"])
    with pytest.raises(ProgramError, match="gives each of 2 processes the same batch"):
        fit(place / "unparted", Unparted())
    # One of the processes has a single datum.
    for size in (3, 6):
        Compared.size = size
        with pytest.raises(ProgramError, match=r"framework\.ranks\.all_rows"):
            fit(place / "compared", Compared())
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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", ["sharded", "samples"])
def test_shards_have_the_same_bits_in_any_number_of_processes(tmp_path, name):
    how: Any = {"samples": {"task": "javelin", "estimator": "rloo"}}.get(name, {})
    sharded(tmp_path / "one", 3, **how)
    assert bits(tmp_path / "one") == bits(trained() / name)
    if name == "sharded":
        whole = fit(tmp_path / "whole")
        assert_same(learned(tmp_path / "one"), dict(whole.task.model.state_dict()))


def test_games_in_shards_have_the_same_bits_in_any_number_of_processes(tmp_path):
    games(tmp_path / "one", 3, "trainer.stop_at=5")
    # Stopped between two uses of a rollout: the games and the rollout go on.
    framework.train(resume=tmp_path / "one", overrides=["trainer.stop_at=null"])
    assert bits(tmp_path / "one") == bits(trained() / "sharded games")
    rows = [r for r in records(trained() / "sharded games") if "train/game_steps" in r]
    # One rollout of all games, whoever played them.
    assert rows[-1]["train/game_steps"] == 7 * 5


@pytest.mark.slow
def test_eight_shards_have_the_same_bits_in_one_two_and_four_processes(tmp_path):
    train_eight(0, tmp_path / "1")
    for count in (2, 4):
        together(count, train_eight, tmp_path / f"{count}")
        for name in ("data", "samples", "games"):
            assert bits(tmp_path / "1" / name) == bits(tmp_path / f"{count}" / name)


@pytest.mark.slow
def test_games_of_two_processes_are_those_of_two_shards_and_go_on_in_one(tmp_path, capsys):
    games(tmp_path / "shards", 2, "trainer.stop_at=3")
    assert bits(tmp_path / "shards") == bits(trained() / "games")
    overrides = ["trainer.stop_at=null", "trainer.shards=null"]
    framework.train(resume=tmp_path / "shards", overrides=overrides)
    said = "the checkpoint's games were divided into 2 parts; new episodes begin"
    assert said in capsys.readouterr().err


def test_a_shard_that_fails_ends_all_with_its_own_error(tmp_path):
    class Failing(Fitted):
        def objective(self, context: Any, batch: Any) -> None:
            super().objective(context, batch)
            if ranks.rank() == 1:
                raise UserError("the second one's own")

    with pytest.raises(UserError, match="the second one's own"):
        sharded(tmp_path / "run", 3, Failing())


def test_more_processes_or_games_than_there_can_be_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"task\.games = 7 in 9 shards: expected one game at least"):
        games(tmp_path / "run", 9)
    with pytest.raises(UserError, match="estimator = automatic in 2 shards"):
        sharded(tmp_path / "run", 2, "javelin", estimator="automatic")
    assert not (tmp_path / "run").exists()


def test_a_task_that_cannot_be_copied_for_each_shard_leaves_no_run(tmp_path):
    task = Fitted()
    task.held = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"trainer\.shards = 2: .* cannot be copied"):
        sharded(tmp_path / "run", 2, task)
    assert not (tmp_path / "run").exists()


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
    assert not (trained() / "compared").exists()


def test_a_script_is_told_how_to_start_several(tmp_path):
    with pytest.raises(UserError, match="torchrun --nproc-per-node=2 SCRIPT"):
        framework.train("javelin", folder=tmp_path / "run", overrides=["trainer.ranks=2"])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("placed", [True, False])
def test_a_command_starts_them_itself(tmp_path, placed):
    words = ["experiment=javelin", "trainer.ranks=2", "trainer.steps=20"]
    words += [f"hydra.run.dir={tmp_path / 'run'}"] if placed else []
    command = python("-m", "framework.commands.main", "train", *words, cwd=tmp_path)
    made, told = command.communicate()
    assert (command.returncode, told) == (0, "")
    assert "20 steps on cpu in 2 processes" in made
    place = Path(made.splitlines()[-1])
    assert result(place)["steps"] == 20
    assert place == tmp_path / "run" if placed else place.parent == tmp_path / "outputs/javelin"


@pytest.mark.slow
def test_a_mistake_of_all_is_told_once_in_one_line(tmp_path):
    words = ["experiment=detection", "trainer.ranks=2", f"task.data.root={tmp_path / 'none'}"]
    command = python("-m", "framework.commands.main", "train", *words, cwd=tmp_path)
    _, told = command.communicate()
    assert command.returncode == 2
    assert told == f"diffobj: task.data.root = '{tmp_path / 'none'}': no such folder\n"


def test_more_processes_than_a_machine_can_run_are_not_started(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    with pytest.raises(UserError, match=r"trainer\.ranks = 100: .* 3 cores; expected at most 12"):
        framework.train("javelin", overrides=["trainer.ranks=100"])


@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_variables_that_torchrun_does_not_set_so_are_named(tmp_path, monkeypatch, name):
    for given in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(given, "one" if given == name else "1")
    with pytest.raises(UserError, match=f"{name} = 'one': expected a number"):
        framework.train("javelin", folder=tmp_path / "run", overrides=["trainer.ranks=1"])


def test_one_that_follows_needs_no_folder_of_its_own(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(framework.run, "train_composed", lambda *given, **options: "trained")
    trained: object = framework.train("javelin", overrides=["trainer.ranks=2"])
    assert trained == "trained"


def test_what_starts_processes_tells_their_mistakes(tmp_path, monkeypatch, capsys):
    place = tmp_path / "error.json"
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "TORCHELASTIC_ERROR_FILE": str(place),
        SUPERVISED: "1",
    }.items():
        monkeypatch.setenv(name, value)
    tell(UserError("task.data.root = 'x': no such folder"))
    own = json.loads(place.read_text())["timestamp"]
    assert json.loads(place.read_text())["message"] == "task.data.root = 'x': no such folder"
    assert capsys.readouterr().err == ""
    # What is wrong with another is told after that.
    tell(Elsewhere("lost the others"))
    assert json.loads(place.read_text())["timestamp"] > own + 3600
    monkeypatch.delenv(SUPERVISED)
    tell(UserError("no such folder"))
    assert capsys.readouterr().err == "diffobj: no such folder\n"
