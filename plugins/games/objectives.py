"""What an estimator differentiates: minus the return, of recorded steps or of episodes that are played as it runs."""

from __future__ import annotations

import torch
from torch import Tensor

from framework import Context
from framework.batch import first_tensor
from framework.randomness import fresh_key
from framework.replay import Decisions
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.environments.games import Observation
from plugins.games.episode_log import Stopwatch
from plugins.games.experience import Experience
from plugins.games.rollouts import Rollout, play


def whole_episodes(experience: Experience, context: Context, batch: Rollout) -> None:
    """Minus the return of whole episodes, charged step by step to the recorded actions."""
    policy = experience.agent.policy(batch.observations, batch.memory, batch.episode_start)
    context.observe("action", policy, batch.actions, mask=batch.valid)
    context.cost(-experience.learning_rewards(batch.rewards), "return")


def rollouts(experience: Experience, context: Context, batch: Rollout) -> None:
    """The same for rollouts, with the predicted returns besides."""
    agent = experience.agent
    recorded = batch.observations, batch.memory, batch.episode_start
    if batch.looked_ahead is None:
        policy, all_values = agent.policy_and_values(*recorded)
        values, next_values = all_values[:-1], batch.next_values(all_values)
    else:
        policy, values = agent.evaluate_steps(*recorded)
        next_values = batch.looked_ahead
    context.observe("action", policy, batch.actions, mask=batch.valid, behaviour=batch.log_prob)
    context.value(
        values,
        next_values,
        terminated=experience.rewards.ends(batch.terminated, batch.life_lost),
        truncated=batch.truncated,
        behaviour=batch.values,
    )
    context.cost(-experience.learning_rewards(batch.rewards), "return")


def decide(experience: Experience, context: Context, batch: Decisions) -> None:
    """One decision for each observation, and what the critics predict of it; minus the smaller prediction is the cost.

    The action is the recorded one or, where there is none, drawn from the policy: a gradient through the critics then
    goes along the draw's path.
    """
    agent = experience.agent
    seen = first_tensor(batch.observations)
    start = seen.new_zeros(len(seen), dtype=torch.bool)
    actions = None
    if batch.actions is not None and agent.critics is not None:
        policy, actions = None, batch.actions.unsqueeze(0)
    else:
        policy, _ = agent.act(batch.observations, None, start)
        if agent.critics is not None:
            drawn = context.sample("action", policy, per_sample=False, per_datum=True)
            actions = agent.head.to_unit(drawn)
    values = agent.action_values(batch.observations, policy, actions)
    if agent.critics is None:
        context.action_values(values.unsqueeze(1))
        context.cost(-values.amax(-1), "return", per_sample=True, per_datum=True)
        return
    context.action_values(values)
    context.cost(-values.amin(0), "return", per_sample=True, per_datum=True)


def play_out(experience: Experience, context: Context, batch: None) -> None:
    """Minus the return of episodes played now: `context.samples` games, each action sampled in the context.

    The log takes them in later: a number read here would be one that the program itself might branch on.
    """
    agent, device, count = experience.agent, experience.device, context.samples
    games = experience.vector(count)
    stopwatch = Stopwatch(games)
    earned, returns, lengths = torch.zeros(3, count, device=device)
    number = 0

    def sample(
        observation: Observation, memory: Tensor | None, episode_start: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        nonlocal number
        number += 1
        policy, memory = agent.act(observation, memory, episode_start)
        return context.sample(f"action/{number}", policy, per_sample=True), memory

    for step in play(games, agent, sample, fresh_key() % 2**31, device):
        rewards = experience.learning_rewards(step.rewards)
        earned = torch.where(step.failed, 0.0, earned + rewards)
        returns = torch.where(step.failed, 0.0, returns + step.rewards.detach())
        lengths = torch.where(step.failed, 0.0, lengths + step.valid)
        experience.update_statistics(step.observation, step.valid)
    if not context.dry_run:
        episodes = EndedEpisodes.whole(EpisodeStatistics(returns, lengths))
        experience.log.add_later(episodes, stopwatch.stop())
    context.cost(-earned, "return", per_sample=True)
