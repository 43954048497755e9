"""Behaviour cloning: a policy that imitates a script or a search, and how far another one is from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from framework.batch import map_tensors
from framework.randomness import seeded
from plugins.games.environments.games import Observation
from plugins.games.policies.actions import GumbelMaxCategorical, MultiCategorical
from plugins.games.policies.agent import Agent
from plugins.league.match import Match
from plugins.league.opponents import Opponent, View
from plugins.league.rules.contract import Rules

# At first; it falls to 0.
LEARNING_RATE = 3e-3
# The most decisions of each board, and the boards of a minibatch: a memory is learned from whole matches.
STEPS, BOARDS = 128, 64
# Decisions of a minibatch without memory.
DECISIONS = 256


def clone(
    agent: Agent,
    teacher: Opponent,
    rules: Rules,
    seed: int,
    *,
    epochs: int,
    memory: tuple[int, int] | None = None,
) -> float:
    """Fit a policy to a teacher's moves against itself by maximum likelihood.

    Args:
        rules: of as many boards as there are matches at once.

    Returns:
        the mean log-probability of the teacher's moves in the last epoch.
    """
    optimizer = torch.optim.Adam(agent.parameters(), LEARNING_RATE)
    with seeded(seed):
        observations, starts, actions = lessons(teacher, rules, seed, memory)
        blank = agent.initial_memory(rules.boards, rules.device)
        size = BOARDS
        if blank is None:
            # Every decision is a match of its own.
            observations = map_tensors(lambda part: part.flatten(0, 1).unsqueeze(0), observations)
            starts, actions = (part.flatten(0, 1).unsqueeze(0) for part in (starts, actions))
            size = DECISIONS
        count, found = starts.shape[1], 0.0
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, epochs * math.ceil(count / size)
        )
        for _ in range(epochs):
            parts = torch.randperm(count).split(size)
            found = 0.0
            for boards in parts:
                with torch.enable_grad():
                    seen = map_tensors(lambda part, boards=boards: part[:, boards], observations)
                    remembered = None if blank is None else blank[:, boards]
                    policy = agent.policy(seen, remembered, starts[:, boards])
                    loss = -policy.log_prob(actions[:, boards]).mean()
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                found -= float(loss.detach()) / len(parts)
    agent.zero_grad(set_to_none=True)
    return found


@torch.no_grad()
def lessons(
    teacher: Opponent, rules: Rules, seed: int, memory: tuple[int, int] | None
) -> tuple[Observation, Tensor, Tensor]:
    """Observations and episode starts of the teacher's decisions, and its actions, all `[T, N, ...]`."""
    match = Match(rules, {"teacher": teacher}, ["teacher"], memory=memory)
    observation = match.reset(seed)
    start = torch.ones(rules.boards, dtype=torch.bool, device=rules.device)
    rows: list[tuple[Observation, Tensor, Tensor]] = []
    for _ in range(min(rules.longest, STEPS)):
        assert isinstance(observation, dict)
        view = View(rules, match.numbers, match.seat, observation, None, start)
        actions = teacher.act(view).actions
        rows.append((observation, start, actions))
        outcome = match.step(actions)
        observation, start = outcome.observations, outcome.episode_start
    seen = map_tensors(lambda *parts: torch.stack(parts), *(row[0] for row in rows))
    return seen, torch.stack([row[1] for row in rows]), torch.stack([row[2] for row in rows])


def divergence(policy: Distribution, habit: Distribution) -> Tensor:
    """The Kullback-Leibler divergence of a policy from a habit, `[T, N]`; of several choices their sum."""
    if isinstance(policy, Independent) and isinstance(habit, Independent):
        return divergence(policy.base_dist, habit.base_dist).sum(-1)
    pairs = zip(choices(policy), choices(habit), strict=True)
    return torch.stack([between(own, other) for own, other in pairs]).sum(0)


def choices(policy: Distribution) -> list[GumbelMaxCategorical]:
    if isinstance(policy, MultiCategorical):
        return policy.choices
    assert isinstance(policy, GumbelMaxCategorical)
    return [policy]


def between(own: GumbelMaxCategorical, other: GumbelMaxCategorical) -> Tensor:
    """The divergence of one choice; actions that are not allowed have no part in it."""
    chances = own.logits.exp()
    apart = (own.logits - other.logits).masked_fill(chances == 0, 0.0)
    return (chances * apart).sum(-1)
