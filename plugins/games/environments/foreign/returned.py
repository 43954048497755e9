"""What one game of gymnasium's returns, as it must be: told in one line where it is not, before a vector takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy
from gymnasium.spaces import Dict

from framework.errors import UserError
from plugins.games.environments.arguments import takes
from plugins.games.environments.foreign.reading import followed, leaves, named


class AsDocumented(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Somebody's environment, held to what gymnasium documents; nearest to it, below all wrappers.

    Args:
        name: what it is called in messages.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], name: str) -> None:
        super().__init__(env)
        self.name = name
        for attribute in ("observation_space", "action_space"):
            space = getattr(env, attribute, None)
            if not isinstance(space, gymnasium.Space):
                raise UserError(
                    f"environment '{name}': {attribute} is {described(space)}; expected a space of gymnasium's, set "
                    "before the first reset"
                )
        if not isinstance(env.metadata, dict):
            raise UserError(f"environment '{name}': metadata is {env.metadata!r}; expected a dict")
        # What has a shape, and the way to it.
        parts = leaves(env.observation_space)
        self.shapes = [(way, part.shape) for way, part in parts if part.shape is not None]
        lacks = [option for option in ("seed", "options") if not takes(env.reset, option)]
        if lacks:
            raise UserError(
                f"environment '{name}': reset takes no {' and no '.join(lacks)}; expected reset(self, *, seed=None, "
                "options=None)"
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        try:
            returned: Any = self.env.reset(seed=seed, options=options)
        except SystemExit as error:
            raise self.ended_the_program("reset", error) from None
        whole = isinstance(returned, tuple) and len(returned) == 2
        if not (whole and isinstance(returned[1], Mapping)):
            raise self.refusal("reset", returned, "(observation, info), info being a dict")
        observation, info = returned
        self.check(observation, "reset")
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            returned: Any = self.env.step(action)
        except SystemExit as error:
            raise self.ended_the_program("step", error) from None
        if not (isinstance(returned, tuple) and len(returned) == 5):
            expected = "(observation, reward, terminated, truncated, info)"
            raise self.refusal("step", returned, expected)
        observation, reward, terminated, truncated, info = returned
        if not isinstance(info, Mapping):
            raise self.refusal("step", info, "a dict", " as info")
        self.check(observation, "step")
        reward = self.number("reward", reward, "a number")
        over, cut_off = (
            bool(self.number(name, end, "true or false"))
            for name, end in (("terminated", terminated), ("truncated", truncated))
        )
        return observation, reward, over, cut_off, info  # type: ignore[return-value]

    def check(self, observation: Any, method: str) -> None:
        """Refuse an observation that lacks a declared part, or whose part has another shape.

        Raises:
            UserError: it lacks a part.
            ValueError: another shape, which counts as a failure of the game.
        """
        space = self.env.observation_space
        if isinstance(space, Dict):
            given = observation.keys() if isinstance(observation, Mapping) else ()
            if lacks := [name for name in space.spaces if name not in given]:
                expected = f"one with {lacks[0]!r}, as observation_space has it"
                raise self.refusal(method, observation, expected, " as observation")
        for way, shape in self.shapes:
            part = followed(observation, way)
            if getattr(part, "shape", None) != shape and numpy.shape(part) != shape:
                where = f" as observation '{named(way)}'" if way else " as observation"
                expected = f"the shape {list(shape)}" if shape else "a number"
                raise ValueError(f"{method} returned {described(part)}{where}; expected {expected}")

    def ended_the_program(self, method: str, error: SystemExit) -> UserError:
        return UserError(
            f"environment '{self.name}': {method} called sys.exit({'' if error.code is None else repr(error.code)}), "
            "which would end the training"
        )

    def number(self, name: str, value: Any, expected: str) -> float:
        """A number, or the one number of an array or a tensor."""
        if isinstance(value, float | int | numpy.number | numpy.bool_):
            return float(value)
        if getattr(value, "shape", None) in ((), (1,)):
            return float(value.reshape(-1)[0])
        raise self.refusal("step", value, expected, f" as {name}")

    def refusal(self, method: str, returned: Any, expected: str, where: str = "") -> UserError:
        text = described(returned)
        return UserError(
            f"environment '{self.name}': {method} returned {text}{where}; expected {expected}"
        )


def described(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, tuple):
        return f"{len(value)} values"
    if shape := tuple(getattr(value, "shape", ())):
        return f"{type(value).__name__} of shape {list(shape)}"
    text = repr(value)
    return text if len(text) < 40 and "\n" not in text else type(value).__name__
