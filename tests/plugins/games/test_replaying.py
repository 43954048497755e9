"""Learning from a replay buffer: what is collected, who is refused, and a resume to the same bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import framework
from framework.batch import leaves
from framework.commands import train
from framework.errors import UserError
from framework.gradients.off_policy.dqn import DQN
from framework.gradients.off_policy.sac import SAC
from framework.gradients.off_policy.td3 import TD3
from framework.gradients.registered import make_estimator
from framework.gradients.selection.comparison import compare
from framework.training.checkpoints.checkpoint import load_newest
from plugins.games.policies.critics import ActionValueHead, Critics
from plugins.games.task import Game
from tests.plugins.games.counter import LENGTH, Counter, vectors

SMALL: dict[str, Any] = {"games": 3, "hidden": [8], "critic": "action_value"}
CONTINUOUS: dict[str, Any] = {**SMALL, "environment": "pendulum", "continuous": "squashed"}
QUIET = ["monitor.tensorboard=false", "monitor.progress=none", "task.video_frames=1"]


def replayed(game: Game, estimator: Any, updates: int) -> Any:
    """The batch of the last of some updates that learn nothing."""
    batches = game.batches(game.program(estimator), 0, 0)
    for _ in range(updates):
        batch = next(batches)
    return batch


def test_steps_are_taken_before_the_updates_as_the_plan_says():
    game = Game(environment=vectors(lambda i: Counter(LENGTH + i)), **SMALL)
    estimator = DQN(warmup_steps=30, steps_per_update=6, batch_size=5, epsilon_steps=60)
    replayed(game, estimator, 1)
    replaying = game.replaying
    assert replaying is not None
    # Three games take a step at once; a reset is none.
    assert 30 <= replaying.steps <= 32
    replayed(game, estimator, 4)
    assert game.replaying is not None
    assert 48 <= game.replaying.steps == game.replaying.buffer.size <= 50
    head = game.model.head
    assert isinstance(head, ActionValueHead)
    assert 0.2 < float(head.epsilon) < 0.3
    assert game.scalars()["train/game_steps"] == game.replaying.steps
    assert LENGTH <= game.scalars()["train/episode_length"] <= LENGTH + 2


def test_rollouts_of_many_steps_are_followed_by_as_many_updates_as_are_due():
    """By one game that is never reset: 4 steps at a time, an update for every second step."""
    game = Game(environment=Counter(LENGTH + 95), **{**SMALL, "games": 1}, rollout_steps=4)
    batches = game.batches(
        game.program(DQN(warmup_steps=6, steps_per_update=2, batch_size=2)), 0, 0
    )
    taken = []
    for _ in range(8):
        next(batches)
        assert game.replaying is not None
        taken.append(game.replaying.steps)
    assert taken == [8, 8, 12, 12, 16, 16, 20, 20]


def test_without_a_word_a_rollout_has_32_steps_and_a_replayed_one_1():
    game = Game(environment="cart_pole", games=2, hidden=[4])
    assert next(game.batches(game.program(make_estimator("a2c")), 0, 0)).rewards.shape == (32, 2)
    game = Game(environment="cart_pole", **SMALL)
    replayed(game, DQN(warmup_steps=6, batch_size=2), 2)
    assert game.replaying is not None
    assert game.replaying.steps == 9


def test_what_an_episode_has_earned_goes_on_across_rounds():
    """Games of 4 and 5 steps with reward 1 each, and a reset between two of them, in rounds of 1, 3 and 50 steps."""
    logs = []
    for steps in (1, 3, 50):
        environment = vectors(lambda i: Counter(LENGTH + i, terminates=True))
        game = Game(environment=environment, **{**SMALL, "games": 2}, rollout_steps=steps)
        replayed(game, DQN(warmup_steps=240, batch_size=2), 1)
        assert game.replaying is not None
        game.replaying.settle()
        logs.append([pair for pair in game.log.recent if pair[1]])
    assert {length for _, length in logs[0]} == {LENGTH, LENGTH + 1}
    assert all(earned == length for earned, length in logs[0])
    shortest = min(len(log) for log in logs)
    assert shortest > 30
    assert all(sorted(log[:20]) == sorted(logs[0][:20]) for log in logs)


def test_an_episode_is_replayed_without_its_reset_and_up_to_its_last_observation():
    """A counter observes its step's number: what each step led to is the next number, the last one, too."""
    game = Game(environment=vectors(lambda i: Counter(LENGTH, terminates=True)), **SMALL)
    batch = replayed(game, DQN(warmup_steps=90, batch_size=400), 1)
    before, after = batch.observations[:, 0], batch.next_observations[:, 0]
    assert torch.equal(after, before + 1)
    assert set(before.tolist()) == set(range(LENGTH))
    over = after == LENGTH
    assert torch.equal(batch.discounts == 0, over)
    assert over.any()


