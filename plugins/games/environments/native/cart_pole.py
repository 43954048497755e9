"""A pole on a cart: gymnasium's CartPole-v1 in torch, and a smooth one that can be differentiated through.

Barto, Sutton & Anderson 1983, without friction: a force on the cart of 1 kg swings a pole of 0.1 kg and half length
0.5 m; Euler's method in steps of 20 ms.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from PIL import Image, ImageDraw
from torch import Tensor

from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import NativeGames, State

# In m/s^2, kg, kg, m.
GRAVITY, CART, POLE, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5
MASS = CART + POLE
# In m, N, s.
LEVER = -HALF_LENGTH * POLE / MASS
FORCE = 10.0
TIME_STEP = 0.02
# In m from the middle, and rad from the vertical.
FARTHEST = 2.4
# The state begins this far from 0 at most.
START = 0.05
STEEPEST = math.radians(12)


class CartPole(NativeGames):
    """Push a cart left or right so that its pole stays up: CartPole-v1, 1 for each step of at most 500."""

    time_limit = 500
    frames_per_second = 50.0
    observation_space = Box(-numpy.inf, numpy.inf, (4,), numpy.float32)
    action_space: Space[Any] = Discrete(2)

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(count, device)
        self.limits = torch.tensor([[FARTHEST], [STEEPEST]], device=self.device)
        self.to_the_left = torch.tensor(-FORCE / MASS, device=self.device)
        self.fall = torch.tensor(GRAVITY / LEVER, device=self.device)
        self.inertia = torch.tensor(-4 / 3 * MASS / POLE, device=self.device)

    def begin(self, count: int) -> State:
        """The state is the observation, `[N, 4]`: place and speed of the cart, angle and spin of the pole."""
        return {"seen": torch.empty(4, count, device=self.device).uniform_(-START, START).T}

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        force = torch.add(self.to_the_left, actions, alpha=2 * FORCE / MASS)
        moved = self.swing(state["seen"], force)
        # Position and angle.
        too_far, too_steep = (moved.T[::2].abs() > self.limits).unbind()
        return {"seen": moved}, torch.ones_like(moved[:, 0]), too_far | too_steep

    def swing(self, seen: Tensor, force: Tensor) -> Tensor:
        """The carts and poles `[N, 4]` one time step later, under a force `[N]` for each kilogram of both, m/s^2.

        The columns lie one after the other in memory, terms are joined, and constants are tensors already: with
        thousands of games each pass over the numbers counts, as does each Python number that becomes a tensor.
        """
        rows = seen.T
        _, speed, angle, spin = rows.unbind()
        cosine, sine = angle.cos(), angle.sin()
        push = torch.addcmul(force, spin * spin, sine, value=-LEVER)
        pull = torch.addcmul(self.fall * sine, cosine, push, value=-1 / LEVER)
        turning = pull / torch.addcmul(self.inertia, cosine, cosine)
        pushing = torch.addcmul(push, turning, cosine, value=LEVER)
        return torch.add(rows, torch.stack([speed, pushing, spin, turning]), alpha=TIME_STEP).T

    def observe(self, state: State) -> Tensor:
        return state["seen"]

    def render(self) -> Frame:
        """The first game, 2.4 m to each side."""
        x, _, angle, _ = self.state["seen"][0].tolist()
        picture = Image.new("RGB", (360, 180), (250, 250, 250))
        pen = ImageDraw.Draw(picture)
        centre, ground = 180 + 70 * x, 140
        pen.line((0, ground, 360, ground), (120, 120, 120), 2)
        pen.rectangle((centre - 22, ground - 14, centre + 22, ground + 4), (60, 60, 70))
        tip = (centre + 110 * math.sin(angle), ground - 8 - 110 * math.cos(angle))
        pen.line((centre, ground - 8, *tip), (200, 140, 80), 8)
        return numpy.asarray(picture)


class SmoothCartPole(CartPole):
    """Balance a pole by a force of any size; the reward is smooth and no episode ends early: differentiable."""

    time_limit = 100
    differentiable: ClassVar[bool] = True
    action_space = Box(-1.0, 1.0, (1,), numpy.float32)

    def __init__(self, count: int, device: torch.device | str = "cpu") -> None:
        super().__init__(count, device)
        self.leaning = torch.tensor([1.0, 1.0, 4.0, 1.0], device=self.device)

    def begin(self, count: int) -> State:
        """As in CartPole, but the pole leans by up to 0.2 rad."""
        return {"seen": super().begin(count)["seen"] * self.leaning}

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        moved = self.swing(state["seen"], FORCE / MASS * actions.squeeze(-1))
        x, _, angle, _ = moved.unbind(-1)
        rewards = torch.cos(angle) - 0.1 * x.square() - 0.01 * actions.squeeze(-1).square()
        return {"seen": moved}, rewards, torch.zeros_like(x, dtype=torch.bool)
