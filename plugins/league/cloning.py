"""Behaviour cloning: a policy that imitates a script or a search, and how far another one is from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from framework.batch import map_tensors
from framework.randomness import seeded
from plugins.games.environments.games import Observation
from plugins.games.policies.actions import GumbelMaxCategorical, MultiCategorical
from plugins.games.policies.agent import Agent
from plugins.league.match import Match
from plugins.league.opponents import Move, Opponent, RandomPlayer, View
from plugins.league.rules.contract import Rules

# At first; it falls to 0.
LEARNING_RATE = 3e-3
# The most decisions of each board, and the boards of a minibatch: a memory is learned from whole matches.
STEPS, BOARDS = 128, 64
# Decisions of a minibatch without memory.
DECISIONS = 256


@dataclass(frozen=True)
class Lessons:
    """A teacher's decisions, `[T, N, ...]`.

    Attributes:
        starts: an episode begins with the decision.
        won: what the teacher won in the end.
        known: bool, where the match came to its end.
        shares: `[T, N, A]`, the teacher's preferences, where it is a search; see `Move`.
    """

    observations: Observation
    starts: Tensor
    actions: Tensor
    won: Tensor
    known: Tensor
    shares: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Lessons:
        """The lessons with all tensors changed alike."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: part for name, part in parts.items() if part is not None}
        return Lessons(**{name: map_tensors(change, part) for name, part in given.items()})


class Careless(Opponent):
    """A player that makes any move instead of its own, with a probability of `noise`."""

    def __init__(self, player: Opponent, noise: float) -> None:
        self.player, self.noise = player, noise

    def act(self, view: View) -> Move:
        move = RandomPlayer().act(view)
        thinks = torch.rand(len(view.boards), device=view.boards.device) >= self.noise
        rows = thinks.nonzero().squeeze(1)
        if len(rows) == 0:
            return move
        actions = self.player.act(part_of(view, rows)).actions
        return Move(move.actions.index_copy(0, rows, actions))


def part_of(view: View, rows: Tensor) -> View:
    """The view of some of its boards."""
    return replace(
        view,
        boards=view.boards[rows],
        player=view.player[rows],
        observation={name: part[rows] for name, part in view.observation.items()},
        memory=None,
        episode_start=view.episode_start[rows],
    )


def clone(
    agent: Agent,
    teacher: Opponent,
    rules: Rules,
    seed: int,
    *,
    epochs: int,
    noise: float = 0.0,
    memory: tuple[int, int] | None = None,
) -> float:
    """Fit a policy to a teacher's moves against itself, by maximum likelihood, and its predictions to what they won.

    Args:
        rules: of as many boards as there are matches at once.
        noise: the part of all moves that are made at random: what to do after mistakes is learned from them, too
            (Laskey et al. 2017).

    Returns:
        the mean log-probability of the teacher's moves in the last epoch.
    """
    optimizer = torch.optim.Adam(agent.parameters(), LEARNING_RATE)
    with seeded(seed):
        given = lessons(teacher, rules, seed, memory, noise)
        blank = agent.initial_memory(rules.boards, rules.device)
        size = BOARDS
        if blank is None:
            # Every decision is a match of its own.
            given, size = given.map(lambda part: part.flatten(0, 1).unsqueeze(0)), DECISIONS
        count, found = given.starts.shape[1], 0.0
        schedule = torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, epochs * math.ceil(count / size)
        )
        for _ in range(epochs):
            parts = torch.randperm(count).split(size)
            found = 0.0
            for boards in parts:
                remembered = None if blank is None else blank[:, boards]
                part = given.map(lambda tensor, boards=boards: tensor[:, boards])  # type: ignore[misc]
                with torch.enable_grad():
                    likely, error = fit(agent, part, remembered)
                    optimizer.zero_grad()
                    (error - likely).backward()
                    optimizer.step()
                    schedule.step()
                found += float(likely.detach()) / len(parts)
    agent.zero_grad(set_to_none=True)
    return found


def fit(agent: Agent, given: Lessons, memory: Tensor | None) -> tuple[Tensor, Tensor]:
    """The mean log-probability of the moves, and the mean squared error of the predictions where the end is known."""
    policy, values = agent.evaluate_steps(given.observations, memory, given.starts)
    errors = (values - given.won).square().masked_fill(~given.known, 0.0)
    if given.shares is None:
        likely = policy.log_prob(given.actions)
    else:
        assert isinstance(policy, GumbelMaxCategorical)
        likely = (given.shares * policy.logits).masked_fill(given.shares == 0, 0.0).sum(-1)
    return likely.mean(), errors.sum() / given.known.sum().clamp(min=1)


@torch.no_grad()
def lessons(
    teacher: Opponent,
    rules: Rules,
    seed: int,
    memory: tuple[int, int] | None,
    noise: float = 0.0,
) -> Lessons:
    """Matches of a teacher against itself, seen by one side, and what it would do in each position."""
    rival = Careless(teacher, noise) if noise else teacher
    match = Match(rules, {"teacher": rival}, ["teacher"], memory=memory)
    observation = match.reset(seed)
    start = torch.ones(rules.boards, dtype=torch.bool, device=rules.device)
    rows: list[tuple[Observation, Tensor, Tensor, Tensor, Tensor]] = []
    shares: list[Tensor] = []
    for _ in range(min(rules.longest, STEPS)):
        assert isinstance(observation, dict)
        view = View(rules, match.numbers, match.seat, observation, None, start)
        move = teacher.act(view)
        actions = move.actions
        if move.shares is not None:
            shares.append(move.shares)
        outcome = match.step(disturbed(actions, view, noise) if noise else actions)
        rows.append((observation, start, actions, outcome.rewards, outcome.terminated))
        observation, start = outcome.observations, outcome.episode_start
    seen = map_tensors(lambda *parts: torch.stack(parts), *(row[0] for row in rows))
    _, *parts = zip(*rows, strict=True)
    starts, actions, rewards, ends = map(torch.stack, parts)
    won, known = won_in_the_end(rewards, ends)
    return Lessons(seen, starts, actions, won, known, torch.stack(shares) if shares else None)


def disturbed(actions: Tensor, view: View, noise: float) -> Tensor:
    """Actions `[N, ...]`, any allowed one instead with a probability of `noise`."""
    aside = torch.rand(len(actions), device=actions.device) < noise
    others = RandomPlayer().act(view).actions
    return torch.where(aside.view(-1, *[1] * (actions.dim() - 1)), others, actions)


def won_in_the_end(rewards: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """What each match brought from each decision on, and whether it is known, both `[T, N]`."""
    won, known = torch.zeros_like(rewards), torch.zeros_like(ends)
    later, ended = torch.zeros_like(rewards[0]), torch.zeros_like(ends[0])
    for t in reversed(range(len(rewards))):
        later = rewards[t] + later.masked_fill(ends[t], 0.0)
        ended = ended | ends[t]
        won[t], known[t] = later, ended
    return won, known


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