def test_at_first_actions_are_uniform_then_the_policys():
    game = Game(**{**CONTINUOUS, "games": 64}, log_std_init=-3.0)
    batch = replayed(game, SAC(warmup_steps=64 * 20, batch_size=4000), 1)
    assert abs(float(batch.actions.mean())) < 4 * (1 / 3 / 1280) ** 0.5
    assert float(batch.actions.abs().max()) > 0.99
    game = Game(**{**CONTINUOUS, "games": 64}, log_std_init=-3.0)
    batch = replayed(game, SAC(warmup_steps=64, steps_per_update=64, batch_size=4000), 20)
    near = batch.actions.abs() < 4 * 0.05
    assert 0.9 < float(near.float().mean()) < 1


def test_epsilon_is_the_chance_of_any_allowed_action():
    head = ActionValueHead(4, 5, 0, dueling=True)
    torch.manual_seed(0)
    features = torch.randn(1, 4).expand(20_000, 4)
    mask = torch.tensor([True, False, True, True, True]).expand(20_000, 5)
    head.epsilon.fill_(0.4)
    policy = head(features, mask)
    best = int(head.greedy(policy)[0])
    shares = policy.sample().bincount(minlength=5) / 20_000
    expected = torch.full((5,), 0.1).masked_fill(~mask[0], 0.0)
    expected[best] += 0.6
    assert ((shares - expected).abs() < 4 * (0.25 / 20_000) ** 0.5).all()
    assert shares[1] == 0
    for action in range(5):
        log_prob = policy.log_prob(torch.tensor(action))[0]
        torch.testing.assert_close(log_prob.exp(), expected[action], atol=1e-6, rtol=1e-5)
    assert policy.sample((3,)).shape == (3, 20_000)
    chosen = head.any_action(policy).bincount(minlength=5) / 20_000
    assert ((chosen - mask[0] / 4).abs() < 4 * (0.19 / 20_000) ** 0.5).all()


def test_dueling_values_are_the_states_plus_advantages_about_their_mean():
    head = ActionValueHead(4, 3, 0, dueling=True)
    features = torch.randn(6, 4)
    values = head(features).values
    assert head.state is not None
    torch.testing.assert_close(values.mean(-1), head.state(features).squeeze(-1))
    advantages = head.linear(features)
    torch.testing.assert_close(
        values - values.mean(-1, keepdim=True), advantages - advantages.mean(-1, keepdim=True)
    )


def test_each_critic_is_a_network_of_its_own():
    from gymnasium.spaces import Box

    torch.manual_seed(0)
    critics = Critics(
        Box(-1, 1, (3,)),
        2,
        hidden=[8],
        encoder="auto",
        observation_indices=None,
        activation="relu",
    )
    seen, actions = torch.randn(5, 3), torch.randn(1, 5, 2)
    values = critics(seen, actions)
    inputs = torch.cat([seen, actions[0]], -1)
    layers: Any = critics.layers
    first, _, last = layers
    for k in range(2):
        hidden = torch.relu(inputs @ first.weight[k] + first.bias[k])
        torch.testing.assert_close(values[k, 0], (hidden @ last.weight[k] + last.bias[k])[:, 0])
    assert not torch.allclose(values[0], values[1])


@pytest.mark.parametrize(
    ("options", "name", "refusal"),
    [
        ({**CONTINUOUS, "critic": "value"}, "sac", r"sac, td3\) need task.critic=action_value"),
        ({**SMALL, "environment": "cart_pole"}, "sac", r"one of finitely many; .*such: dqn"),
        (CONTINUOUS, "dqn", r"actions are numbers; .*such: sac, td3"),
        (CONTINUOUS, "ppo", r"sac, td3, dqn\); others need task.critic=value"),
        (CONTINUOUS, "rloo", r"sac, td3, dqn\); others need task.critic=value"),
        ({**CONTINUOUS, "normalise_returns": True}, "sac", r"task.normalise_returns = true"),
        ({**CONTINUOUS, "doctor_every": 5}, "sac", r"task.doctor_every = 5: compared with rloo"),
    ],
)
def test_an_agent_that_the_estimator_cannot_teach_is_refused(options, name, refusal):
    with pytest.raises(UserError, match=refusal):
        Game(**options).program(make_estimator(name))


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({**CONTINUOUS, "continuous": "clipped"}, r"expected squashed \(sac\) or bounded"),
        ({**CONTINUOUS, "memory": "gru"}, r"task.memory = 'gru'"),
    ],
)
def test_an_agent_that_has_no_critic_of_actions_is_refused(options, refusal):
    with pytest.raises(UserError, match=refusal):
        Game(**options)


