"""Vectors of foreign environments: a class of their own, or one game after another, or each in a process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import gymnasium
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from framework.data import end_with_parent
from framework.errors import UserError
from plugins.games.environments.arguments import checked_arguments, takes
from plugins.games.environments.foreign.guarding import Guarded, reason
from plugins.games.environments.foreign.masks import MaskInObservation, Place, place_of_mask
from plugins.games.environments.foreign.repeating import Repeatable
from plugins.games.environments.foreign.returned import AsDocumented
from plugins.games.environments.foreign.sources import Source
from plugins.games.environments.foreign.wrapping import Wrapper, wrappers_of
from plugins.games.environments.options import EnvironmentOptions

# What an environment's info says of an episode that `task.longest_episode` has ended.
CUT_OFF = "diffobj/cut_off"


@dataclass(frozen=True)
class VectorMaker:
    """Makes vectors of one environment.

    Args:
        count: games of a vector.
        rendered: a single game whose frames can be rendered.
        processes: each game in a process of its own.
        window: a single game that shows itself in a window.
    """

    source: Source
    options: EnvironmentOptions
    count: int
    rendered: bool = False
    processes: bool = False
    window: bool = False

    def __call__(self) -> VectorEnv[Any, Any, Any]:
        """A new vector.

        Raises:
            UserError: an option that the environment does not have, or whatever its constructor raises.
        """
        label = f"task.environment = '{self.options.name}'"
        if self.processes:
            # A failure in a process is reported in one line, without its traceback.
            warnings.filterwarnings("ignore", message=r"\x1b\[31mERROR: ")
        if self.rendered:
            # Frames need no display.
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        try:
            return self.own_vector() if self.uses_own_vector() else self.vector_of_singles()
        except UserError:
            raise
        # A foreign constructor may raise anything.
        except Exception as error:
            raise UserError(f"{label}: {reason(error)}") from error

    @property
    def declared_limit(self) -> int | None:
        """Steps of an episode; None: whatever the environment decides."""
        return self.options.max_episode_steps or self.source.time_limit

    @property
    def time_limit(self) -> int:
        """No episode has more steps than this."""
        return self.declared_limit or self.options.longest_episode

    @cached_property
    def mask(self) -> Place | None:
        """Where one game says which actions are allowed besides its observation; found by making one."""
        arguments = checked_arguments(
            self.source.constructor, self.options.arguments, "task.environment_options"
        )
        wrappers = wrappers_of(self.options.wrappers, trust=self.options.trust)
        game = Single(self.source, self.options, arguments, None, wrappers).game()
        place = place_of_mask(game)
        # What it holds goes with it, whatever its own way of closing raises.
        with contextlib.suppress(Exception):
            game.close()
        return place

    def uses_own_vector(self) -> bool:
        """Whether the environment's own vector class serves: it seldom renders, and takes no wrappers."""
        vector = self.source.make_vector
        if vector is None:
            return False
        if self.source.make is None:
            self.refuse_for_vectors()
            return True
        single = self.rendered or self.window or self.processes or self.options.wrappers
        wanted = [*self.options.arguments, *(["max_episode_steps"] if self.declared_limit else [])]
        return not single and all(takes(vector, name) for name in wanted)

    def refuse_for_vectors(self) -> None:
        """Refuse what an environment that comes as a vector only does not have.

        Raises:
            UserError: names the option.
        """
        options = self.options
        asked = {
            "task.wrappers": bool(options.wrappers),
            "task.processes": self.processes,
            "task.window": self.window,
            "task.max_episode_steps": options.max_episode_steps is not None
            and not takes(self.source.constructor, "max_episode_steps"),
        }
        for key, given in asked.items():
            if given:
                raise UserError(f"{key}: environment '{options.name}' is a vector, which has none")
        if self.rendered:
            raise UserError(f"environment '{options.name}' is a vector, which is not rendered")

    def own_vector(self) -> VectorEnv[Any, Any, Any]:
        assert self.source.make_vector is not None
        arguments = checked_arguments(
            self.source.make_vector,
            self.options.arguments,
            "task.environment_options",
            reserved=("num_envs",),
        )
        if self.declared_limit and takes(self.source.make_vector, "max_episode_steps"):
            arguments["max_episode_steps"] = self.declared_limit
        made = self.source.make_vector(num_envs=self.count, **arguments)
        if not isinstance(made, VectorEnv):
            raise UserError(
                f"environment '{self.options.name}' made {type(made).__name__}, expected a gymnasium.vector.VectorEnv"
            )
        if made.num_envs != self.count:
            raise UserError(
                f"environment '{self.options.name}' made {made.num_envs} games, expected num_envs = {self.count}"
            )
        return made

    def vector_of_singles(self) -> VectorEnv[Any, Any, Any]:
        arguments = checked_arguments(
            self.source.constructor, self.options.arguments, "task.environment_options"
        )
        mode = ("human" if self.window else "rgb_array") if self.rendered or self.window else None
        wrappers = wrappers_of(self.options.wrappers, trust=self.options.trust)
        single = Single(self.source, self.options, arguments, mode, wrappers, self.mask)
        singles = [single] * self.count
        return AsyncVectorEnv(singles) if self.processes else SyncVectorEnv(singles)


