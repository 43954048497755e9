"""What Python hands over is understood, or refused in one line with the argument, the value and what was expected."""

from __future__ import annotations

from typing import Any

import numpy
import pytest
import torch

import framework
from framework import UserError
from framework.arguments import as_choice, as_count, as_distinct, as_list, as_names, as_path
from framework.randomness import LARGEST, checked_seed, key, seeded


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return framework.train("javelin", steps=2, folder=tmp_path_factory.mktemp("run") / "javelin")


def coin(context, parameters, batch):
    b = context.sample("b", torch.distributions.Bernoulli(logits=parameters["theta"]))
    context.cost((b - 0.45) ** 2)


# What a caller may write, whatever the types say.
doors: Any = framework
THETA = {"theta": torch.zeros(1)}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda run: run.evaluate(split="tests"), "split = 'tests': expected validation or test"),
        (lambda run: run.evaluate(seed=1.5), "seed = 1.5: expected a whole number, such as 0"),
        (lambda run: list(run.predict(5)), "input = 5: expected a path, such as 'outputs/mine'"),
        (lambda run: run.export(None), "path = None: expected a path, such as 'outputs/mine'"),
        (lambda run: doors.load(5), "run = 5: expected a path, such as 'outputs/mine'"),
        (
            lambda run: doors.load(run.folder, overrides="task.a=1"),
            "overrides = 'task.a=1': expected a list such as ['task.option=value']",
        ),
        (
            lambda run: doors.load(run.folder, task="javelin"),
            "task = 'javelin': expected a framework.Task",
        ),
        (
            lambda run: doors.train("javelin", folder=5),
            "folder = 5: expected a path, such as 'outputs/mine'",
        ),
        (
            lambda run: doors.train("javelin", estimator=["rloo"]),
            "estimator = ['rloo']: expected a name as text",
        ),
        (
            lambda run: doors.compare("javelin", estimators=["rloo", "spsa"], seeds="01"),
            "seeds = '01': expected a list such as [0]",
        ),
        (
            lambda run: doors.compare("javelin", estimators=["rloo", "spsa"], seeds=[0, 0]),
            "seeds = [0, 0]: expected one or more, none of them twice",
        ),
        (
            lambda run: doors.sweep("javelin", over=[("seed", [0])]),
            "over = [('seed', [0])]: expected a mapping such as {'seed': [0, 1]}",
        ),
        (
            lambda run: doors.compare_runs(5),
            "runs = 5: expected a path, such as 'outputs/mine'",
        ),
        (
            lambda run: doors.runs(b"x"),
            "folder = b'x': expected a path, such as 'outputs/mine'",
        ),
        (
            lambda run: doors.new_plugin(5),
            "name = 5: expected a lower-case Python name such as 'my_task'",
        ),
        (
            lambda run: doors.estimate(coin, THETA, estimator=None),
            "estimator = None: expected a name as text",
        ),
        (
            lambda run: doors.estimate(coin, THETA, estimator="rloo", seed=2**70),
            f"seed = {2**70}: expected at most {LARGEST}, and at least {-(2**63)}",
        ),
        (
            lambda run: doors.check(coin, THETA, seed="a"),
            "seed = 'a': expected a whole number, such as 0",
        ),
        (
            lambda run: doors.check(coin, THETA, estimators="rloo"),
            "estimators = 'rloo': expected a list such as ['rloo']",
        ),
        (
            lambda run: doors.check(coin, THETA, estimators=["rloo"], repeats="4"),
            "repeats = '4': expected a whole number, 4 or more",
        ),
    ],
)
def test_a_wrong_argument_is_refused_in_one_line(run, call, said):
    with pytest.raises(UserError) as refused:
        call(run)
    assert str(refused.value) == said


def test_overrides_that_would_be_used_up_by_reading_them_are_refused():
    once = (text for text in ["trainer.steps=2"])
    with pytest.raises(UserError, match="overrides = <generator"):
        framework.train("javelin", overrides=once)  # type: ignore[arg-type]


def test_a_home_and_other_collections_are_understood(monkeypatch):
    monkeypatch.setenv("HOME", "/somewhere")
    assert str(as_path("folder", "~/runs")) == "/somewhere/runs"
    assert as_names("estimators", ("rloo", "spsa"), "rloo") == ["rloo", "spsa"]
    assert as_list("seeds", range(3), 0) == [0, 1, 2]
    assert as_distinct("seeds", [0, "1"], 0) == [0, "1"]
    assert as_choice("split", "test", ("validation", "test")) == "test"
    assert as_count("repeats", 4, 4) == 4


def test_whole_numbers_of_numpy_and_torch_are_seeds():
    assert [checked_seed(s) for s in (4, numpy.int64(4), torch.tensor(4))] == [4, 4, 4]
    of_numpy: Any = numpy.int64(4)
    assert key(of_numpy, "data") == key(4, "data")
    with seeded(of_numpy):
        first = torch.rand(())
    with seeded(4):
        assert torch.rand(()) == first
    odd: list[Any] = [True, 4.0, "4", None, torch.tensor([4, 5])]
    for wrong in odd:
        with pytest.raises(UserError, match="expected a whole number"):
            checked_seed(wrong)
