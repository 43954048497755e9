"""Recorded steps `[T, N]`: whole episodes, one from each game, or rollouts of fixed length in which any may end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from framework import waiting
from framework.batch import map_tensors
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.environments.games import Games, Observation, Outcome
from plugins.games.policies.agent import Agent

# Steps between two looks at whether all games have ended, on a device where each look waits.
LOOK_EVERY = 32
# (observations [N, ...], memory, episode_start [N]) -> (sampled actions [N, ...], memory).
ActionSelector = Callable[[Observation, Tensor | None, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Rollout:
    """Recorded steps of N games. Axis 1 of every tensor counts the games.

    Attributes:
        rewards: `[T, N]`, 0 in rows that are no steps.
        actions: `[T, N, ...]`, as sampled, before `Agent.to_environment`.
        observations: `[T + 1, N, ...]`, before each step and after the last one.
        episode_start: `[T + 1, N]`, an episode begins with this observation.
        terminated, truncated: `[T, N]`, how an episode ended with this step.
        valid: `[T, N]`, false for rows that are no steps: resets, and all after the end of a whole episode.
        memory: `[parts, N, width]`, the agent's before the first step.
        last_values: `[T, N]`, the predicted return of what a truncated step led to, where games reset at once and the
            next observation is another episode's.
        log_prob: `[T, N]`, of the actions when they were sampled.
        values: `[T, N]`, the predicted returns at that time.
        life_lost: `[T, N]`, a life was lost with this step and the game went on.
        looked_ahead: `[T, N]`, what each step led to was worth, where the rollout has been cut into pieces and lacks
            the observations after them; `observations` and `episode_start` then have T rows.
    """

    rewards: Tensor
    actions: Tensor
    observations: Observation
    episode_start: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    memory: Tensor | None = None
    last_values: Tensor | None = None
    log_prob: Tensor | None = None
    values: Tensor | None = None
    life_lost: Tensor | None = None
    looked_ahead: Tensor | None = None

    @property
    def returns(self) -> Tensor:
        """Each game's sum of rewards, `[N]`: its return, where the rollout is a whole episode."""
        return self.rewards.sum(0)

    @property
    def lengths(self) -> Tensor:
        """Each game's number of steps, `[N]`."""
        return self.valid.sum(0)

    def select_games(self, games: Tensor) -> Rollout:
        """The rollout of some games only; `games [M]` are their indices."""

        def selected(value: Any) -> Any:
            return (
                None
                if value is None
                else map_tensors(lambda part: part.index_select(1, games), value)
            )

        return Rollout(**{f.name: selected(getattr(self, f.name)) for f in fields(self)})

    def next_values(self, values: Tensor) -> Tensor:
        """V of what each step led to, `[T, N]`, from V of all observations, `[T + 1, N]`."""
        if self.last_values is None:
            return values[1:]
        return torch.where(self.truncated, self.last_values, values[1:])


@dataclass(slots=True)
class RolloutState:
    """Where N games stand between two rollouts.

    Attributes:
        observation: `[N, ...]`, what the next action is chosen from.
        memory: `[parts, N, width]`, the agent's.
        episode_start: `[N]`, the observation begins an episode.
        returns, lengths: `[N]`, of the episodes under way.
        discounted: `[N]`, their discounted returns, where rewards are normalised by them.
    """

    observation: Observation
    memory: Tensor | None
    episode_start: Tensor
    returns: Tensor
    lengths: Tensor
    discounted: Tensor | None = None


def begin_episodes(games: Games, agent: Agent, seed: int, device: torch.device) -> RolloutState:
    """New episodes in all games."""
    observation = games.reset(seed)
    return RolloutState(
        observation=observation,
        memory=agent.initial_memory(games.count, device),
        episode_start=torch.ones(games.count, dtype=torch.bool, device=device),
        returns=torch.zeros(games.count, device=device),
        lengths=torch.zeros(games.count, device=device),
    )


