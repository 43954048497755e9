"""Gymnasium's environments as games in tensors, vetted by name, whatever their autoreset mode."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from framework.errors import ProgramError, UserError, suggestion
from framework.plugin import registry
from plugins.games.environments.games import Frame, Games, Observation, Outcome

NAME = re.compile(r"[\w./-]+-v\d+")  # no colon: gymnasium would import the module before it


class GymnasiumGames(Games):
    """A gymnasium vector: the environment's own class where it has one, else one game after another.

    Args:
        drawn: a single game that can be drawn as pixels.
    """

    def __init__(
        self, environment: str, count: int, device: torch.device | str = "cpu", drawn: bool = False
    ) -> None:
        self.environment = environment
        self.count = count
        self.device = torch.device(device)
        self.drawn = drawn
        self.vector = make_vector(environment, count, drawn)
        self.mode = autoreset_mode(self.vector, environment)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.frames_per_second = float(self.vector.metadata.get("render_fps", 50))
        self.ended = numpy.zeros(count, dtype=bool)

    def reset(self, seed: int) -> Observation:
        observations, _ = self.vector.reset(seed=seed)
        self.ended = numpy.zeros(self.count, dtype=bool)
        return self.seen(observations)

    def step(self, actions: Tensor) -> Outcome:
        if actions.requires_grad:
            raise ProgramError(
                f"a gradient through draw 'action' would be lost in environment '{self.environment}', which is no "
                "differentiable simulator; estimators that can serve it: ppo, rloo, reinforce, evolution_strategies"
            )
        before = self.ended
        played = actions.cpu().numpy()
        observations, rewards, terminated, truncated, info = self.vector.step(played)
        self.ended = ended = numpy.logical_or(terminated, truncated)
        valid, fresh, last = numpy.ones(self.count, dtype=bool), ended, None
        if self.mode == AutoresetMode.NEXT_STEP:
            valid, fresh = ~before, before
            rewards = numpy.where(valid, rewards, 0.0)
        elif self.mode == AutoresetMode.SAME_STEP:
            last = self.last_seen(observations, info)
        else:
            last = observations
            if ended.any():
                observations, _ = self.vector.reset(options={"reset_mask": ended})
        self.refuse_nonfinite(observations, rewards)
        return Outcome(
            observations=self.seen(observations),
            rewards=self.tensor(numpy.asarray(rewards, dtype=numpy.float32)),
            terminated=self.tensor(terminated),
            truncated=self.tensor(numpy.logical_and(truncated, ~numpy.asarray(terminated))),
            valid=self.tensor(valid),
            fresh=self.tensor(fresh),
            last=None if last is None else self.seen(last),
        )

    def last_seen(self, observations: Any, info: Mapping[str, Any]) -> Any:
        """What each step really led to: the true last observation of games that were reset at once."""
        finals = info.get("final_obs")
        if finals is None:
            return observations
        if isinstance(observations, Mapping):
            raise UserError(
                f"environment '{self.environment}': SAME_STEP resets of several observations by name are not served"
            )
        last = numpy.array(observations)
        for i in numpy.flatnonzero(info["_final_obs"]):
            last[i] = finals[i]
        return last

    def refuse_nonfinite(self, observations: Any, rewards: Any) -> None:
        """An environment that returns NaN would teach NaN.

        Raises:
            UserError: naming the environment and what was not finite.
        """
        parts = observations.values() if isinstance(observations, Mapping) else [observations]
        for what, values in (("reward", rewards), *(("observation", part) for part in parts)):
            if values.dtype.kind == "f" and not numpy.isfinite(values).all():
                raise UserError(
                    f"environment '{self.environment}' returned a {what} that is not finite"
                )

    def seen(self, observations: Any) -> Observation:
        """Observations as float tensors; images stay bytes."""
        if isinstance(observations, Mapping):
            return {name: self.tensor(numbers(part)) for name, part in observations.items()}
        return self.tensor(numbers(observations))

    def tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(numpy.array(values)).to(self.device)  # a copy: vectors reuse theirs

    def draw(self) -> Frame | None:
        frames = self.vector.render() if self.drawn else None
        return None if not frames else numpy.asarray(frames[0])

    def close(self) -> None:
        self.vector.close()


def numbers(values: Any) -> Any:
    return values if values.dtype == numpy.uint8 else values.astype(numpy.float32)


def make_vector(environment: str, count: int, drawn: bool = False) -> VectorEnv[Any, Any, Any]:
    """`count` games played in step.

    Raises:
        UserError: an unknown environment, a name that would import a module, or a package that is missing.
    """
    check_name(environment)
    if drawn:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pixels need no display
    options: dict[str, Any] = {"render_mode": "rgb_array"} if drawn else {}
    mode = "sync" if drawn else None  # native vector classes seldom draw
    try:
        return gymnasium.make_vec(environment, num_envs=count, vectorization_mode=mode, **options)
    except (gymnasium.error.Error, ImportError) as error:
        told = str(error).partition("\n")[0]
        raise UserError(f"task.environment = '{environment}': {told}") from None


def check_name(environment: str) -> None:
    """Refuse names that are not registered or that would import code."""
    if not NAME.fullmatch(environment):
        raise UserError(
            f"task.environment = '{environment}': expected a registered name such as CartPole-v1 or cart_pole"
        )
    if environment not in gymnasium.registry:
        known = [*gymnasium.registry, *registry().names("environments")]
        raise UserError(
            f"task.environment = '{environment}': unknown; {suggestion(environment, known)}"
        )


def autoreset_mode(vector: VectorEnv[Any, Any, Any], environment: str) -> AutoresetMode:
    """How the vector begins a game's next episode; gymnasium's default where it does not say.

    Raises:
        UserError: a mode that this code does not know.
    """
    mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode not in set(AutoresetMode):
        raise UserError(f"environment '{environment}': unknown autoreset mode {mode!r}")
    return AutoresetMode(mode)
