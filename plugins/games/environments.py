"""Vectors of gymnasium environments, vetted by name, and what their autoreset modes mean."""

from __future__ import annotations

import os
import re
from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

from framework.errors import UserError, suggestion

NAME = re.compile(r"[\w./-]+-v\d+")  # no colon: gymnasium would import the module before it


def make_vector(environment: str, count: int) -> VectorEnv[Any, Any, Any]:
    """`count` games played in step: the environment's own vector class where it has one, else one after another.

    Raises:
        UserError: an unknown environment, a name that would import a module, a package that is missing, or an
            autoreset mode that this code does not know.
    """
    check_name(environment)
    try:
        vector = gymnasium.make_vec(environment, num_envs=count, vectorization_mode=None)
    except (gymnasium.error.Error, ImportError) as error:
        told = str(error).partition("\n")[0]
        raise UserError(f"task.environment = '{environment}': {told}") from None
    mode = autoreset_mode(vector)
    if mode not in set(AutoresetMode):
        raise UserError(f"environment '{environment}': unknown autoreset mode {mode!r}")
    return vector


def make_drawn(environment: str) -> gymnasium.Env[Any, Any] | None:
    """One game that can be drawn as pixels, or None where the environment cannot."""
    check_name(environment)
    os.environ.setdefault(
        "SDL_VIDEODRIVER", "dummy"
    )  # pixels need no window, nor a display to open it on
    try:
        drawn = gymnasium.make(environment, render_mode="rgb_array")
    except (gymnasium.error.Error, ImportError):
        return None
    return drawn if drawn.render_mode == "rgb_array" else None


def check_name(environment: str) -> None:
    """Refuse names that are not registered or that would import code."""
    if not NAME.fullmatch(environment):
        raise UserError(
            f"task.environment = '{environment}': expected a registered name such as CartPole-v1"
        )
    if environment not in gymnasium.registry:
        raise UserError(
            f"task.environment = '{environment}': unknown; {suggestion(environment, gymnasium.registry)}"
        )


def autoreset_mode(vector: VectorEnv[Any, Any, Any]) -> AutoresetMode:
    """How the vector begins a game's next episode; gymnasium's default where it does not say."""
    mode: AutoresetMode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    return mode
