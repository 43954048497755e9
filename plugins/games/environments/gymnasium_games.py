"""Gymnasium's environments as games in tensors, vetted by name, whatever their autoreset mode.

An environment that raises, returns what is not finite or changes its shape, in a step or in a reset, does not end a
run: its games begin anew, what was under way is cut off there, and it is said once each time. It does end the run when
it happens too often.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy
import torch
from gymnasium.spaces import Dict
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from framework.capabilities import able, alternatives
from framework.errors import ProgramError, UserError, suggestion
from framework.plugin import registry
from framework.randomness import fresh_key
from plugins.games.environments.games import Frame, Games, Observation, Outcome

NAME = re.compile(r"[\w./-]+-v\d+")  # no colon: gymnasium would import the module before it
PATIENCE = 10  # failures of an environment that a run survives


class GymnasiumGames(Games):
    """A gymnasium vector: the environment's own class where it has one, else one game after another.

    Args:
        drawn: a single game that can be drawn as pixels.
        processes: each game in a process of its own: for slow environments only.
        window: a single game that shows itself in a window.
    """

    def __init__(
        self,
        environment: str,
        count: int,
        device: torch.device | str = "cpu",
        *,
        drawn: bool = False,
        processes: bool = False,
        window: bool = False,
    ) -> None:
        self.environment = environment
        self.count = count
        self.device = torch.device(device)
        self.drawn = drawn
        self.options = (drawn, processes, window)
        self.vector = self.make()
        self.mode = autoreset_mode(self.vector, environment)
        self.observation_space = self.vector.single_observation_space
        self.action_space = self.vector.single_action_space
        self.frames_per_second = float(self.vector.metadata.get("render_fps") or 50)
        self.ended = numpy.zeros(count, dtype=bool)
        self.failures = 0

    def make(self) -> VectorEnv[Any, Any, Any]:
        """The vector of all games."""
        return make_vector(self.environment, self.count, *self.options)

    def reset(self, seed: int) -> Observation:
        while True:
            try:
                observations, _ = self.vector.reset(seed=seed)
                self.refuse_unplayable(observations)
                break
            except Exception as error:  # whatever somebody else's environment may raise
                self.survive(error)
                seed = (seed + 1) % 2**31
        self.ended = numpy.zeros(self.count, dtype=bool)
        return self.seen(observations)

    def step(self, actions: Tensor) -> Outcome:
        if actions.requires_grad:
            raise ProgramError(
                f"a gradient through draw 'action' would be lost in environment '{self.environment}', which is no "
                f"differentiable simulator; {alternatives(black_box=True)}, "
                f"{', '.join(able(value_predictions=True))}"
            )
        try:
            observations, rewards, terminated, truncated, info = self.vector.step(
                actions.cpu().numpy()
            )
            ended = numpy.logical_or(terminated, truncated)
            self.refuse_unplayable(observations, rewards)
            observations, last = self.behind_ends(observations, ended, info)
        except Exception as error:
            return self.begin_anew(error)
        before, self.ended = self.ended, ended
        valid, fresh = numpy.ones(self.count, dtype=bool), ended
        if self.mode == AutoresetMode.NEXT_STEP:
            valid, fresh = ~before, before
            rewards = numpy.where(valid, rewards, 0.0)
        return Outcome(
            observations=self.seen(observations),
            rewards=self.tensor(numpy.asarray(rewards, dtype=numpy.float32)),
            terminated=self.tensor(terminated),
            truncated=self.tensor(numpy.logical_and(truncated, ~numpy.asarray(terminated))),
            valid=self.tensor(valid),
            fresh=self.tensor(fresh),
            last=None if last is None else self.seen(last),
            lost=self.lives_lost(info, valid),
        )

    def behind_ends(
        self, observations: Any, ended: Any, info: Mapping[str, Any]
    ) -> tuple[Any, Any | None]:
        """What the next actions are chosen from and, where games reset at once, what the step really led to."""
        if self.mode == AutoresetMode.NEXT_STEP:
            return observations, None
        if self.mode == AutoresetMode.SAME_STEP:
            last = last_seen(observations, info)
            self.refuse_unplayable(last)
            return observations, last
        last = observations
        if ended.any():
            observations, _ = self.vector.reset(options={"reset_mask": ended})
            self.refuse_unplayable(observations)
        return observations, last

    def begin_anew(self, error: Exception) -> Outcome:
        """All games from their beginning, after a step that failed and counts for nothing."""
        self.survive(error)
        observations = self.reset(fresh_key() % 2**31)
        none, every = (torch.full((self.count,), v, device=self.device) for v in (False, True))
        last = None if self.mode == AutoresetMode.NEXT_STEP else observations
        return Outcome(
            observations, torch.zeros_like(none, dtype=torch.float32), none, none, none, every, last
        )

    def survive(self, error: Exception) -> None:
        """Say what failed and make the games again.

        Raises:
            UserError: they have failed too often.
        """
        self.failures += 1
        told = f"environment '{self.environment}' failed: {first_line(error)}"
        if self.failures > PATIENCE:
            raise UserError(f"{told}; that was failure number {self.failures}") from error
        print(f"{told}; its games begin anew", file=sys.stderr, flush=True)
        close(self.vector)
        self.vector = self.make()

    def lives_lost(self, info: Mapping[str, Any], valid: Any) -> Tensor | None:
        """Where a step cost a life and the game goes on; None for games without lives."""
        return None

    def refuse_unplayable(self, observations: Any, rewards: Any = ()) -> None:
        """An environment that returns NaN would teach NaN.

        Raises:
            ValueError: what was not finite, or had another shape than was declared.
        """
        named = isinstance(observations, Mapping)
        parts = observations if named else {"": observations}
        space = self.vector.observation_space
        spaces = space.spaces if isinstance(space, Dict) else {"": space}
        for name, values in parts.items():
            if values.shape != spaces[name].shape:
                declared = list(spaces[name].shape or ())
                raise ValueError(f"observations of shape {list(values.shape)}, declared {declared}")
        checked = [("observation", part) for part in parts.values()]
        for what, values in (("reward", numpy.asarray(rewards)), *checked):
            if values.dtype.kind == "f" and not numpy.isfinite(values).all():
                raise ValueError(f"a {what} that is not finite")

    def seen(self, observations: Any) -> Observation:
        """Observations as float tensors; images stay bytes."""
        if isinstance(observations, Mapping):
            return {name: self.tensor(numbers(part)) for name, part in observations.items()}
        return self.tensor(numbers(observations))

    def tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(numpy.array(values)).to(self.device)  # a copy: vectors reuse theirs

    def draw(self) -> Frame | None:
        if not self.drawn:
            return None
        try:
            frames = self.vector.render()
        except Exception as error:  # no display, say: what was learned must not be lost for a film
            self.drawn = False
            print(
                f"environment '{self.environment}' cannot be drawn here: {first_line(error)}; there is no film",
                file=sys.stderr,
                flush=True,
            )
            return None
        return None if not frames else numpy.asarray(frames[0])

    def close(self) -> None:
        self.vector.close()


def last_seen(observations: Any, info: Mapping[str, Any]) -> Any:
    """What each step really led to: the true last observation of games that were reset at once."""
    finals = info.get("final_obs")  # one game's observation each, None for games that go on
    if finals is None:
        return observations
    ended = numpy.flatnonzero(info["_final_obs"])
    if isinstance(observations, Mapping):
        return {
            name: replaced(part, {i: finals[i][name] for i in ended})
            for name, part in observations.items()
        }
    return replaced(observations, {i: finals[i] for i in ended})


def replaced(values: Any, others: Mapping[Any, Any]) -> Any:
    """A copy with some rows replaced."""
    values = numpy.array(values)
    for i, other in others.items():
        values[i] = other
    return values


def numbers(values: Any) -> Any:
    return values if values.dtype == numpy.uint8 else values.astype(numpy.float32)


def make_vector(
    environment: str,
    count: int,
    drawn: bool = False,
    processes: bool = False,
    window: bool = False,
) -> VectorEnv[Any, Any, Any]:
    """`count` games played in step.

    Raises:
        UserError: an unknown environment, a name that would import a module, a package that is missing, or whatever the
            environment itself raises.
    """
    check_name(environment)
    options: dict[str, Any] = {}
    mode = "async" if processes else None  # None: its own vector class where it has one
    if processes:  # a process's fault is told in one line, its traceback is not
        warnings.filterwarnings("ignore", message=r"\x1b\[31mERROR: ")
    if drawn or window:
        mode = "sync"  # native vector classes seldom draw
        options["render_mode"] = "human" if window else "rgb_array"
    if drawn:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pixels need no display
    try:
        return gymnasium.make_vec(environment, num_envs=count, vectorization_mode=mode, **options)
    except Exception as error:  # whatever somebody else's constructor may raise
        raise UserError(f"task.environment = '{environment}': {first_line(error)}") from error


def check_name(environment: str) -> None:
    """Refuse names that are not registered or that would import code."""
    if not NAME.fullmatch(environment):
        raise UserError(
            f"task.environment = '{environment}': expected a registered name such as CartPole-v1 or cart_pole"
        )
    if environment not in gymnasium.registry:
        known = [*gymnasium.registry, *registry().names("games.environments")]
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


def close(vector: VectorEnv[Any, Any, Any]) -> None:
    """Let a vector go that may be broken."""
    with contextlib.suppress(Exception):
        vector.close()


def first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
