"""The coin of REBAR's toy: its objective is known, and estimators without much variance tell it to show 0."""

from __future__ import annotations

import json

import pytest
import torch

from framework.commands.train import run
from framework.gradients.registered import make_estimator
from plugins.teaching.rebar_toy import RebarToy
from tests.plugins.teaching.conftest import gradients


def train(folder, *given):
    run(
        [
            "experiment=rebar_toy",
            f"hydra.run.dir={folder}",
            "monitor.tensorboard=false",
            "monitor.progress=none",
            "trainer.quality.every=0",
            *given,
        ]
    )
    return json.loads((folder / "result.json").read_text())["metrics"]


def test_the_gradient_is_p_times_one_minus_p_times_one_minus_2t():
    task = RebarToy(start=0.3)
    found, _ = gradients(task, make_estimator("exact"))
    assert found["logit"].item() == pytest.approx(0.3 * 0.7 * 0.002, rel=1e-3)


def test_the_evaluation_is_the_expected_cost():
    task = RebarToy(target=0.2, start=0.3)
    with torch.no_grad():
        found = task.evaluate(0)
    assert found["objective"] == pytest.approx(0.3 * 0.64 + 0.7 * 0.04)
    assert found["probability"] == pytest.approx(0.3)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("estimator", ["rloo", "disarm"])
def test_the_coin_learns_to_show_0(tmp_path, estimator):
    metrics = train(tmp_path / "run", f"estimator={estimator}", "trainer.steps=1000")
    assert metrics["probability"] < 0.05


def test_straight_through_does_not_know_the_way(tmp_path):
    metrics = train(tmp_path / "run", "estimator=straight_through", "trainer.steps=500")
    assert metrics["probability"] > 0.3


def test_the_picture_survives_a_resume():
    task, again = RebarToy(), RebarToy()
    for value in (0.5, 0.4):
        task.path.add(value)
    again.load_state_dict(task.state_dict())
    with torch.no_grad():
        (image,) = again.show(0)
    assert again.path.values == [0.5, 0.4]
    assert image.name == "probability"
