"""Gradients that are replayed train as those that are computed again in each step."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import framework
from framework import capture, waiting
from framework.gradients.registered import make_estimator
from framework.training.updates.replayed import ReplayedGradient, is_replayed
from plugins.games.task import Game
from tests import tape

OPTIONS = [
    "experiment=cartpole",
    "estimator=ppo",
    "task=cartpole_torch",
    "task.games=6",
    "task.rollout_steps=5",
    "task.hidden=[4]",
    "task.normalise_returns=true",
    "task.evaluation_episodes=1",
    "task.max_episode_steps=12",
    "trainer.steps=14",
    "trainer.log_every=7",
    "trainer.evaluate_every=0",
    "trainer.quality.every=0",
    "monitor.tensorboard=false",
]


def trained(folder: Path, *options: str) -> framework.Run:
    return framework.train(folder=folder, overrides=[*OPTIONS, *options])


def test_a_training_by_replayed_gradients_is_the_same(monkeypatch, tmp_path):
    """Rollouts are played step by step here; two sizes of minibatches are recorded."""
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    options = "estimator.epochs=2", "estimator.minibatches=4"
    right = trained(tmp_path / "right", *options)
    recorded: list[tape.Tape] = []

    def record(function: Any, stream: Any) -> tape.Tape:
        recorded.append(tape.record(function, []))
        return recorded[-1]

    def recordable(self: capture.Captured) -> bool:
        own = getattr(self.function, "__self__", None)
        return self.calls > capture.WARM_UP and isinstance(own, ReplayedGradient)

    monkeypatch.setattr(capture, "record", record)
    monkeypatch.setattr(capture.Captured, "recordable", recordable)
    own = trained(tmp_path / "own", *options)
    assert len(recorded) == 2
    torch.testing.assert_close(
        own.task.model.state_dict(), right.task.model.state_dict(), rtol=0, atol=0
    )
    for a, b in zip(own.records, right.records, strict=True):
        assert {k: v for k, v in a.items() if k.startswith("train/")} == {
            k: v for k, v in b.items() if k.startswith("train/")
        }


def test_a_game_says_whether_its_gradients_may_be_replayed():
    estimator = make_estimator("ppo")
    for graph in (True, False):
        game = Game(environment="cart_pole", games=4, hidden=[4], graph=graph)
        assert game.program(estimator).capturable is graph


@pytest.mark.parametrize(
    ("name", "options", "replays"),
    [
        ("ppo", {}, True),
        ("ppo", {"target_kl": 0.1}, False),
        ("ppo", {"final_clip": 0.1}, False),
        ("a2c", {}, False),
        ("rloo", {}, False),
    ],
)
def test_an_estimator_says_whether_a_call_may_be_replayed(name, options, replays):
    assert make_estimator(name, None, options).capturable is replays


@pytest.mark.parametrize(
    ("changed", "replays"),
    [
        ({}, True),
        ({"program": False}, False),
        ({"estimator": False}, False),
        ({"accumulate": 2}, False),
        ({"float16": True}, False),
        ({"queues": False}, False),
    ],
    ids=str,
)
def test_a_training_replays_where_it_may(monkeypatch, changed, replays):
    given = {"program": True, "estimator": True, "accumulate": 1, "float16": False, "queues": True}
    given |= changed
    monkeypatch.setattr(waiting, "queues", lambda device: given["queues"])
    trainer: Any = SimpleNamespace(
        device=torch.device("cpu"),
        program=SimpleNamespace(capturable=given["program"]),
        estimator=SimpleNamespace(capturable=given["estimator"]),
        options=SimpleNamespace(accumulate=given["accumulate"]),
        scaler=torch.amp.GradScaler("cpu", enabled=bool(given["float16"])),
    )
    assert is_replayed(trainer) is replays
