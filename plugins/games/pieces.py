"""A rollout cut into pieces: minibatches of steps where there are fewer games than minibatches.

Each piece takes the place of a game. Its last step lacks the piece after it, and so what its advantage would have taken
from there is put into the value of what the step led to: with

    V'(s_{t+1}) = V(s_{t+1}) + lambda A_{t+1}

the advantage r_t + gamma V'(s_{t+1}) - V(s_t) is the one of the whole rollout (Schulman et al. 2016, eq. 16).
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from framework.batch import map_tensors
from framework.errors import UserError
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import Rollout


def piece_length(
    minibatches: int, games: int, steps: int, *, recurrent: bool, key: str = "task.games"
) -> int | None:
    """How many steps a piece has: one, or as many as there may be for an agent with a memory; None: games stay whole.

    Args:
        key: the option that says how many games there are.

    Raises:
        UserError: more minibatches than steps, or a memory's rollouts that cannot be cut into pieces of one length.
    """
    if minibatches <= games:
        return None
    if minibatches > games * steps:
        raise UserError(
            f"estimator.minibatches = {minibatches}: expected at most {key} * task.rollout_steps = {games * steps}"
        )
    if not recurrent:
        return 1
    pieces = math.ceil(minibatches / games)
    if steps % pieces:
        raise UserError(
            f"task.rollout_steps = {steps}: expected a multiple of {pieces}: with task.memory, {minibatches} "
            f"minibatches of {games} game{'s'[: games != 1]} are sequences of one length"
        )
    return steps // pieces


@torch.no_grad()
def in_pieces(
    rollout: Rollout, agent: Agent, rewards: Tensor, length: int, discount: float, decay: float
) -> Rollout:
    """A rollout `[T, N]` as `[length, N T / length]`.

    Args:
        rewards: `[T, N]`, as they are learned from.
        discount, decay: gamma and lambda of the advantages.
    """
    _, values = agent.policy_and_values(rollout.observations, rollout.memory, rollout.episode_start)
    ahead = look_ahead(rollout, rewards, values, discount, decay)
    inside = rollout.next_values(values)
    last = torch.arange(len(rewards), device=rewards.device) % length == length - 1
    ahead = torch.where(last.unsqueeze(-1), ahead, inside)
    acting = map_tensors(lambda part: part[:-1], rollout.observations)
    starts = rollout.episode_start[:-1]
    memory = rollout.memory
    if memory is not None:
        # [pieces, parts, N, width] -> [parts, pieces N, width]
        memory = agent.memories(acting, memory, starts)[::length].transpose(0, 1).flatten(1, 2)
    whole = replace(
        rollout, observations=acting, episode_start=starts, memory=None, looked_ahead=ahead
    )

    def cut(value: Any) -> Any:
        return None if value is None else map_tensors(lambda part: stacked(part, length), value)

    pieces = Rollout(**{field.name: cut(getattr(whole, field.name)) for field in fields(whole)})
    return replace(pieces, memory=memory, last_values=None)


def stacked(rows: Tensor, length: int) -> Tensor:
    """`[T, N, ...]` as `[length, N T / length, ...]`, piece after piece."""
    pieces: Tensor = rows.unflatten(0, (-1, length))
    return pieces.transpose(0, 1).flatten(1, 2)


def look_ahead(
    rollout: Rollout, rewards: Tensor, values: Tensor, discount: float, decay: float
) -> Tensor:
    """V(s_{t+1}) + lambda A_{t+1} where the episode goes on, V(s_{t+1}) where it ended with the step, `[T, N]`.

    Args:
        values: V of all observations, `[T + 1, N]`.
    """
    next_values = rollout.next_values(values)
    goes_on = rollout.valid & ~(rollout.terminated | rollout.truncated)
    rows, advantage = [], torch.zeros_like(values[0])
    for t in reversed(range(len(rewards))):
        ahead = next_values[t] + decay * advantage * goes_on[t]
        rows.append(ahead)
        gained = rewards[t] + discount * ahead.masked_fill(rollout.terminated[t], 0.0)
        advantage = (gained - values[t]) * rollout.valid[t]
    return torch.stack(rows[::-1])
