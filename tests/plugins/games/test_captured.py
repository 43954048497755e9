"""A rollout that is replayed is the one that would have been played."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from framework import capture, waiting
from framework.batch import leaves
from framework.randomness import seeded
from plugins.games.captured import CapturedRollout, standing
from plugins.games.environments.making import make_games
from plugins.games.environments.native.games import NativeGames
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout
from tests import tape

CPU = torch.device("cpu")


def played(name: str, options: dict[str, Any], *, replayed: bool, steps: int) -> list[list[Tensor]]:
    """Five rollouts, and where the games stand at their end."""
    torch.manual_seed(0)
    games = make_games(name, 6)
    assert isinstance(games, NativeGames)
    games.time_limit = 7
    agent = Agent(games.observation_space, games.action_space, hidden=[8], **options)
    state, buffer = begin_episodes(games, agent, 1, CPU), RolloutBuffer(steps)
    fill = CapturedRollout(games, agent, state, buffer) if replayed else None
    found = []
    for number in range(5):
        with seeded(number), torch.no_grad():
            rollout, ended = collect_rollout(games, agent, state, buffer, fill)
            # A training moves the parameters, where they are.
            agent.head.linear.weight.add_(0.1)  # type: ignore[operator, union-attr]
        tensors = [rollout, ended.count, standing(games, state)]
        found.append([tensor.clone() for tensor in leaves(tensors)])
    if fill is not None:
        assert isinstance(fill.captured.graph, tape.Tape)
        assert fill.serves(state, buffer)
        assert not fill.serves(state, RolloutBuffer(steps))
    return found


@pytest.fixture
def on_tape(monkeypatch):
    """Graphs are recorded on the CPU."""
    monkeypatch.setattr(waiting, "queues", lambda device: True)

    def record(function: Any, stream: Any) -> tape.Tape:
        return tape.record(function, list(leaves(function.__self__.kept)))

    monkeypatch.setattr(capture, "record", record)
    monkeypatch.setattr(capture.Captured, "recordable", lambda self: self.calls > capture.WARM_UP)


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("cart_pole", {}, 9),
        ("bricks", {"shared": True}, 1),
        ("pendulum", {"recurrence": "gru"}, 4),
    ],
    ids=["two bodies", "one body", "a memory"],
)
def test_it_is_the_rollout_that_would_have_been_played(on_tape, name, options, steps):
    expected = played(name, options, replayed=False, steps=steps)
    found = played(name, options, replayed=True, steps=steps)
    for own, right in zip(found, expected, strict=True):
        torch.testing.assert_close(own, right, rtol=0, atol=0)


def test_what_cannot_be_recorded_is_played_step_by_step(monkeypatch):
    def refuse(function: Any, stream: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(capture, "record", refuse)
    monkeypatch.setattr(capture, "beside", lambda function, stream: function())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: "a stream")
    calls: list[int] = []
    captured = capture.Captured(lambda: calls.append(1), torch.device("cuda"))
    for _ in range(5):
        captured()
    assert len(calls) == 5
    assert captured.refused == "operation not permitted when stream is capturing"


def test_elsewhere_nothing_is_recorded(monkeypatch):
    monkeypatch.setattr(capture, "record", lambda *given: pytest.fail("it is recorded"))
    calls: list[int] = []
    captured = capture.Captured(lambda: calls.append(1), CPU)
    for _ in range(5):
        captured()
    assert len(calls) == 5
