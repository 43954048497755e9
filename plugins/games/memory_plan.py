"""What a training of games in torch takes of a device's memory, known before it has taken any.

Two games are played for one step; what a rollout keeps of them is what it keeps of each game and step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from framework.batch import leaves
from framework.randomness import seeded
from plugins.games.captured import standing
from plugins.games.environments.making import is_in_torch, make_games
from plugins.games.environments.native.games import NativeGames
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import RolloutBuffer, begin_episodes, collect_rollout

# Games that are played to know.
FEW = 2
MEBIBYTE = 2**20


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes by purpose; what a network computes on the way to a gradient (its activations) comes to them.

    Attributes:
        parameters: the agent's, with its buffers.
        gradients: as much as the parameters that learn.
        optimiser: of Adam, two numbers of each parameter and a count of each tensor.
        games: those that are trained in, as they stand.
        rollout: all that is recorded of one.
        minibatch: one part of it, copied to be learned from.
        evaluation: the games of an evaluation, as they stand.
    """

    parameters: int
    gradients: int
    optimiser: int
    games: int
    rollout: int
    minibatch: int
    evaluation: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))

    def __str__(self) -> str:
        parts = ", ".join(f"{f.name} {in_mebibytes(getattr(self, f.name))}" for f in fields(self))
        return f"{in_mebibytes(self.total)} and activations: {parts}"


def in_mebibytes(size: int) -> str:
    return f"{size / MEBIBYTE:.3g}"


def bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def memory_plan(
    agent: Agent,
    environment: EnvironmentOptions,
    *,
    games: int,
    rollout_steps: int,
    minibatches: int = 1,
    evaluation_episodes: int = 0,
) -> MemoryPlan | None:
    """The plan of a training; None for games that are not in torch, of which none is played for it."""
    device = next(agent.parameters()).device
    if not is_in_torch(environment):
        return None
    vector = make_games(environment, FEW, device)
    assert isinstance(vector, NativeGames)
    buffer = RolloutBuffer(1)
    with seeded(0), torch.no_grad():
        state = begin_episodes(vector, agent, 0, device)
        rollout, _ = collect_rollout(vector, agent, state, buffer)
    # A tensor with one row has as many as steps; one with two has one more.
    kept = dict(buffer.tensors)
    kept |= {"log_prob": rollout.log_prob, "values": rollout.values}  # type: ignore[dict-item]
    rows = [(rollout_steps + len(t) - 1) * bytes_of([t[:1]]) for t in kept.values()]
    recorded = sum(rows) * games // FEW
    stands = bytes_of(leaves(standing(vector, state)))
    learned = [parameter for parameter in agent.parameters() if parameter.requires_grad]
    return MemoryPlan(
        parameters=bytes_of([*agent.parameters(), *agent.buffers()]),
        gradients=bytes_of(learned),
        optimiser=2 * bytes_of(learned) + 4 * len(learned),
        games=stands * games // FEW,
        rollout=recorded,
        minibatch=recorded // minibatches,
        evaluation=stands * evaluation_episodes // FEW,
    )
