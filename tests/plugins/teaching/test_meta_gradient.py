"""The learning rate learnt through the descent: gradients are the closed form's, and the best rate is found."""

from __future__ import annotations

import json

import pytest
import torch

from framework.commands.train import run
from framework.gradients.pathwise.forward_mode import ForwardGradient
from framework.gradients.registered import make_estimator
from plugins.teaching.meta_gradient import CURVATURES, MetaGradient, slope
from tests.framework.gradients.problems import assert_unbiased
from tests.plugins.teaching.conftest import gradients, many_gradients


def true_gradient(task):
    """Of the expected height, with respect to the logarithm of the rate, by differences of the closed form."""
    rate, h = task.model.rate, 1e-4
    return (task.expected_height(rate * (1 + h)) - task.expected_height(rate * (1 - h))) / (2 * h)


def test_the_inner_slope_is_the_curvature_times_the_place():
    weights = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    torch.testing.assert_close(slope(weights), weights * torch.tensor(CURVATURES))


def test_without_noise_autodiff_through_the_descent_is_exact():
    task = MetaGradient(noise=0.0, start=0.1)
    found, estimate = gradients(task, make_estimator("exact"))
    assert not estimate.biased
    assert estimate.value == pytest.approx(task.expected_height(0.1), rel=1e-5)
    assert found["log_rate"].item() == pytest.approx(true_gradient(task), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["reparameterisation", "rloo", "measure_valued"])
def test_with_noise_the_gradient_is_that_of_the_closed_form(estimator):
    task = MetaGradient(start=0.1, steps=4)
    found = many_gradients(task, make_estimator(estimator, 16), 150)
    assert_unbiased(found, {"log_rate": torch.tensor(true_gradient(task))})


def test_forward_mode_and_differences_pass_through_the_descent_as_well():
    task = MetaGradient(noise=0.0, start=0.1)
    program = task.as_program(task.objective)
    forward, along = ForwardGradient(samples=1), {"log_rate": torch.ones(())}
    with torch.no_grad():
        _, derivative = forward.derivative(program, task.parameters, along, None)
    assert derivative.item() == pytest.approx(true_gradient(task), rel=1e-3)
    found, _ = gradients(task, make_estimator("finite_difference", 1))
    assert found["log_rate"].item() == pytest.approx(true_gradient(task), rel=1e-2)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "estimator", ["reparameterisation", pytest.param("spsa", marks=pytest.mark.slow)]
)
def test_training_finds_the_best_rate(tmp_path, estimator):
    folder = tmp_path / "run"
    run(
        [
            "experiment=meta_gradient",
            f"estimator={estimator}",
            f"hydra.run.dir={folder}",
            "monitor.tensorboard=false",
            "monitor.progress=none",
            "trainer.quality.every=0",
            "trainer.steps=150",
        ]
    )
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert metrics["rate"] == pytest.approx(metrics["best_rate"], rel=0.1)
    assert metrics["objective"] < 1.01 * metrics["best_objective"]
    assert (folder / "media" / "descents.png").exists()
