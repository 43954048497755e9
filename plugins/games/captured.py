"""A rollout of games in torch as one CUDA graph: hundreds of small launches become one."""

from __future__ import annotations

from typing import Any

from framework.batch import leaves, map_tensors
from framework.capture import Captured
from plugins.games.environments.native.games import NativeGames
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import RolloutBuffer, RolloutState, fill_buffer

# Of where the games stand, what a rollout changes.
CHANGED = ("observation", "memory", "episode_start", "returns", "lengths")


class CapturedRollout:
    """Plays rollouts in tensors that stay where they are: the games' state, where they stand, and the buffer."""

    def __init__(
        self, games: NativeGames, agent: Agent, state: RolloutState, buffer: RolloutBuffer
    ) -> None:
        self.games, self.agent, self.state, self.buffer = games, agent, state, buffer
        self.kept = map_tensors(lambda tensor: tensor.clone(), standing(games, state))
        stand(games, state, self.kept)
        self.captured = Captured(self.advance, games.device)

    def serves(self, state: RolloutState, buffer: RolloutBuffer) -> bool:
        """Whether the games stand where it left them, and it is this buffer that it fills."""
        if self.state is not state or self.buffer is not buffer:
            return False
        now = zip(leaves(standing(self.games, state)), leaves(self.kept), strict=True)
        return all(a is b for a, b in now)

    def __call__(self) -> None:
        """Play one rollout into the buffer, and advance the games."""
        self.captured()

    def advance(self) -> None:
        """The same step by step; where the games stand then is written over where they stood."""
        fill_buffer(self.games, self.agent, self.state, self.buffer)
        # One may be a view of another.
        found = [now.clone() for now in leaves(standing(self.games, self.state))]
        for kept, now in zip(leaves(self.kept), found, strict=True):
            kept.copy_(now)
        stand(self.games, self.state, self.kept)


def standing(games: NativeGames, state: RolloutState) -> dict[str, Any]:
    """All that a rollout changes besides the buffer."""
    return {
        "games": games.state_dict(),
        "position": {name: getattr(state, name) for name in CHANGED},
    }


def stand(games: NativeGames, state: RolloutState, kept: dict[str, Any]) -> None:
    """Put back what `standing` returned, these very tensors."""
    games.load_state_dict(kept["games"])
    for name, value in kept["position"].items():
        setattr(state, name, value)
