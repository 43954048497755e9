"""The loop and the branch: the gradient is the closed form's, and training finds the known optimum."""

from __future__ import annotations

import json

import pytest
import torch

from framework import ProgramError
from framework.commands.train import run
from framework.gradients.registered import make_estimator
from plugins.teaching.branch_and_loop import BEST, BranchAndLoop, expected_cost
from tests.framework.gradients.problems import assert_unbiased
from tests.plugins.teaching.conftest import many_gradients


def true_gradient(bite, cook):
    """Of the closed form, with respect to the logits."""
    p, q = (torch.tensor(value, requires_grad=True) for value in (bite, cook))
    along = torch.autograd.grad((0.25 + p**2) / p + q**2 + 2 * (1 - q) ** 2, (p, q))
    return {"bite": along[0] * bite * (1 - bite), "cook": along[1] * cook * (1 - cook)}


def test_the_best_habits_are_a_half_and_two_thirds():
    assert expected_cost(0.5, 2 / 3) == pytest.approx(BEST)
    for bite, cook in ((0.45, 2 / 3), (0.55, 2 / 3), (0.5, 0.6), (0.5, 0.75)):
        assert expected_cost(bite, cook) > BEST


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["rloo", "reinforce"])
def test_the_gradient_is_that_of_the_closed_form(estimator):
    task = BranchAndLoop(bite=0.4, cook=0.3)
    found = many_gradients(task, make_estimator(estimator, 8), 120)
    assert_unbiased(found, true_gradient(0.4, 0.3))


def test_an_estimator_that_needs_all_samples_together_says_so():
    task = BranchAndLoop()
    with pytest.raises(ProgramError, match="one sample at a time"):
        make_estimator("rebar").backward(task.as_program(task.objective), task.parameters)


@pytest.mark.slow
def test_training_finds_the_optimum(tmp_path):
    folder = tmp_path / "run"
    run(
        [
            "experiment=branch_and_loop",
            f"hydra.run.dir={folder}",
            "monitor.tensorboard=false",
            "monitor.progress=none",
            "trainer.steps=120",
            "estimator.samples=16",
        ]
    )
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["bite"] == pytest.approx(1 / 2, abs=0.06)
    assert metrics["cook"] == pytest.approx(2 / 3, abs=0.06)
    assert metrics["objective"] < BEST + 0.03
    assert (folder / "media" / "habits.png").exists()


def test_the_path_survives_a_resume():
    task, again = BranchAndLoop(), BranchAndLoop()
    task.path.add((0.2, 0.3))
    again.load_state_dict(task.state_dict())
    assert again.path.values == [(0.2, 0.3)]
