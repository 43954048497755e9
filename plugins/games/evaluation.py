"""Evaluation: greedy episodes and sampled ones from the same starts, their metrics and their table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from framework.data import interruptible
from framework.randomness import seeded
from plugins.games.ended import EpisodeStatistics
from plugins.games.environments.games import Games
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import play_episodes


def greedy_and_sampled(
    games: Games, agent: Agent, seed: int, device: torch.device
) -> tuple[EpisodeStatistics, EpisodeStatistics]:
    """An episode from each game by the likeliest actions, and one by sampled actions from the same start."""
    with interruptible(), seeded(seed):
        greedy = play_episodes(games, agent, agent.greedy_actions, seed, device)
        sampled = play_episodes(games, agent, agent.sample_actions, seed, device)
    return greedy, sampled


def metrics_of(greedy: EpisodeStatistics, sampled: EpisodeStatistics) -> dict[str, float]:
    several = len(greedy.returns) > 1
    return {
        "return_mean": greedy.returns.mean().item(),
        **({"return_mean_standard_error": standard_error(greedy.returns)} if several else {}),
        "return_std": greedy.returns.std(correction=0).item(),
        "return_min": greedy.returns.min().item(),
        "length_mean": greedy.lengths.float().mean().item(),
        "return_stochastic": sampled.returns.mean().item(),
    }


def standard_error(values: Tensor) -> float:
    """Of the mean of independent values, `[n]` with n > 1."""
    return float(values.std()) / math.sqrt(len(values))


def table_of(greedy: EpisodeStatistics, sampled: EpisodeStatistics) -> str:
    """Return and length of each episode, as comma-separated values."""
    rows = ["policy,episode,return,length"]
    for policy, episodes in (("greedy", greedy), ("stochastic", sampled)):
        pairs = zip(episodes.returns.tolist(), episodes.lengths.tolist(), strict=True)
        rows += [f"{policy},{i},{earned:g},{n:g}" for i, (earned, n) in enumerate(pairs)]
    return "\n".join(rows) + "\n"
