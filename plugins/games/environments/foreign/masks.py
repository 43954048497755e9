"""Masks of actions that an environment gives beside its observation: in `info`, or by a method `action_masks()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray

MASK = "action_mask"
METHOD = "action_masks"
Place = Literal["info", "method"]


def place_of_mask(game: gymnasium.Env[Any, Any]) -> Place | None:
    """Where an environment says which actions are allowed; None: nowhere, or in its observation.

    An `info` is known after a reset only.
    """
    if not lacks_mask(game):
        return None
    if callable(getattr(game.unwrapped, METHOD, None)):
        return "method"
    # What is wrong with a reset is reported where it is played.
    try:
        _, info = game.reset(seed=0)
    except Exception:
        return None
    return "info" if isinstance(info, Mapping) and MASK in info else None


def lacks_mask(game: gymnasium.Env[Any, Any]) -> bool:
    """Whether a mask would be read, and the observation has none."""
    space = game.observation_space
    masked = isinstance(space, Dict) and MASK in space.spaces
    return not masked and isinstance(game.action_space, Discrete | MultiDiscrete | MultiBinary)


class MaskInObservation(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Puts the mask into the observation: into a dict as it is, else beside `observation`."""

    def __init__(self, env: gymnasium.Env[Any, Any], place: Place) -> None:
        super().__init__(env)
        self.place = place
        space = env.observation_space
        self.named = isinstance(space, Dict)
        parts = dict(space.spaces) if isinstance(space, Dict) else {"observation": space}
        self.observation_space = Dict({**parts, MASK: MultiBinary(choices(env.action_space))})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self.masked(observation, info, False), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        masked = self.masked(observation, info, terminated or truncated)
        return masked, reward, terminated, truncated, info

    def masked(self, observation: Any, info: dict[str, Any], ended: bool) -> dict[str, Any]:
        """The observation with its mask; after an end, where none is needed, it may be missing."""
        size = self.observation_space[MASK].shape  # type: ignore[index]
        if self.place == "method":
            mask = getattr(self.env.unwrapped, METHOD)()
        elif MASK in info:
            mask = info[MASK]
        elif ended:
            mask = numpy.ones(size)
        else:
            raise ValueError(f"info has no '{MASK}', which that of its first reset had")
        mask = numpy.asarray(in_one(mask)).astype(numpy.int8).ravel()
        parts = observation if self.named else {"observation": observation}
        return {**parts, MASK: mask}


def in_one(mask: Any) -> Any:
    """A tuple of masks, one for each of several choices, as one after the other."""
    if not isinstance(mask, tuple):
        return mask
    return numpy.concatenate([numpy.ravel(part) for part in mask])


def choices(space: Any) -> int:
    """The entries of a mask."""
    return int(sum(group_sizes(space)))


def group_sizes(space: Any) -> list[int]:
    """How many values each choice of an action space has; no choices for other spaces."""
    if isinstance(space, Discrete):
        return [int(space.n)]
    if isinstance(space, MultiDiscrete):
        return [int(n) for n in space.nvec.flatten()]
    if isinstance(space, MultiBinary):
        return [2] * int(numpy.prod(space.shape))
    if isinstance(space, Box) and space.dtype is not None and space.dtype.kind in "iub":
        return [int(n) for n in (space.high.astype(int) - space.low.astype(int) + 1).flatten()]
    return []


def forbidden_everything(mask: NDArray[Any], sizes: list[int]) -> NDArray[Any]:
    """`[N]`: a choice of the game has no value that the mask `[N, entries]` allows."""
    starts = numpy.cumsum([0, *sizes[:-1]])
    allowed = numpy.add.reduceat(numpy.asarray(mask).astype(bool).astype(int), starts, axis=-1)
    return numpy.asarray((allowed == 0).any(-1))
