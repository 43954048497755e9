"""A film of the agent: the frames of one greedy episode."""

from __future__ import annotations

import sys

import torch

from framework.errors import UserError
from framework.media import PackedFrames
from framework.randomness import seeded
from plugins.games.environments.games import Games
from plugins.games.environments.making import make_games
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.policies.agent import Agent
from plugins.games.rollouts import play


def film(
    environment: EnvironmentOptions, agent: Agent, seed: int, device: torch.device, max_steps: int
) -> tuple[PackedFrames, float]:
    """Frames `[H, W, 3]` of one greedy episode and their rate per second; no frames where none can be rendered.

    Above 25 frames per second only every second one is kept.

    Args:
        max_steps: the episode is filmed no longer than this.

    Raises:
        UserError: a window was asked for and there is none.
    """
    try:
        window = environment.window
        games = make_games(environment, 1, device, rendered=not window, window=window)
    except UserError as error:
        # A trained agent must not be lost because it cannot be filmed.
        if environment.window:
            raise
        print(f"{error}; there is no film", file=sys.stderr, flush=True)
        return PackedFrames(), 1.0
    stride = 2 if games.frames_per_second > 25 else 1
    with seeded(seed):
        frames = greedy_frames(games, agent, seed % 2**31, device, max_steps, stride)
    rate = games.frames_per_second / stride
    games.close()
    return frames, rate


def greedy_frames(
    games: Games, agent: Agent, seed: int, device: torch.device, max_steps: int, stride: int
) -> PackedFrames:
    """Every `stride`-th frame of one episode, without its last observation: it may be the next episode's first."""
    frames = PackedFrames()
    for number, step in enumerate(play(games, agent, agent.greedy_actions, seed, device)):
        ended = bool(step.terminated.any() | step.truncated.any())
        frame = games.render() if number % stride == 0 and not ended else None
        if frame is not None and frames and frame.shape != frames.shape:
            shapes = f"{list(frames.shape)} to {list(frame.shape)}"
            print(
                f"the film ends where its frames change from {shapes}", file=sys.stderr, flush=True
            )
            break
        if frame is not None:
            frames.append(frame)
        if ended or number + 1 >= max_steps:
            break
    return frames
