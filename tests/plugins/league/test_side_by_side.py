"""Learners side by side, each in a shard or process: the same matches and bits in any number of processes."""

from pathlib import Path
from typing import Any

import pytest
import torch

import framework
from framework import UserError
from tests.processes import together
from tests.runs import python

LEARNERS = ("main", "main_exploiter_1", "league_exploiter_1")
SMALL = (
    "task.mode=league", "task.boards=16", "task.hidden=[8]", "task.snapshot_every=1", "task.opponents_at_once=3",
    "trainer.steps=24", "trainer.threads=1", "trainer.ema=null", "trainer.evaluate_every=0",
    "estimator.epochs=2", "estimator.minibatches=2", "monitor.tensorboard=false",
)  # fmt: skip


def trained(folder: Path, *more: str) -> framework.Run:
    """Six rounds of three learners, each rollout used four times."""
    overrides = [*SMALL, "trainer.shards=3", *more]
    return framework.train("kuhn", folder=folder, seed=4, overrides=overrides)


def train(rank: int, place: Path) -> None:
    trained(place)


def everything(folder: Path) -> dict[str, Any]:
    """What a run has learned, its optimiser and its league, from the last checkpoint."""
    state = torch.load(max(folder.glob("checkpoints/step_*.pt")), weights_only=True)
    return {part: state[part] for part in ("model", "optimizer", "task")}


def assert_same(found, expected, place=""):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), place
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for name in expected:
            assert_same(found[name], expected[name], f"{place}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), place
        for number, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{place}/{number}")
    else:
        assert found == expected, place


def test_all_learners_learn_in_every_step_and_meet_the_past(tmp_path):
    league = everything(trained(tmp_path / "run").folder)["task"]
    assert all(len(own) >= 2 for own in league["snapshots"].values())
    pairs = {(player, other) for player, other, _, _ in league["payoffs"]}
    assert {player for player, _ in pairs} == set(LEARNERS)
    # Main exploiters meet the main agent alone.
    assert {other for player, other in pairs if player == "main_exploiter_1"} == {"main"}
    # Each has played its own rollouts: six of four decisions on sixteen boards.
    assert league["played"] == 3 * 6 * 4 * 16


def test_a_resumed_run_is_an_uninterrupted_one(tmp_path):
    trained(tmp_path / "whole")
    # Within a rollout.
    trained(tmp_path / "part", "trainer.stop_at=14")
    framework.train(resume=tmp_path / "part", overrides=["trainer.stop_at=null"])
    assert_same(everything(tmp_path / "part"), everything(tmp_path / "whole"))


@pytest.mark.parametrize("shards", ["3", pytest.param("null", marks=pytest.mark.slow)])
def test_one_that_learns_from_whole_matches_too(tmp_path, shards):
    settings = [word for word in SMALL if not word.startswith("estimator.")]
    # Its baseline is a moving average: of each learner's own matches.
    overrides = [*settings, "estimator=reinforce", f"trainer.shards={shards}"]
    framework.train("kuhn", folder=tmp_path / "whole", overrides=overrides)
    stopped = [*overrides, "trainer.stop_at=13"]
    framework.train("kuhn", folder=tmp_path / "part", overrides=stopped)
    framework.train(resume=tmp_path / "part", overrides=["trainer.stop_at=null"])
    assert_same(everything(tmp_path / "part"), everything(tmp_path / "whole"))


def test_each_objective_has_parameters_of_its_own():
    program = framework.Program(lambda context, parameters, batch: None, apart=("a.", "b."))
    one, other, third = torch.zeros(3).unbind()
    groups = program.groups({"a.x": one, "b.x": other, "a.y": third})
    assert [[id(p) for p in group] for group in groups] == [[id(one), id(third)], [id(other)]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("trainer.shards=2",), "trainer.shards = 2: expected 3, as many as the league has learners"),
        (("task.mode=self_play",), "a single learner learns in one process; expected trainer.shards=null"),
        (("estimator=spsa", "trainer.shards=null"), "cannot serve 3 learners, each in its turn"),
    ],
)  # fmt: skip
def test_what_cannot_learn_side_by_side_is_refused(tmp_path, more, said):
    settings = [s for s in SMALL if not (s.startswith("estimator.") and "estimator=spsa" in more)]
    with pytest.raises(UserError, match=said):
        framework.train(
            "kuhn", folder=tmp_path / "run", overrides=[*settings, "trainer.shards=3", *more]
        )


def test_a_run_goes_on_as_it_was(tmp_path):
    trained(tmp_path / "run", "trainer.stop_at=4")
    with pytest.raises(UserError, match="have learned side by side; expected"):
        framework.train(
            resume=tmp_path / "run", overrides=["trainer.shards=null", "trainer.stop_at=null"]
        )


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_any_number_of_processes_have_the_same_bits(tmp_path, count):
    trained(tmp_path / "one")
    together(count, train, tmp_path / "several")
    assert_same(everything(tmp_path / "several"), everything(tmp_path / "one"))


@pytest.mark.slow
def test_rays_actors_have_the_bits_of_one_process(tmp_path):
    pytest.importorskip("ray", reason="it is not installed: make install EXTRAS=ray")
    trained(tmp_path / "one")
    command = ["train", "experiment=kuhn", "seed=4", *SMALL, "trainer.shards=3", "trainer.ranks=2"]
    words = [*command, "trainer.launcher=ray", "hydra.run.dir=several"]
    process = python("-m", "framework.commands.main", *words, cwd=tmp_path)
    _, err = process.communicate(timeout=300)
    if "timed out during startup" in err:
        pytest.skip("Ray did not start within its own 30 seconds: the machine is busy")
    assert process.returncode == 0, err
    assert_same(everything(tmp_path / "several"), everything(tmp_path / "one"))
