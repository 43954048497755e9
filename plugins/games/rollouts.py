"""Records of games, `[T, N]`: whole episodes, one from each game, or rollouts of fixed length in which any may end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from framework.batch import map_tensors
from plugins.games.environments.games import Games, Observation, Outcome
from plugins.games.policies.agent import Agent

# observations [N, ...], memory, fresh [N] -> actions as drawn, memory
Act = Callable[[Observation, Tensor | None, Tensor], tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Record:
    """Recorded steps of N games. Axis 1 of every tensor counts the games.

    Attributes:
        rewards: `[T, N]`, 0 in rows that are no steps.
        actions: `[T, N, ...]`, as drawn.
        observations: `[T + 1, N, ...]`, before each step and behind the last one.
        fresh: `[T + 1, N]`, an episode begins with this observation.
        terminated, truncated: `[T, N]`, how an episode ended with this step.
        valid: `[T, N]`, false for rows that are no steps: resets, and all behind the end of whole episodes.
        memory: `[parts, N, width]`, what the agent remembered before the record.
        last_values: `[T, N]`, the prediction for what a truncated step led to, where games reset at once and the next
            observation is another episode's.
        log_prob: `[T, N]`, of the actions when they were drawn.
        values: `[T, N]`, the predictions of that time.
        lost: `[T, N]`, a life was lost with this step and the game went on.
    """

    rewards: Tensor
    actions: Tensor
    observations: Observation
    fresh: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    memory: Tensor | None = None
    last_values: Tensor | None = None
    log_prob: Tensor | None = None
    values: Tensor | None = None
    lost: Tensor | None = None

    @property
    def returns(self) -> Tensor:
        """Each game's sum of rewards, `[N]`: the return, where the record is a whole episode."""
        return self.rewards.sum(0)

    @property
    def lengths(self) -> Tensor:
        """Each game's number of steps, `[N]`."""
        return self.valid.sum(0)

    def of(self, games: Tensor) -> Record:
        """The record of some games only."""

        def chosen(value: Any) -> Any:
            return (
                None
                if value is None
                else map_tensors(lambda part: part.index_select(1, games), value)
            )

        return Record(**{f.name: chosen(getattr(self, f.name)) for f in fields(self)})

    def following(self, values: Tensor) -> Tensor:
        """V of what each step led to, `[T, N]`, from V of all observations, `[T + 1, N]`."""
        if self.last_values is None:
            return values[1:]
        return torch.where(self.truncated, self.last_values, values[1:])


@dataclass(slots=True)
class Position:
    """Where N games stand between two records.

    Attributes:
        observation: what the next action is chosen from, `[N, ...]`.
        memory: what the agent remembers.
        fresh: `[N]`, the observation begins an episode.
        returns, lengths: `[N]`, of the episodes under way.
        discounted: `[N]`, their discounted returns, where these are wanted.
    """

    observation: Observation
    memory: Tensor | None
    fresh: Tensor
    returns: Tensor
    lengths: Tensor
    discounted: Tensor | None = None


@dataclass(frozen=True)
class Finished:
    """The episodes that ended within a record: `returns [E]` and `lengths [E]`."""

    returns: Tensor
    lengths: Tensor


def begin(games: Games, agent: Agent, seed: int, device: torch.device) -> Position:
    """New episodes in all games."""
    observation = games.reset(seed)
    return Position(
        observation=observation,
        memory=agent.empty_memory(games.count, device),
        fresh=torch.ones(games.count, dtype=torch.bool, device=device),
        returns=torch.zeros(games.count, device=device),
        lengths=torch.zeros(games.count, device=device),
    )


