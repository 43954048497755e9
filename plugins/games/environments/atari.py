"""Atari 2600 games by ale-py's own vector: emulators in C++ threads, images preprocessed as for deep Q-learning.

Observations are as published (Mnih et al. 2015): each action for 4 frames, the maximum of the last two, grey, 84 x 84,
the 4 latest as channels; up to 30 idle frames and the fire button at the beginning. Every action is executed as chosen:
the protocol of gym's NoFrameskip-v4, from which PPO's published scores are. `repeat_action_probability` makes actions
sticky, with 0.25 in Machado et al. 2018 and in gymnasium's own ALE/...-v5. Rewards are the game's own and an episode is
a whole game, of at most 27,000 actions, so that the full score is reported; the task clips rewards and treats lost
lives as ends for learning only. Needs the extra [atari].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from framework.errors import UserError
from framework.extras import import_extra
from plugins.games.environments.arguments import checked_arguments
from plugins.games.environments.foreign.games import ForeignGames, close
from plugins.games.environments.games import Frame, Observation, Outcome
from plugins.games.environments.naming import ATARI, nearest
from plugins.games.environments.options import EnvironmentOptions

SUFFIX = "-v5"
# Frames of one action, and actions of a whole game.
FRAMES, LONGEST = 4, 27_000
# Arguments of the emulators that are options of the task or fixed.
RESERVED = (
    "game",
    "num_envs",
    "max_num_frames_per_episode",
    "repeat_action_probability",
    "reward_clipping",
    "frameskip",
    "autoreset_mode",
    "batch_size",
    "episodic_life",
)


class AtariGames(ForeignGames):
    """Games called such as `ALE/Pong-v5`.

    Args:
        rendered: a second emulator in colour plays along: the same seed and actions give the same game.
    """

    has_lives = True

    def __init__(
        self,
        options: EnvironmentOptions,
        count: int,
        device: torch.device | str = "cpu",
        *,
        rendered: bool = False,
    ) -> None:
        rom = rom_of(options.name)
        steps = options.max_episode_steps or LONGEST
        emulation = {
            "repeat_action_probability": options.repeat_action_probability,
            "max_num_frames_per_episode": FRAMES * steps,
            **emulator_arguments(options.arguments),
        }
        super().__init__(
            options.name,
            partial(vector_of, rom, count, **emulation),
            count,
            device,
            rendered=rendered,
            time_limit=steps,
        )
        self.lives = numpy.zeros(count, dtype=int)
        self.frames_per_second = 15.0
        self.coloured: VectorEnv[Any, Any, Any] | None = None
        self.picture: Any = None
        if rendered:
            size = {"img_height": 210, "img_width": 160, "grayscale": False, "stack_num": 1}
            self.coloured = vector_of(rom, count, **{**emulation, **size})

    def reset(self, seed: int) -> Observation:
        if self.coloured is not None:
            self.picture, _ = self.coloured.reset(seed=seed)
        return super().reset(seed)

    def step(self, actions: Tensor) -> Outcome:
        if self.coloured is not None:
            self.picture = self.coloured.step(actions.cpu().numpy())[0]
        return super().step(actions)

    def lives_lost(self, info: Mapping[str, Any], valid: Any) -> Tensor:
        before, self.lives = self.lives, numpy.array(info["lives"])
        return self.tensor((self.lives < before) & valid & ~self.ended)

    def render(self) -> Frame | None:
        return None if self.coloured is None else numpy.array(self.picture[0, -1])

    def close(self) -> None:
        super().close()
        if self.coloured is not None:
            close(self.coloured)


def rom_of(environment: str) -> str:
    """`ALE/MsPacman-v5` -> `ms_pacman`.

    Raises:
        UserError: ale-py is missing, or has no such game.
    """
    roms = import_extra("ale_py.roms", "atari", f"environment '{environment}' needs ale-py")
    known: dict[str, str] = {name_of(rom): rom for rom in roms.get_all_rom_ids()}
    if environment not in known:
        raise UserError(
            f"task.environment = '{environment}': unknown; {nearest(environment, known)}"
        )
    return known[environment]


def emulator_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of ale-py's vector that a user may give.

    Raises:
        UserError: another one.
    """
    from ale_py.vector_env import AtariVectorEnv

    return checked_arguments(AtariVectorEnv, given, "task.environment_options", reserved=RESERVED)


def name_of(rom: str) -> str:
    """`ms_pacman` -> `ALE/MsPacman-v5`."""
    return ATARI + re.sub(r"(?:^|_)(\w)", lambda first: first[1].upper(), rom) + SUFFIX


def vector_of(rom: str, count: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """`count` emulators of one game."""
    import ale_py
    from ale_py.vector_env import AtariVectorEnv

    # Without its banner.
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    return AtariVectorEnv(rom, count, reward_clipping=False, frameskip=FRAMES, **options)