class RolloutBuffer:
    """`[T, N]` tensors, allocated once and overwritten by each rollout.

    A rollout is valid until the next one is collected: it is these very tensors.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.tensors: dict[str, Tensor] = {}

    def write(self, name: str, t: int, value: Tensor, rows: int) -> None:
        """Write row t of a tensor with `rows` rows."""
        tensor = self.tensors.get(name)
        if tensor is None:
            tensor = self.tensors[name] = value.new_empty((rows, *value.shape))
        tensor[t] = value

    def write_observation(self, t: int, observation: Observation) -> None:
        if isinstance(observation, Tensor):
            self.write("observations", t, observation, self.steps + 1)
            return
        for name, part in observation.items():
            self.write(f"observations/{name}", t, part, self.steps + 1)

    @property
    def observations(self) -> Observation:
        whole = self.tensors.get("observations")
        if whole is not None:
            return whole
        named = {n: t for n, t in self.tensors.items() if n.startswith("observations/")}
        return {name.partition("/")[2]: tensor for name, tensor in named.items()}


@torch.no_grad()
def collect_rollout(
    games: Games,
    agent: Agent,
    state: RolloutState,
    buffer: RolloutBuffer,
    fill: Callable[[], None] | None = None,
) -> tuple[Rollout, EndedEpisodes]:
    """Play `buffer.steps` steps from `state` on, and advance it.

    An agent with a shared body computes log-probabilities and values as it plays. One with two bodies computes them in
    one pass over the whole rollout: its parameters do not change within it, and small networks cost by the call.

    Args:
        fill: what plays them; None: `fill_buffer`.
    """
    memory = state.memory
    if fill is None:
        fill_buffer(games, agent, state, buffer)
    else:
        # It is overwritten.
        memory = None if memory is None else memory.clone()
        fill()
    rows = buffer.tensors
    rollout = Rollout(
        rewards=rows["rewards"],
        actions=rows["actions"],
        observations=buffer.observations,
        episode_start=rows["episode_start"],
        terminated=rows["terminated"],
        truncated=rows["truncated"],
        valid=rows["valid"],
        memory=memory,
        last_values=rows.get("last_values"),
        life_lost=rows.get("life_lost"),
    )
    ended = rows["terminated"] | rows["truncated"]
    finished = EndedEpisodes.of(rows["returns"], rows["lengths"], ended, rows["valid"].sum())
    if agent.value_body is None:
        return replace(rollout, log_prob=rows["log_prob"], values=rows["values"]), finished
    policy, values = agent.policy_and_values(rollout.observations, memory, rollout.episode_start)
    return replace(rollout, log_prob=policy.log_prob(rollout.actions), values=values[:-1]), finished


def fill_buffer(games: Games, agent: Agent, state: RolloutState, buffer: RolloutBuffer) -> None:
    """Play and store every step. Nothing here synchronises with an accelerator on which the games are, too."""
    steps = buffer.steps
    buffer.write_observation(0, state.observation)
    buffer.write("episode_start", 0, state.episode_start, steps + 1)
    for t in range(steps):
        now = state.observation, state.memory, state.episode_start
        if agent.value_body is None:
            policy, value, state.memory = agent.act_and_predict(*now)
            actions = policy.sample()
            buffer.write("log_prob", t, policy.log_prob(actions), steps)
            buffer.write("values", t, value, steps)
        else:
            policy, state.memory = agent.act(*now)
            actions = policy.sample()
        outcome = games.timed_step(agent.to_environment(actions))
        buffer.write("actions", t, actions, steps)
        store_outcome(buffer, t, outcome)
        if outcome.final_observation is not None:
            # The final observation continues the episode.
            no_start = torch.zeros_like(outcome.episode_start)
            value = agent.predict(outcome.final_observation, state.memory, no_start)
            buffer.write("last_values", t, value, steps)
        track_episodes(buffer, t, state, outcome)
        state.observation, state.episode_start = outcome.observations, outcome.episode_start


def store_outcome(buffer: RolloutBuffer, t: int, outcome: Outcome) -> None:
    """Write what step t led to."""
    for name in ("rewards", "terminated", "truncated", "valid"):
        buffer.write(name, t, getattr(outcome, name), buffer.steps)
    if outcome.life_lost is not None:
        buffer.write("life_lost", t, outcome.life_lost, buffer.steps)
    buffer.write_observation(t + 1, outcome.observations)
    buffer.write("episode_start", t + 1, outcome.episode_start, buffer.steps + 1)


def track_episodes(buffer: RolloutBuffer, t: int, state: RolloutState, outcome: Outcome) -> None:
    """Returns and lengths of the episodes under way: stored for each step, and cleared where the next ones begin."""
    returns = state.returns + outcome.rewards
    lengths = state.lengths + outcome.valid
    buffer.write("returns", t, returns, buffer.steps)
    buffer.write("lengths", t, lengths, buffer.steps)
    goes_on = ~(outcome.terminated | outcome.truncated | outcome.episode_start)
    state.returns, state.lengths = returns * goes_on, lengths * goes_on


@torch.no_grad()
def discounted_returns(
    rewards: Tensor, episode_start: Tensor, before: Tensor | None, discount: float
) -> Tensor:
    """What each episode had earned by each step, discounted, `[T, N]`; `before`: the row before the first, `[N]`."""
    rows = []
    earned = torch.zeros_like(rewards[0]) if before is None else before
    for reward, begins in zip(rewards.unbind(), episode_start[:-1].unbind(), strict=True):
        earned = reward + discount * earned.masked_fill(begins, 0.0)
        rows.append(earned)
    return torch.stack(rows)


@dataclass(frozen=True)
class Step:
    """One step of whole episodes: the observation, the sampled actions and what they led to.

    `failed [N]`: the environment failed before the episode's end and was restarted; the episode so far does not count.
    """

    observation: Observation
    episode_start: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    failed: Tensor


def play(
    games: Games, agent: Agent, select: ActionSelector, seed: int, device: torch.device
) -> Iterator[Step]:
    """Play one episode in every game and yield each step, until the last game has ended.

    A game that has ended before the others is still stepped by its vector; none of those steps is valid. One that fails
    before its end plays its episode again. An episode of as many steps as the games' time limit is truncated, whether
    its vector does so or not: nothing is waited for without end.
    Where each look at whether a game still plays would wait for the device, there is one in `LOOK_EVERY` steps, and the
    last steps may be of no game.
    """
    limit = games.time_limit or math.inf
    now = begin_episodes(games, agent, seed, device)
    observation, memory, episode_start = now.observation, now.memory, now.episode_start
    playing = torch.ones(games.count, dtype=torch.bool, device=device)
    # The number of the step with which each game's episode began.
    began = torch.zeros(games.count, device=device)
    number = 0
    looks = LOOK_EVERY if games.on_device and waiting.queues(device) else 1
    any_cut_off = torch.zeros((), dtype=torch.bool, device=device)
    while number % looks or bool(playing.any()):
        actions, memory = select(observation, memory, episode_start)
        outcome = games.timed_step(agent.to_environment(actions))
        number += 1
        truncated = outcome.truncated
        if number >= limit:
            cut_off = playing & outcome.valid & (number - began >= limit)
            cut_off &= ~(outcome.terminated | truncated)
            truncated = truncated | cut_off
            any_cut_off = any_cut_off | cut_off.any()
            if number % looks == 0 and bool(any_cut_off):
                games.report_cut_off()
        ended = outcome.terminated | truncated
        failed = playing & outcome.episode_start & ~ended
        began = torch.where(failed, float(number), began)
        yield Step(
            observation=observation,
            episode_start=episode_start,
            actions=actions,
            rewards=torch.where(playing, outcome.rewards, 0.0),
            terminated=outcome.terminated & playing,
            truncated=truncated & playing,
            valid=playing & outcome.valid,
            failed=failed,
        )
        playing = playing & ~ended
        observation, episode_start = outcome.observations, outcome.episode_start


@torch.no_grad()
def play_episodes(
    games: Games, agent: Agent, select: ActionSelector, seed: int, device: torch.device
) -> EpisodeStatistics:
    """Play one episode in every game; only returns and lengths are kept."""
    returns = torch.zeros(games.count, device=device)
    lengths = torch.zeros(games.count, device=device)
    for step in play(games, agent, select, seed, device):
        returns = torch.where(step.failed, 0.0, returns + step.rewards)
        lengths = torch.where(step.failed, 0.0, lengths + step.valid)
    return EpisodeStatistics(returns, lengths)


@torch.no_grad()
def collect_episodes(
    games: Games, agent: Agent, select: ActionSelector, seed: int, device: torch.device
) -> Rollout:
    """Play one episode in every game and keep all of it; T is the longest one's length.

    The observation after the last step is not kept: nothing is predicted from it.
    """
    steps = list(play(games, agent, select, seed, device))

    def stacked(name: str) -> Any:
        parts = [getattr(step, name) for step in steps]
        return map_tensors(lambda *rows: torch.stack(rows), *parts)

    fails_later = stacked("failed").flip(0).cumsum(0).flip(0).bool()
    # Nothing counts up to a game's last failure.
    counts = ~fails_later
    return Rollout(
        rewards=stacked("rewards") * counts,
        actions=stacked("actions"),
        observations=stacked("observation"),
        episode_start=stacked("episode_start"),
        terminated=stacked("terminated"),
        truncated=stacked("truncated"),
        valid=stacked("valid") & counts,
        memory=agent.initial_memory(games.count, device),
    )
