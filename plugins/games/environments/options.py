"""Which environment is played, and how: plain data, from a configuration or from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EnvironmentOptions:
    """Which environment is played, and how.

    Attributes:
        environment: a name such as `cart_pole`, `CartPole-v1`, `ALE/Pong-v5` or `mypackage:Bandit-v0`; in Python also
            an environment, a function or class that makes one, or one that makes a vector of `num_envs`.
        trust: a name may import the module that stands before its colon.
        arguments: keyword arguments of the environment's constructor.
        wrappers: gymnasium's by name, innermost first; see `wrapping`.
        max_episode_steps: the environment's time limit, in place of its own.
        longest_episode: the time limit of an environment without one.
        repeat_action_probability: how likely a frame repeats the last action instead (Atari).
        processes: each game that is trained on has a process of its own.
        window: show the agent in a window in place of a video.
    """

    environment: Any
    trust: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wrappers: Sequence[Any] = ()
    max_episode_steps: int | None = None
    longest_episode: int = 1000
    repeat_action_probability: float = 0.0
    processes: bool = False
    window: bool = False

    @property
    def name(self) -> str:
        """What the environment is called in messages."""
        given = self.environment
        if isinstance(given, str):
            return given
        # A partial function has no name.
        given = getattr(given, "func", given)
        named = getattr(given, "__name__", None)
        return str(named or type(getattr(given, "unwrapped", given)).__name__)
