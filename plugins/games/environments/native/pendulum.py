"""A pendulum swung up by a weak motor: gymnasium's Pendulum-v1 in torch, differentiable throughout."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy
import torch
from gymnasium.spaces import Box
from PIL import Image, ImageDraw
from torch import Tensor

from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import NativeGames, State

# In m/s^2, kg, m; N m, the strongest; rad/s; s.
GRAVITY, MASS, LENGTH = 10.0, 1.0, 1.0
TORQUE = 2.0
FASTEST = 8.0
TIME_STEP = 0.05


class Pendulum(NativeGames):
    """Swing a pendulum up and hold it there: Pendulum-v1, 200 steps, minus the squared angle, speed and torque."""

    time_limit = 200
    frames_per_second = 20.0
    differentiable: ClassVar[bool] = True
    observation_space = Box(-FASTEST, FASTEST, (3,), numpy.float32)
    action_space = Box(-TORQUE, TORQUE, (1,), numpy.float32)

    def begin(self, count: int) -> State:
        return {"angle": self.uniform(count, -math.pi, math.pi), "spin": self.uniform(count, -1, 1)}

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        angle, spin = state["angle"], state["spin"]
        torque = actions.squeeze(-1).clamp(-TORQUE, TORQUE)
        cost = wrapped(angle).square() + 0.1 * spin.square() + 0.001 * torque.square()
        turning = 1.5 * GRAVITY / LENGTH * angle.sin() + 3 / (MASS * LENGTH**2) * torque
        spin = (spin + TIME_STEP * turning).clamp(-FASTEST, FASTEST)
        moved = {"angle": angle + TIME_STEP * spin, "spin": spin}
        return moved, -cost, torch.zeros_like(angle, dtype=torch.bool)

    def observe(self, state: State) -> Tensor:
        angle = state["angle"]
        return torch.stack([angle.cos(), angle.sin(), state["spin"]], -1)

    def render(self) -> Frame:
        """The first game; angle 0 is up."""
        angle = float(self.state["angle"][0])
        picture = Image.new("RGB", (200, 200), (250, 250, 250))
        pen = ImageDraw.Draw(picture)
        tip = (100 - 80 * math.sin(angle), 100 - 80 * math.cos(angle))
        pen.line((100, 100, *tip), (200, 90, 80), 10)
        pen.ellipse((94, 94, 106, 106), (60, 60, 70))
        return numpy.asarray(picture)


def wrapped(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi)."""
    return (angle + math.pi).remainder(2 * math.pi) - math.pi
