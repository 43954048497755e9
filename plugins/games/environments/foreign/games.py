"""Vectors of gymnasium's interface as games in tensors, whatever their autoreset mode.

An environment that raises, returns NaN or infinity or changes its shape, in a step or in a reset, does not end a run:
one line reports it, the episode is cut off, and the game begins again. All games of a vector do so where it is a class
of its own, or cannot say which of them it was. What fails too often ends the run.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from framework.capabilities import able, alternatives
from framework.errors import ProgramError, UserError
from framework.randomness import fresh_key
from plugins.games.environments.foreign.checking import (
    check_one_each,
    check_playable,
    overwrite_spoilt,
)
from plugins.games.environments.foreign.guarding import FAILED, Failures, reason
from plugins.games.environments.foreign.masks import MASK, forbidden_everything, group_sizes
from plugins.games.environments.foreign.reading import Reading
from plugins.games.environments.foreign.repeating import (
    bring_back,
    games_as_they_stand,
    is_repeatable,
)
from plugins.games.environments.foreign.resetting import autoreset_mode, final_observations
from plugins.games.environments.foreign.vectors import CUT_OFF
from plugins.games.environments.games import Frame, Games, Observation, Outcome

# A game that was spoilt when its step was looked at says so in the next one.
REPORTED_BEFORE = "spoilt"


class ForeignGames(Games):
    """A gymnasium vector: the environment's own class where it has one, else one game after another.

    Args:
        environment: what it is called in messages.
        make: makes a vector of all games; again after a failure.
        rendered: a single game whose frames can be rendered.
        time_limit: steps of an episode, where they are known.
    """

    def __init__(
        self,
        environment: str,
        make: Callable[[], VectorEnv[Any, Any, Any]],
        count: int,
        device: torch.device | str = "cpu",
        *,
        rendered: bool = False,
        time_limit: int | None = None,
    ) -> None:
        self.environment = environment
        self.make = make
        self.count = count
        self.device = torch.device(device)
        self.rendered = rendered
        self.time_limit = time_limit
        self.vector = make()
        self.mode = autoreset_mode(self.vector, environment)
        self.reading = Reading(self.vector.single_observation_space)
        self.observation_space, self.left_out = self.reading.space, self.reading.left_out
        self.action_space = self.vector.single_action_space
        self.choices = group_sizes(self.action_space)
        rate = self.vector.metadata.get("render_fps")
        self.frames_per_second = float(rate) if isinstance(rate, int | float) and rate > 0 else 50.0
        self.ended = numpy.zeros(count, dtype=bool)
        self.failures = Failures(environment)
        # Whether one game can begin again alone.
        self.guarded = is_repeatable(self.vector)
        # Since the latest reset of all games.
        self.steps = 0
        self.cut_off_reported = False

    def read(self, observation: Any) -> Any:
        return self.reading(observation)

    def reset(self, seed: int) -> Observation:
        while True:
            try:
                observations = self.seen(self.vector.reset(seed=seed)[0])
                self.check_playable(observations)
                break
            # A foreign environment may raise anything.
            except Exception as error:
                self.recover(error)
                seed = (seed + 1) % 2**31
        self.ended = numpy.zeros(self.count, dtype=bool)
        self.steps = 0
        self.refuse_without_action(observations, self.ended)
        return self.to_tensors(observations)

    def step(self, actions: Tensor) -> Outcome:
        if actions.requires_grad:
            raise ProgramError(
                f"a gradient through draw 'action' would be lost in environment '{self.environment}', which is no "
                f"differentiable simulator; {alternatives(black_box=True)}, "
                f"{', '.join(able(value_predictions=True))}"
            )
        try:
            chosen = actions.cpu().numpy().astype(self.action_space.dtype, copy=False)
            observations, rewards, terminated, truncated, info = self.vector.step(chosen)
            observations = self.seen(observations)
            rewards = single(rewards)
            ended = numpy.logical_or(terminated, truncated)
            check_one_each(self.count, rewards, ended)
            failed = self.failed_games(info)
            if self.guarded:
                failed |= self.spoilt_games(observations, rewards, failed)
            self.check_playable(observations, rewards)
            if self.mode == AutoresetMode.SAME_STEP and "final_obs" not in info:
                self.refuse_unknown_end(terminated, truncated)
            observations, final = self.split_observations(observations, ended, info)
        except Exception as error:
            return self.restart(error)
        self.steps += 1
        self.refuse_without_action(observations, ended & (self.mode == AutoresetMode.NEXT_STEP))
        if CUT_OFF in info:
            self.report_cut_off()
        before, self.ended = self.ended, ended
        valid, episode_start = numpy.ones(self.count, dtype=bool), ended
        if self.mode == AutoresetMode.NEXT_STEP:
            valid, episode_start = ~before, before
            rewards = numpy.where(valid, rewards, 0.0)
        if failed.any():
            # A failed step is none; the games' own vector goes on as after an end.
            valid &= ~failed
            rewards = numpy.where(failed, 0.0, rewards)
            terminated, truncated = (
                numpy.logical_and(end, ~failed) for end in (terminated, truncated)
            )
        self.failures.sound(valid)
        return Outcome(
            observations=self.to_tensors(observations),
            rewards=self.tensor(rewards),
            terminated=self.tensor(terminated),
            truncated=self.tensor(numpy.logical_and(truncated, ~numpy.asarray(terminated))),
            valid=self.tensor(valid),
            episode_start=self.tensor(episode_start),
            final_observation=None if final is None else self.to_tensors(final),
            life_lost=self.lives_lost(info, valid),
        )

    def split_observations(
        self, observations: Any, ended: Any, info: Mapping[str, Any]
    ) -> tuple[Any, Any | None]:
        """What the next actions are chosen from and, where games reset at once, what the step led to."""
        if self.mode == AutoresetMode.NEXT_STEP:
            return observations, None
        if self.mode == AutoresetMode.SAME_STEP:
            final = single_of_all(final_observations(observations, info, self.reading))
            self.check_playable(final)
            return observations, final
        final = observations
        if ended.any():
            observations = self.seen(self.vector.reset(options={"reset_mask": ended})[0])
            self.check_playable(observations)
        return observations, final

    def refuse_unknown_end(self, terminated: Any, truncated: Any) -> None:
        """Refuse a truncated episode whose last observation is not known: its value could not be predicted.

        Raises:
            UserError: names the entry of `info` that lacks.
        """
        if numpy.logical_and(truncated, numpy.logical_not(terminated)).any():
            raise UserError(
                f"environment '{self.environment}': an episode was truncated, and info has no 'final_obs'; expected "
                "its last observation there, its games in '_final_obs' (autoreset mode SameStep)"
            )

    def report_cut_off(self) -> None:
        """Say once that the time limit is ours."""
        if not self.cut_off_reported:
            self.cut_off_reported = True
            print(
                f"environment '{self.environment}' has no time limit: an episode was cut off after {self.time_limit:,} "
                "steps (task.longest_episode)",
                file=sys.stderr,
                flush=True,
            )

    def failed_games(self, info: Mapping[str, Any]) -> Any:
        """`[N]`: the games that say that they have failed, each of which is reported.

        Raises:
            UserError: they have failed too often.
        """
        if not self.guarded or FAILED not in info:
            return numpy.zeros(self.count, dtype=bool)
        failed = numpy.array(info[f"_{FAILED}"], dtype=bool)
        for why in numpy.asarray(info[FAILED])[failed]:
            if why != REPORTED_BEFORE:
                self.failures.add(str(why), "the game is")
        return failed

    def spoilt_games(self, observations: Any, rewards: Any, failed: Any) -> Any:
        """`[N]`: the games that returned what is not finite, which is overwritten; each will begin again.

        Args:
            failed: `[N]`, those that have failed anyway.

        Raises:
            UserError: they have failed too often.
        """
        spoilt, why = overwrite_spoilt(observations, rewards, failed)
        if spoilt.any():
            marks = [REPORTED_BEFORE if one else "" for one in spoilt]
            cast(Any, self.vector).set_attr("spoilt", marks)
            for _ in range(int(spoilt.sum())):
                self.failures.add(why, "the game is")
        return spoilt

    def restart(self, error: Exception) -> Outcome:
        """Restart all games after a step that failed, which does not count."""
        self.recover(error)
        observations = self.reset(fresh_key() % 2**31)
        none, every = (torch.full((self.count,), v, device=self.device) for v in (False, True))
        final = None if self.mode == AutoresetMode.NEXT_STEP else observations
        return Outcome(
            observations,
            torch.zeros_like(none, dtype=torch.float32),
            none,
            none,
            none,
            every,
            final,
        )

    def recover(self, error: Exception) -> None:
        """Report what failed and build the games again.

        Raises:
            UserError: they have failed too often.
        """
        if isinstance(error, UserError):
            raise error
        self.failures.add(reason(error), "its games are")
        close(self.vector)
        self.vector = self.make()

    def lives_lost(self, info: Mapping[str, Any], valid: Any) -> Tensor | None:
        """`[N]`: a step cost a life and the game goes on; None for games without lives."""
        return None

    def check_playable(self, observations: Any, rewards: Any = ()) -> None:
        check_playable(self.observation_space, self.count, observations, rewards)

    def refuse_without_action(self, observations: Any, ended: Any) -> None:
        """Refuse a mask that allows nothing, except after an episode's end, where it does not matter.

        Raises:
            UserError: names the game and the step.
        """
        if not (isinstance(observations, Mapping) and MASK in observations and self.choices):
            return
        mask = observations[MASK]
        if mask.shape[-1] != sum(self.choices):
            return
        empty = forbidden_everything(mask, self.choices) & ~ended
        if empty.any():
            raise UserError(
                f"environment '{self.environment}': after step {self.steps} the action mask of game "
                f"{int(empty.argmax())} allows no action"
            )

    def seen(self, observation: Any) -> Any:
        """What an agent gets of the vector's observation, numbers in single precision."""
        return single_of_all(self.read(observation))

    def to_tensors(self, observations: Any) -> Observation:
        if isinstance(observations, Mapping):
            return {name: self.tensor(part) for name, part in observations.items()}
        return self.tensor(observations)

    def tensor(self, values: Any) -> Tensor:
        # A copy: vectors reuse their arrays.
        return torch.from_numpy(numpy.array(values)).to(self.device)

    def render(self) -> Frame | None:
        if not self.rendered:
            return None
        try:
            frame = picture(self.vector.render())
        # Without a display, say: a trained agent must not be lost because it cannot be filmed.
        except Exception as error:
            self.rendered = False
            print(
                f"environment '{self.environment}' cannot be rendered here: {reason(error)}; there is no film",
                file=sys.stderr,
                flush=True,
            )
            return None
        return frame

    def state_dict(self) -> dict[str, Any] | None:
        """The games as they stand; None where the vector's class cannot be saved."""
        games = games_as_they_stand(self.vector)
        if games is None:
            return None
        return {"vector": games, "ended": torch.tensor(self.ended), "failures": self.failures.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        Raises:
            NotRepeatable: the environment does not come back as it was.
        """
        bring_back(self.vector, state["vector"])
        self.ended = state["ended"].cpu().numpy().copy()
        self.failures.count = state["failures"]

    def close(self) -> None:
        try:
            self.vector.close()
        # What was learned is worth more than how its games end.
        except Exception as error:
            print(
                f"environment '{self.environment}' failed as it was closed: {reason(error)}",
                file=sys.stderr,
                flush=True,
            )


def picture(frames: Any) -> Frame | None:
    """The first game's frame of those that a vector renders.

    Raises:
        ValueError: it is no picture.
    """
    if not frames:
        return None
    frame = numpy.asarray(frames[0])
    if frame.dtype != numpy.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(
            f"render gave {frame.dtype} of shape {list(frame.shape)}, expected bytes [height, width, 3]"
        )
    return frame


def single_of_all(observations: Any) -> Any:
    """Numbers in single precision; the bytes of images stay bytes."""
    if isinstance(observations, Mapping):
        return {name: single_of_all(part) for name, part in observations.items()}
    observations = numpy.asarray(observations)
    return observations if observations.dtype == numpy.uint8 else single(observations)


def single(values: Any) -> Any:
    """In single precision, infinite where a number is too large for it."""
    values = numpy.asarray(values)
    if values.dtype == numpy.float32:
        return values
    with numpy.errstate(over="ignore"):
        return values.astype(numpy.float32)


def close(vector: VectorEnv[Any, Any, Any]) -> None:
    """Close a vector that may be broken."""
    with contextlib.suppress(Exception):
        vector.close()
