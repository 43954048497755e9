"""A car too weak for its hill: gymnasium's MountainCar-v0 in torch (Moore 1990)."""

from __future__ import annotations

import math

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from PIL import Image, ImageDraw
from torch import Tensor

from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import NativeGames, State

LEFT, RIGHT, GOAL = -1.2, 0.6, 0.5
FASTEST = 0.07
FORCE, GRAVITY = 0.001, 0.0025


class MountainCar(NativeGames):
    """Rock a weak car up a hill: MountainCar-v0, -1 for each of at most 200 steps."""

    time_limit = 200
    frames_per_second = 30.0
    observation_space = Box(LEFT, RIGHT, (2,), numpy.float32)
    action_space = Discrete(3)

    def begin(self, count: int) -> State:
        x = self.uniform(count, -0.6, -0.4)
        return {"x": x, "speed": torch.zeros_like(x)}

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        x, speed = state["x"], state["speed"]
        speed = speed + (actions - 1) * FORCE - GRAVITY * (3 * x).cos()
        speed = speed.clamp(-FASTEST, FASTEST)
        x = (x + speed).clamp(LEFT, RIGHT)
        # The wall on the left stops it.
        speed = torch.where((x <= LEFT) & (speed < 0), 0.0, speed)
        return {"x": x, "speed": speed}, -torch.ones_like(x), (x >= GOAL) & (speed >= 0)

    def observe(self, state: State) -> Tensor:
        return torch.stack([state["x"], state["speed"]], -1)

    def render(self) -> Frame:
        """The first game on its hill."""
        picture = Image.new("RGB", (300, 160), (250, 250, 250))
        pen = ImageDraw.Draw(picture)
        places = [LEFT + (RIGHT - LEFT) * i / 60 for i in range(61)]
        pen.line([at(x) for x in places], (120, 120, 120), 2)
        pen.line((*at(GOAL), at(GOAL)[0], at(GOAL)[1] - 25), (60, 160, 60), 3)
        across, down = at(float(self.state["x"][0]))
        pen.ellipse((across - 7, down - 14, across + 7, down), (60, 60, 70))
        return numpy.asarray(picture)


def at(x: float) -> tuple[float, float]:
    """A place on the hill in the picture."""
    return 300 * (x - LEFT) / (RIGHT - LEFT), 85 - 55 * math.sin(3 * x)