def test_more_than_one_batch_for_an_update_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"trainer.accumulate = 2: with a replay buffer"):
        framework.train(
            Game(**CONTINUOUS),
            estimator="sac",
            steps=2,
            overrides=["trainer.accumulate=2"],
            folder=tmp_path / "run",
        )


@pytest.mark.parametrize(
    ("estimator", "options"),
    [
        pytest.param(
            *("sac", ["task.environment=Pendulum-v1", "task.continuous=squashed"]),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("td3", ["task.environment=pendulum", "task.continuous=bounded"]),
            marks=pytest.mark.slow,
        ),
        (
            "dqn",
            [
                *("task.environment=CartPole-v1", "task.dueling=true"),
                *("estimator.n_step=3", "task.rollout_steps=5"),
            ],
        ),
    ],
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, estimator, options):
    """Stopped in the middle of episodes, with a ring that has been overwritten."""
    common = [
        *("task=game", f"estimator={estimator}", "task.critic=action_value", "task.games=2"),
        *("task.hidden=[8]", "estimator.capacity=40", "estimator.warmup_steps=30"),
        *("estimator.batch_size=8", "task.evaluation_episodes=1", "trainer.steps=30"),
        *options,
        *QUIET,
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train.run([*common, f"hydra.run.dir={whole}"])
    train.run([*common, "trainer.steps=17", f"hydra.run.dir={parts}"])
    train.run([f"resume={parts}", "trainer.steps=30"])
    states = [load_newest(run / "checkpoints", print) for run in (whole, parts)]
    moments = [state["optimizer"]["state"] for state in states]
    torch.testing.assert_close(moments[0], moments[1], rtol=0, atol=0)
    for part in ("model", "estimator", "task"):
        one, other = (list(leaves(state[part])) for state in states)
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert states[0]["task"]["replay"]["steps"] == states[1]["task"]["replay"]["steps"]


@pytest.mark.parametrize("estimator", [SAC(warmup_steps=30), TD3(warmup_steps=30)])
def test_the_actors_gradient_goes_through_the_critic_and_leaves_it_as_it_is(estimator):
    game = Game(**{**CONTINUOUS, "hidden": [8]})
    program = game.program(estimator)
    batches = game.batches(program, 0, 0)
    for _ in range(2):
        for value in game.parameters.values():
            value.grad = None
        estimator.backward(program, game.parameters, next(batches))
    assert program.findings.read() == []
    moved = {n for n, p in game.parameters.items() if p.grad is not None and p.grad.any()}
    assert {n for n in moved if not n.startswith("critics.")} >= {
        "body.layers.0.weight",
        "head.linear.weight",
    }
    assert {n for n in game.parameters if n.startswith("critics.")} <= moved


def test_an_agent_with_a_critic_acts_and_is_exported(tmp_path):
    run = framework.train(
        Game(environment="CartPole-v1", **SMALL, evaluation_episodes=2),
        estimator="dqn",
        steps=3,
        overrides=["estimator.warmup_steps=20", "monitor.tensorboard=false"],
        folder=tmp_path / "run",
    )
    assert isinstance(run.task, Game)
    assert run.task.act(torch.zeros(4)) in (0, 1)
    assert run.task.export(tmp_path / "policy.pt2").is_file()


def test_the_quality_of_a_learned_critics_gradient_is_its_variance_without_a_reference():
    game = Game(**CONTINUOUS)
    estimator = SAC(warmup_steps=30, batch_size=16)
    program = game.program(estimator)
    batch = next(game.batches(program, 0, 0))
    found = compare({"sac": estimator}, program, game.parameters, batch, repeats=4, seed=0)["sac"]
    figures = found.scalars("sac")
    assert figures["sac/variance"] > 0
    assert "sac/cosine" not in figures
    assert estimator.targets.updates == 0
