"""The trained agent as a function of gymnasium's observations, with a memory between calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict
from torch import Tensor

from framework.errors import UserError
from plugins.games.environments.foreign.masks import in_one
from plugins.games.environments.games import Observation
from plugins.games.policies.agent import Agent
from plugins.games.policies.bodies import MASK


class Player:
    """An agent with the spaces of its game; it remembers what it has seen since `reset_memory`.

    Args:
        observation_space, action_space: of one game, as the agent has them.
        read: from the environment's own observations to the agent's.
    """

    def __init__(
        self,
        observation_space: Space[Any],
        action_space: Space[Any],
        read: Callable[[Any], Any] = lambda observation: observation,
    ) -> None:
        self.observation_space = observation_space
        self.action_space = action_space
        self.read = read
        self.memory: Tensor | None = None

    def reset_memory(self) -> None:
        """Forget everything: the next observation begins an episode."""
        self.memory = None

    @torch.no_grad()
    def act(
        self,
        agent: Agent,
        observation: Any,
        *,
        deterministic: bool,
        mask: Any,
        episode_start: bool | Sequence[bool],
    ) -> Any:
        """See `Game.act`."""
        device = next(agent.parameters()).device
        seen, count = self.batched(self.complete(observation, mask), device)
        starts = torch.as_tensor(numpy.asarray(episode_start, dtype=bool), device=device)
        if starts.shape not in {(), (1 if count is None else count,)}:
            raise UserError(
                f"episode_start has the shape {list(starts.shape)}, expected one truth value or one for each game"
            )
        starts = starts.expand(1 if count is None else count)
        memory = self.memory
        if memory is None:
            memory = agent.initial_memory(len(starts), device)
        elif memory.shape[1] != len(starts):
            raise UserError(
                f"{len(starts)} observations, and the memory is of {memory.shape[1]} games; "
                "reset_memory() begins new episodes"
            )
        choose = agent.greedy_actions if deterministic else agent.sample_actions
        actions, self.memory = choose(seen, memory, starts)
        played = self.as_numpy(agent.to_environment(actions))
        return played[0] if count is None else played

    def complete(self, observation: Any, mask: Any) -> Any:
        """The observation as the agent has it, with its mask.

        Raises:
            UserError: a mask for an agent that was trained without one, or none for one that has no other.
        """
        space, mask = self.observation_space, in_one(mask)
        masked = isinstance(space, Dict) and MASK in space.spaces
        if mask is not None and not masked:
            raise UserError("mask: the agent was trained without masks of actions")
        if not isinstance(space, Dict) or (
            isinstance(observation, Mapping) and set(observation) == set(space.spaces)
        ):
            return observation if mask is None else {**observation, MASK: mask}
        rest = set(space.spaces) - {MASK}
        if masked and rest == {"observation"} and not isinstance(observation, Mapping):
            if mask is None:
                raise UserError(
                    "mask: expected one, as in training, where it came beside the observation"
                )
            return {"observation": observation, MASK: mask}
        if not isinstance(observation, Mapping) or set(observation) != rest:
            # Nested parts, or such as no policy reads.
            try:
                observation = self.read(observation)
            except (KeyError, IndexError, TypeError, ValueError):
                return observation
        return observation if mask is None else {**observation, MASK: mask}

    def batched(self, observation: Any, device: torch.device) -> tuple[Observation, int | None]:
        """The observation with a leading axis, float32 or bytes, and the batch's size; None: it is of one game.

        Raises:
            UserError: it does not fit the observation space.
        """
        space = self.observation_space
        if not isinstance(space, Dict):
            tensor, count = batched(observation, space, "the observation", device)
            return tensor, count
        names = set(observation) if isinstance(observation, Mapping) else None
        if names != set(space.spaces):
            given = type(observation).__name__ if names is None else sorted(names)
            raise UserError(
                f"the observation is {given}, expected a dict of {sorted(space.spaces)}"
            )
        parts = {
            name: batched(observation[name], part, f"observation '{name}'", device)
            for name, part in space.spaces.items()
        }
        counts = {count for _, count in parts.values()}
        if len(counts) > 1:
            raise UserError(
                "the observation's parts are of different numbers of games: "
                + ", ".join(f"'{name}' of {count or 1}" for name, (_, count) in parts.items())
            )
        return {name: tensor for name, (tensor, _) in parts.items()}, counts.pop()

    def as_numpy(self, actions: Tensor) -> Any:
        """Actions `[N, ...]` in the action space's type, and within its bounds whatever the rounding."""
        values = actions.cpu().numpy().astype(self.action_space.dtype)
        space = self.action_space
        return numpy.clip(values, space.low, space.high) if isinstance(space, Box) else values


def batched(
    values: Any, space: Space[Any], name: str, device: torch.device
) -> tuple[Tensor, int | None]:
    """`values` as a tensor `[N, ...]`, and N; None: `values` had no such axis.

    Raises:
        UserError: values that are no numbers, or of a shape that is not the space's.
    """
    expected = tuple(space.shape or ())
    try:
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else numpy.array(values)
        array = array if array.dtype == numpy.uint8 else array.astype(numpy.float32)
    except (TypeError, ValueError):
        raise UserError(
            f"{name} is {type(values).__name__}, expected numbers of shape {list(expected)}"
        ) from None
    tensor = torch.from_numpy(array).to(device)
    if array.shape == expected:
        return tensor.unsqueeze(0), None
    if array.shape[1:] == expected and array.ndim == len(expected) + 1 and len(array) > 0:
        return tensor, len(array)
    raise UserError(
        f"{name} has the shape {list(array.shape)}, expected {list(expected)}, or with a leading axis for several games"
    )
