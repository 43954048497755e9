"""What a training will take of the memory is what it has taken."""

from __future__ import annotations

import pytest
import torch

from framework import UserError, waiting
from framework.batch import leaves
from framework.gradients.registered import make_estimator
from plugins.games.captured import standing
from plugins.games.commands.memory import run
from plugins.games.memory_plan import bytes_of
from plugins.games.rollouts import RolloutBuffer, collect_rollout
from plugins.games.task import Game


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("cart_pole", {}),
        ("bricks", {"shared": True}),
        ("pendulum", {"memory": "gru", "memory_width": 5}),
    ],
    ids=["two bodies", "one body", "a memory"],
)
def test_it_counts_what_is_allocated(environment, options):
    game = Game(environment=environment, games=6, hidden=[4], rollout_steps=5, **options)
    before = torch.get_rng_state()
    plan = game.memory_plan(minibatches=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert plan is not None
    experience, buffer = game.experience, RolloutBuffer(5)
    experience.begin(0, 0)
    games, state = experience.vector(6), experience.state
    assert state is not None
    rollout, _ = collect_rollout(games, game.model, state, buffer)
    kept = [*buffer.tensors.values()]
    kept += [
        t
        for t in (rollout.log_prob, rollout.values)
        if "values" not in buffer.tensors and t is not None
    ]
    assert plan.rollout == bytes_of(kept)
    assert plan.minibatch == plan.rollout // 3
    assert plan.games == bytes_of(leaves(standing(games, state)))  # type: ignore[arg-type]
    assert plan.evaluation == plan.games * game.evaluation_episodes // 6
    learned = list(game.model.parameters())
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.Adam(learned, fused=True)
    optimizer.step()
    states = [tensor for each in optimizer.state.values() for tensor in each.values()]
    assert plan.optimiser == bytes_of(states)
    assert plan.gradients == bytes_of(p.grad for p in learned if p.grad is not None)
    assert plan.parameters == plan.gradients + bytes_of(game.model.buffers())


def test_it_is_said_before_the_first_rollout(monkeypatch, capsys):
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    game = Game(environment="cart_pole", games=4, hidden=[4], rollout_steps=8, graph=False)
    batches = game.batches(game.program(make_estimator("ppo", None, {"epochs": 1})), 0, 0)
    monkeypatch.setattr(type(game.experience), "rollouts", lambda *given: iter([None]))
    next(batches)
    said = capsys.readouterr().err
    assert said == f"environment 'cart_pole': memory in MiB: {game.memory_plan(4)}\n"


def test_the_command_says_it_and_trains_nothing(capsys):
    run(["games=8", "environment=cart_pole", "hidden=[4]", "rollout_steps=16", "minibatches=2"])
    game = Game(environment="cart_pole", games=8, hidden=[4], rollout_steps=16)
    assert capsys.readouterr().out == f"MiB: {game.memory_plan(2)}\n"


def test_what_it_cannot_know_is_refused_in_one_line():
    with pytest.raises(UserError, match=r"'CartPole-v1' is not in torch"):
        run(["games=8", "environment=CartPole-v1"])
    with pytest.raises(UserError, match=r"minibatches = '0': expected a whole number from 1 on"):
        run(["games=8", "environment=cart_pole", "minibatches=0"])
