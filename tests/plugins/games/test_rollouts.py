"""Records of games: no step that was none, no observation out of its episode, the right value after every end."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode
from torch import Tensor

from framework.gradients.policy_gradient.actor_critic import VTrace
from framework.gradients.policy_gradient.ppo import PPO
from framework.plugin import registry
from framework.randomness import seeded
from plugins.games.environments.foreign.games import ForeignGames
from plugins.games.environments.games import Games
from plugins.games.environments.making import make_games
from plugins.games.policies.agent import Agent
from plugins.games.policies.normalisation import Normaliser
from plugins.games.rollouts import (
    Rollout,
    RolloutBuffer,
    RolloutState,
    begin_episodes,
    collect_episodes,
    collect_rollout,
    fill_buffer,
)
from tests.plugins.games.counter import (
    LENGTH,
    SPACES,
    Choosy,
    Counter,
    decided,
    game_of,
    learn,
    vectors,
)

CPU = torch.device("cpu")
MODES = list(AutoresetMode)
NEXT_STEP = AutoresetMode.NEXT_STEP


def games_of(make: Any, count: int, mode: AutoresetMode = NEXT_STEP) -> ForeignGames:
    """Games of an environment that no registry knows."""
    return cast(ForeignGames, make_games(vectors(make, mode), count))


def collect(games: Games, agent: Agent, steps: int) -> tuple[Rollout, Any]:
    with seeded(0):
        return collect_rollout(
            games, agent, begin_episodes(games, agent, 0, CPU), RolloutBuffer(steps)
        )


def agent_for(games: Any, **options: Any) -> Agent:
    torch.manual_seed(0)
    return decided(Agent(games.observation_space, games.action_space, hidden=[8], **options))


@pytest.mark.parametrize("terminates", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_a_counter_counts_in_every_autoreset_mode(monkeypatch, mode, terminates):
    """Inside an episode the observation grows by one; no row pairs a last observation with a first one."""
    games = games_of(lambda i: Counter(LENGTH + i, terminates), 3, mode)
    rollout, finished = collect(games, agent_for(games), 40)
    assert isinstance(rollout.observations, Tensor)
    seen = rollout.observations[..., 0]
    ended = rollout.terminated | rollout.truncated
    inside = rollout.valid & ~ended
    assert torch.equal(seen[1:][inside], seen[:-1][inside] + 1)
    lengths = torch.tensor([LENGTH, LENGTH + 1, LENGTH + 2])
    assert torch.equal(
        seen[:-1][rollout.valid & ended] + 1, lengths.expand(40, 3)[rollout.valid & ended].float()
    )
    assert (seen[rollout.episode_start] == 0).all()
    assert (rollout.rewards[~rollout.valid] == 0).all()
    assert not (rollout.truncated if terminates else rollout.terminated).any()
    for n, length in enumerate(lengths.tolist()):
        rows = 40 / (length + (mode == NEXT_STEP))  # one row more where a reset takes one
        assert abs(int(ended[:, n].sum()) - rows) <= 1
    latest, count, total, steps = finished.read()
    assert {earned for earned, _ in latest} == {5.0, 6.0, 7.0}
    assert all(earned == length for earned, length in latest)
    assert (count, steps) == (int(ended.sum()), int(rollout.valid.sum()))
    assert total == sum(earned for earned, _ in latest)


@pytest.mark.parametrize("mode", MODES)
def test_the_value_after_a_truncated_step_is_the_last_observations(monkeypatch, mode):
    games = games_of(lambda i: Counter(LENGTH), 2, mode)
    agent = agent_for(games)
    rollout, _ = collect(games, agent, 20)
    with torch.no_grad():
        values = agent.policy_and_values(rollout.observations, None, rollout.episode_start)[1]
        last = agent.policy_and_values(
            torch.full((2, 1, 1), float(LENGTH)), None, rollout.episode_start[:2, :1]
        )[1][0, 0]
    following = rollout.next_values(values)[rollout.truncated]
    torch.testing.assert_close(following, last.expand_as(following))


@pytest.mark.parametrize("mode", MODES)
def test_named_observations_lead_to_the_true_last_one_in_every_mode(monkeypatch, mode):
    """The mask of a counter at 5 forbids action 5 % 4."""
    games = games_of(lambda i: Choosy(SPACES["discrete"][0], 4), 2, mode)
    games.reset(0)
    for _ in range(LENGTH):
        outcome = games.step(torch.zeros(2, dtype=torch.long))
    seen = outcome.observations if outcome.final_observation is None else outcome.final_observation
    assert isinstance(seen, dict)
    assert seen["count"].tolist() == [[LENGTH]] * 2
    assert seen["action_mask"].tolist() == [[1, 0, 1, 1]] * 2


@pytest.mark.one_in(3)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("terminates", "worth"), [(False, 5.0), (True, None)])
def test_a_reward_of_one_without_end_is_worth_one_over_one_minus_gamma_in_every_mode(
    monkeypatch, mode, terminates, worth
):
    """With a time limit that only truncates, V = 1/(1 - 0.8) everywhere; with a real end, what is left to earn."""
    game = game_of(lambda i: Counter(LENGTH, terminates), 4, mode, rollout_steps=12)
    estimator = VTrace(epochs=10, discount=0.8)
    program = game.program(estimator)
    optimizer = torch.optim.Adam(game.model.parameters(), lr=0.03)
    for _, batch in zip(range(400), game.batches(program, 0, 0), strict=False):
        optimizer.zero_grad()
        estimator.backward(program, game.parameters, batch)
        optimizer.step()
    with torch.no_grad():
        counts = torch.arange(LENGTH + 1.0).reshape(-1, 1, 1)
        values = game.model.policy_and_values(counts, None, torch.zeros(LENGTH + 1, 1))[1][
            :LENGTH, 0
        ]
    left = [sum(0.8**i for i in range(LENGTH - count)) for count in range(LENGTH)]
    expected = torch.full((LENGTH,), worth) if worth else torch.tensor(left)
    torch.testing.assert_close(values, expected, atol=0.25, rtol=0)


@pytest.mark.parametrize("recurrence", ["none", "gru", "lstm"])
@pytest.mark.parametrize("space", list(SPACES))
def test_ppos_ratio_is_one_on_the_first_part_for_every_action_space(monkeypatch, space, recurrence):
    actions, continuous = SPACES[space]
    game = game_of(lambda i: Choosy(actions), 6, continuous=continuous, memory=recurrence)
    rollout, _ = collect(game.experience.vector(6), game.model, 16)
    estimate = learn(game, PPO(clip=1e-5), rollout.select_games(torch.tensor([4, 1, 3])))
    assert abs(float(estimate.extras["kl"])) < 1e-6
    assert float(estimate.extras["clip_fraction"]) == 0
    played = game.model.to_environment(rollout.actions)
    assert all(actions.contains(a.numpy().astype(actions.dtype)) for a in played.flatten(0, 1))


@pytest.mark.parametrize("recurrence", ["none", "gru", "lstm"])
@pytest.mark.parametrize(
    ("space", "choices"), [("discrete", 4), ("multi-discrete", 9), ("multi-binary", 6)]
)
def test_masks_hold_while_acting_and_learning_with_and_without_memory(
    monkeypatch, space, choices, recurrence
):
    game = game_of(lambda i: Choosy(SPACES[space][0], choices), 6, memory=recurrence)
    rollout, _ = collect(game.experience.vector(6), game.model, 16)
    estimate = learn(
        game, PPO(clip=1e-5, entropy_weight=0.1), rollout.select_games(torch.tensor([0, 5]))
    )
    assert float(estimate.extras["clip_fraction"]) == 0
    assert torch.isfinite(torch.as_tensor(estimate.extras["entropy"]))
    assert all(torch.isfinite(p.grad).all() for p in game.parameters.values() if p.grad is not None)
    if space == "discrete":
        assert isinstance(rollout.observations, dict)
        allowed = rollout.observations["action_mask"][:-1].gather(-1, rollout.actions.unsqueeze(-1))
        assert allowed.bool().all()


def test_a_masked_policys_entropy_counts_allowed_actions_only(monkeypatch):
    games = games_of(lambda i: Choosy(SPACES["discrete"][0], 4), 2)
    agent = Agent(games.observation_space, games.action_space, hidden=[8])
    for parameter in agent.head.parameters():
        torch.nn.init.zeros_(parameter)
    policy, _ = agent.act(games.reset(0), None, torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(policy.entropy(), torch.full((2,), 3.0).log())


@pytest.mark.parametrize("recurrence", ["gru", "lstm"])
def test_a_memory_gives_the_same_step_by_step_and_over_a_whole_rollout(monkeypatch, recurrence):
    """With episodes that end inside the rollout and a second rollout that begins inside an episode."""
    games = games_of(lambda i: Counter(3 + i), 4)
    agent = agent_for(games, recurrence=recurrence)
    state, buffer = begin_episodes(games, agent, 0, CPU), RolloutBuffer(9)
    for _ in range(2):
        before = state.memory
        rollout, _ = collect_rollout(games, agent, state, buffer)
        with torch.no_grad():
            whole, _ = agent.policy_and_values(rollout.observations, before, rollout.episode_start)
            memory = before
            assert isinstance(rollout.observations, Tensor)
            for t in range(9):
                policy, memory = agent.act(
                    rollout.observations[t], memory, rollout.episode_start[t]
                )
                torch.testing.assert_close(policy.logits, whole.logits[t])  # type: ignore[attr-defined]
    assert state.memory is not None
    torch.testing.assert_close(memory, state.memory)


@pytest.mark.parametrize("recurrence", ["none", "gru"])
def test_what_is_stored_while_playing_is_what_the_whole_rollout_gives(monkeypatch, recurrence):
    games = games_of(lambda i: Choosy(SPACES["multi-discrete"][0], 9), 4)
    agent = agent_for(games, recurrence=recurrence, shared=True)
    rollout, _ = collect(games, agent, 12)
    with torch.no_grad():
        policy, values = agent.policy_and_values(
            rollout.observations, rollout.memory, rollout.episode_start
        )
    assert rollout.log_prob is not None
    torch.testing.assert_close(rollout.log_prob, policy.log_prob(rollout.actions))
    torch.testing.assert_close(rollout.values, values[:-1])


def test_a_memory_forgets_where_an_episode_begins(monkeypatch):
    games = games_of(lambda i: Counter(4), 1)
    agent = agent_for(games, recurrence="gru")
    rollout, _ = collect(games, agent, 14)
    _, values = agent.policy_and_values(rollout.observations, rollout.memory, rollout.episode_start)
    starts = rollout.episode_start[:-1, 0].nonzero().flatten()
    assert len(starts) == 3
    for start in starts[1:].tolist():
        torch.testing.assert_close(values[start : start + 4], values[:4])


def test_whole_episodes_end_once_and_keep_nothing_of_the_next_one(monkeypatch):
    games = games_of(lambda i: Counter(3 + i), 4)
    agent = agent_for(games)

    rollout = collect_episodes(games, agent, agent.sample_actions, 0, CPU)
    assert rollout.returns.tolist() == rollout.lengths.tolist() == [3, 4, 5, 6]
    assert len(rollout.rewards) == 6
    assert rollout.truncated.sum(0).tolist() == [1, 1, 1, 1]


def test_episodes_under_way_are_counted_across_rollouts(monkeypatch):
    games = games_of(lambda i: Counter(7), 2)
    agent = agent_for(games)
    state, buffer = begin_episodes(games, agent, 0, CPU), RolloutBuffer(3)
    returns = []
    for _ in range(8):
        _, finished = collect_rollout(games, agent, state, buffer)
        returns += [earned for earned, _ in finished.read().latest]
    assert returns == [7.0] * 6


def test_a_normaliser_changes_only_on_commit_and_knows_mean_and_deviation(monkeypatch):
    games = games_of(lambda i: Counter(LENGTH), 8)
    agent = agent_for(games, normalise=True)
    normaliser = agent.normaliser
    assert isinstance(normaliser, Normaliser)
    rollout, _ = collect(games, agent, 18)
    assert isinstance(rollout.observations, Tensor)
    seen = rollout.observations[:-1][rollout.valid]
    for half in seen.chunk(2):
        normaliser.update(half, torch.ones(len(half), dtype=torch.bool))
    before = agent.policy_and_values(rollout.observations, None, rollout.episode_start)[1]
    assert float(normaliser.mean) == 0
    normaliser.commit()
    torch.testing.assert_close(normaliser.mean, seen.mean(0))
    torch.testing.assert_close(normaliser.deviation, seen.std(0, correction=0))
    assert not torch.equal(
        agent.policy_and_values(rollout.observations, None, rollout.episode_start)[1], before
    )
    again = agent_for(games, normalise=True)
    again.load_state_dict(agent.state_dict())
    assert isinstance(again.normaliser, Normaliser)
    assert torch.equal(again.normaliser.deviation, normaliser.deviation)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("recurrence", ["none", "gru"])
@pytest.mark.parametrize("continuous", ["clipped", "squashed"])
@pytest.mark.parametrize("name", [*registry().names("games.environments")])
def test_playing_waits_for_no_value_on_an_accelerator(name, continuous, recurrence):
    """Tensors of torch's meta device have no values: whatever waits for one, as `.item()` does, raises here."""
    meta = torch.device("meta")
    games = make_games(name, 4, meta)
    if isinstance(games.action_space, Discrete) and continuous != "clipped":
        pytest.skip("its actions are discrete")
    agent = Agent(
        games.observation_space,
        games.action_space,
        hidden=[8],
        continuous=continuous,
        recurrence=recurrence,
    ).to(meta)
    with torch.no_grad():
        games.state = games.begin(4)  # type: ignore[attr-defined]
        observation = games.observe(games.state)  # type: ignore[attr-defined]
        state = RolloutState(
            observation,
            agent.initial_memory(4, meta),
            torch.ones(4, dtype=torch.bool, device=meta),
            torch.zeros(4, device=meta),
            torch.zeros(4, device=meta),
        )
        buffer = RolloutBuffer(5)
        fill_buffer(games, agent, state, buffer)
        assert buffer.tensors["rewards"].shape == (5, 4)
        with pytest.raises((RuntimeError, NotImplementedError)):
            buffer.tensors["rewards"].sum().item()  # so would this