class Storage:
    """`[T, N]` tensors made once and filled anew by each record.

    The record is only good until the next one is made: it is these very tensors.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.tensors: dict[str, Tensor] = {}

    def put(self, name: str, t: int, value: Tensor, rows: int) -> None:
        """Row t of a tensor of so many rows."""
        tensor = self.tensors.get(name)
        if tensor is None:
            tensor = self.tensors[name] = value.new_empty((rows, *value.shape))
        tensor[t] = value

    def observe(self, t: int, observation: Observation) -> None:
        if isinstance(observation, Tensor):
            self.put("observations", t, observation, self.steps + 1)
            return
        for name, part in observation.items():
            self.put(f"observations/{name}", t, part, self.steps + 1)

    @property
    def observations(self) -> Observation:
        whole = self.tensors.get("observations")
        if whole is not None:
            return whole
        named = {n: t for n, t in self.tensors.items() if n.startswith("observations/")}
        return {name.partition("/")[2]: tensor for name, tensor in named.items()}


@torch.no_grad()
def record(
    games: Games, agent: Agent, position: Position, storage: Storage
) -> tuple[Record, Finished]:
    """Play `storage.steps` steps from `position` on, which moves along.

    An agent with one body for policy and prediction notes both as it plays. One with two bodies makes them in one pass
    over the whole record: it does not change within it, and small networks cost by the call.
    """
    memory = position.memory
    fill(games, agent, position, storage)
    kept = storage.tensors
    made = Record(
        rewards=kept["rewards"],
        actions=kept["actions"],
        observations=storage.observations,
        fresh=kept["fresh"],
        terminated=kept["terminated"],
        truncated=kept["truncated"],
        valid=kept["valid"],
        memory=memory,
        last_values=kept.get("last_values"),
        lost=kept.get("lost"),
    )
    ended = kept["terminated"] | kept["truncated"]
    finished = Finished(kept["returns"][ended], kept["lengths"][ended])
    if agent.value_body is None:
        return replace(made, log_prob=kept["log_prob"], values=kept["values"]), finished
    judged, values = agent.judge(made.observations, memory, made.fresh)
    return replace(made, log_prob=judged.log_prob(made.actions), values=values[:-1]), finished


def fill(games: Games, agent: Agent, position: Position, storage: Storage) -> None:
    """Play and keep every step. Nothing here waits for an accelerator where the games are on it, too."""
    steps = storage.steps
    storage.observe(0, position.observation)
    storage.put("fresh", 0, position.fresh, steps + 1)
    for t in range(steps):
        now = position.observation, position.memory, position.fresh
        if agent.value_body is None:
            policy, value, position.memory = agent.act_and_predict(*now)
            actions = policy.sample()
            storage.put("log_prob", t, policy.log_prob(actions), steps)
            storage.put("values", t, value, steps)
        else:
            policy, position.memory = agent.act(*now)
            actions = policy.sample()
        outcome = games.timed_step(agent.played(actions))
        storage.put("actions", t, actions, steps)
        keep(storage, t, outcome)
        if outcome.last is not None:
            nothing_new = torch.zeros_like(outcome.fresh)
            value = agent.predict(outcome.last, position.memory, nothing_new)
            storage.put("last_values", t, value, steps)
        count(storage, t, position, outcome)
        position.observation, position.fresh = outcome.observations, outcome.fresh


def keep(storage: Storage, t: int, outcome: Outcome) -> None:
    """Row t of what the games answered."""
    for name in ("rewards", "terminated", "truncated", "valid"):
        storage.put(name, t, getattr(outcome, name), storage.steps)
    if outcome.lost is not None:
        storage.put("lost", t, outcome.lost, storage.steps)
    storage.observe(t + 1, outcome.observations)
    storage.put("fresh", t + 1, outcome.fresh, storage.steps + 1)


def count(storage: Storage, t: int, position: Position, outcome: Outcome) -> None:
    """The returns and lengths of the episodes under way, noted in each row and cleared where others begin."""
    returns = position.returns + outcome.rewards
    lengths = position.lengths + outcome.valid
    storage.put("returns", t, returns, storage.steps)
    storage.put("lengths", t, lengths, storage.steps)
    goes_on = ~(outcome.terminated | outcome.truncated | outcome.fresh)
    position.returns, position.lengths = returns * goes_on, lengths * goes_on


@torch.no_grad()
def discounted_returns(
    rewards: Tensor, fresh: Tensor, before: Tensor | None, discount: float
) -> Tensor:
    """What each episode had earned by each step, discounted, `[T, N]`; `before`: the last row before."""
    rows = []
    earned = torch.zeros_like(rewards[0]) if before is None else before
    for reward, begins in zip(rewards.unbind(), fresh[:-1].unbind(), strict=True):
        earned = reward + discount * earned.masked_fill(begins, 0.0)
        rows.append(earned)
    return torch.stack(rows)


@dataclass(frozen=True)
class Step:
    """One step of whole episodes: what it was chosen from, what was drawn and what it led to.

    `broken [N]`: the game was not over but failed, and begins anew; its episode so far counts for nothing.
    """

    observation: Observation
    fresh: Tensor
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    broken: Tensor


def play(games: Games, agent: Agent, act: Act, seed: int, device: torch.device) -> Iterator[Step]:
    """Play one episode in every game and yield each step, until the last game has ended.

    A game that has ended before the others goes on being stepped by its vector; nothing of that is valid. One that
    fails before its end plays its episode again.
    """
    now = begin(games, agent, seed, device)
    observation, memory, fresh = now.observation, now.memory, now.fresh
    playing = torch.ones(games.count, dtype=torch.bool, device=device)
    while bool(playing.any()):
        actions, memory = act(observation, memory, fresh)
        outcome = games.timed_step(agent.played(actions))
        ended = outcome.terminated | outcome.truncated
        yield Step(
            observation=observation,
            fresh=fresh,
            actions=actions,
            rewards=torch.where(playing, outcome.rewards, 0.0),
            terminated=outcome.terminated & playing,
            truncated=outcome.truncated & playing,
            valid=playing & outcome.valid,
            broken=playing & outcome.fresh & ~ended,
        )
        playing = playing & ~ended
        observation, fresh = outcome.observations, outcome.fresh


@torch.no_grad()
def play_episodes(
    games: Games, agent: Agent, act: Act, seed: int, device: torch.device
) -> Finished:
    """Play one episode in every game and keep its return and length only."""
    returns = torch.zeros(games.count, device=device)
    lengths = torch.zeros(games.count, device=device)
    for step in play(games, agent, act, seed, device):
        returns = torch.where(step.broken, 0.0, returns + step.rewards)
        lengths = torch.where(step.broken, 0.0, lengths + step.valid)
    return Finished(returns, lengths)


@torch.no_grad()
def record_episodes(
    games: Games, agent: Agent, act: Act, seed: int, device: torch.device
) -> Record:
    """Play one episode in every game and keep all of it; T is the longest one's length.

    The observation behind the last step is not kept: nothing is predicted from it.
    """
    steps = list(play(games, agent, act, seed, device))

    def stacked(name: str) -> Any:
        parts = [getattr(step, name) for step in steps]
        return map_tensors(lambda *rows: torch.stack(rows), *parts)

    fails_later = stacked("broken").flip(0).cumsum(0).flip(0).bool()
    counts = ~fails_later  # nothing up to a game's last failure
    return Record(
        rewards=stacked("rewards") * counts,
        actions=stacked("actions"),
        observations=stacked("observation"),
        fresh=stacked("fresh"),
        terminated=stacked("terminated"),
        truncated=stacked("truncated"),
        valid=stacked("valid") & counts,
        memory=agent.empty_memory(games.count, device),
    )
