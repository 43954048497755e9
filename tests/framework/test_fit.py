"""A fit in memory takes the steps of a training, and leaves nothing but the parameters."""

from typing import Any

import pytest
import torch

import framework
from framework import TrainingPlan, UserError
from plugins.javelin.task import Javelin


def test_a_fit_takes_the_very_steps_of_a_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings: dict[str, Any] = {
        "estimator": "rloo",
        "optimizer": "adam",
        "steps": 20,
        "learning_rate": 0.03,
    }
    trained, fitted = Javelin(), Javelin()
    quiet = ["monitor.tensorboard=false"]
    framework.train(trained, **settings, seed=4, folder=tmp_path / "run", overrides=quiet)
    before = sorted(tmp_path.iterdir())
    framework.fit(fitted, **settings, seed=4)
    assert fitted.model.angle.item() == trained.model.angle.item()
    assert sorted(tmp_path.iterdir()) == before


def test_a_fit_reports_its_steps_and_can_be_stopped():
    steps = []

    def on_step(step: int, estimate: framework.Estimate) -> bool:
        steps.append(step)
        return step < 3

    framework.fit(Javelin(), estimator="rloo", steps=10, on_step=on_step)
    assert steps == [1, 2, 3]


def test_a_fit_leaves_randomness_and_gradient_mode_as_they_were():
    state = torch.get_rng_state()
    task = Javelin()
    with torch.no_grad():
        framework.fit(task, estimator="rloo", steps=2)
        assert not torch.is_grad_enabled()
    assert task.path.count == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mistake_in_a_fit_is_one_line():
    with pytest.raises(UserError, match="unknown estimator 'rlo'"):
        framework.fit(Javelin(), estimator="rlo", steps=2)


def test_the_plan_says_the_learning_rate(tmp_path):
    class Planned(Javelin):
        def begin(self, plan: TrainingPlan) -> None:
            self.plan = plan

    task = Planned()
    framework.fit(task, estimator="rloo", steps=3, learning_rate=0.25, seed=9)
    assert task.plan == TrainingPlan(seed=9, steps=3, learning_rate=0.25)