@dataclass(frozen=True)
class Single:
    """Makes one game of a vector, which can be played again and ends with the training's process."""

    source: Source
    options: EnvironmentOptions
    arguments: dict[str, Any]
    render_mode: str | None
    wrappers: list[Wrapper]
    mask: Place | None = None
    repeatable: ClassVar[bool] = True

    def __call__(self) -> gymnasium.Env[Any, Any]:
        if multiprocessing.current_process().daemon:
            end_with_parent()
        return Repeatable(Guarded(self.game, self.options.name, CUT_OFF))

    def game(self) -> gymnasium.Env[Any, Any]:
        """The environment with its time limit, wrappers and mask."""
        game = self.limited(self.made())
        for wrapper in self.wrappers:
            game = wrapper(game)
            check_environment(game, f"task.wrappers: {wrapper} made")
        if self.mask is not None:
            game = MaskInObservation(game, self.mask)
        return game

    def made(self) -> gymnasium.Env[Any, Any]:
        """The environment, rendered where that is asked for."""
        source, arguments, name = self.source, dict(self.arguments), self.options.name
        assert source.make is not None
        shown = getattr(source.constructor, "metadata", None) or {}
        modes = shown.get("render_modes") if isinstance(shown, dict) else None
        if (
            modes is not None
            and self.render_mode
            and not {"rgb_array", self.render_mode} & set(modes)
        ):
            raise UserError(f"environment '{name}' has no render_mode={self.render_mode!r}")
        if source.registered:
            limit = self.options.max_episode_steps
            if limit is not None:
                arguments["max_episode_steps"] = limit
            if self.render_mode is not None:
                arguments["render_mode"] = self.render_mode
            return source.make(**arguments)  # type: ignore[no-any-return]
        if self.render_mode is not None and takes(source.make, "render_mode"):
            arguments["render_mode"] = self.render_mode
        game = source.make(**arguments)
        check_environment(game, f"environment '{name}' made")
        if self.render_mode not in (None, game.render_mode):
            raise UserError(
                f"environment '{name}' takes no render_mode={self.render_mode!r}, so that it cannot be shown"
            )
        return AsDocumented(game, name)

    def limited(self, game: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
        """The environment with the time limit that was asked for, or the longest episode where there is none."""
        limit = self.options.max_episode_steps
        if limit is not None:
            return game if self.source.registered else TimeLimit(game, limit)
        declared = self.source.time_limit or (game.spec and game.spec.max_episode_steps)
        return game if declared else LongestEpisode(game, self.options.longest_episode)


class LongestEpisode(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Cuts off an episode that does not end by itself, and says so in `info`."""

    def __init__(self, env: gymnasium.Env[Any, Any], steps: int) -> None:
        super().__init__(env)
        self.steps = steps
        self.clock = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        self.clock = 0
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.clock += 1
        if self.clock >= self.steps and not (terminated or truncated):
            return observation, reward, False, True, {**info, CUT_OFF: True}
        return observation, reward, terminated, truncated, info


def check_environment(game: Any, label: str) -> None:
    """Refuse what is no environment.

    Raises:
        UserError: says what it is.
    """
    if not isinstance(game, gymnasium.Env):
        what = (
            "a vector: name the parameter num_envs" if isinstance(game, VectorEnv) else type(game)
        )
        raise UserError(f"{label} {what}, expected a gymnasium.Env")
