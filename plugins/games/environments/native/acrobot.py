"""Two links and a motor between them: gymnasium's Acrobot-v1 in torch (Sutton 1996), by Runge-Kutta's method.

Both links are 1 m long, weigh 1 kg, have their centre of mass in the middle and a moment of inertia of 1 kg m^2.
"""

from __future__ import annotations

import math

import numpy
import torch
from gymnasium.spaces import Box, Discrete
from PIL import Image, ImageDraw
from torch import Tensor

from plugins.games.environments.games import Frame
from plugins.games.environments.native.games import NativeGames, State
from plugins.games.environments.native.pendulum import wrapped

# In m/s^2, s, and rad/s of either link.
GRAVITY = 9.8
TIME_STEP = 0.2
FASTEST = (4 * math.pi, 9 * math.pi)


class Acrobot(NativeGames):
    """Swing two links until the tip is a link's length above the hinge: Acrobot-v1, -1 for each step, at most 500."""

    time_limit = 500
    frames_per_second = 15.0
    observation_space = Box(-FASTEST[1], FASTEST[1], (6,), numpy.float32)
    action_space = Discrete(3)

    def begin(self, count: int) -> State:
        angles = (torch.rand(count, 4, device=self.device) * 0.2 - 0.1).unbind(-1)
        return dict(zip(("first", "second", "first_spin", "second_spin"), angles, strict=True))

    def move(self, state: State, actions: Tensor) -> tuple[State, Tensor, Tensor]:
        torque = actions - 1.0
        # [4, N]
        links = torch.stack(list(state.values()))
        half = TIME_STEP / 2
        k1 = slope(links, torque)
        k2 = slope(links + half * k1, torque)
        k3 = slope(links + half * k2, torque)
        k4 = slope(links + TIME_STEP * k3, torque)
        first, second, spin, second_spin = (
            links + TIME_STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        ).unbind()
        moved = {
            "first": wrapped(first),
            "second": wrapped(second),
            "first_spin": spin.clamp(-FASTEST[0], FASTEST[0]),
            "second_spin": second_spin.clamp(-FASTEST[1], FASTEST[1]),
        }
        over = -moved["first"].cos() - (moved["first"] + moved["second"]).cos() > 1
        return moved, over.to(first.dtype) - 1, over

    def observe(self, state: State) -> Tensor:
        first, second = state["first"], state["second"]
        seen = [first.cos(), first.sin(), second.cos(), second.sin()]
        return torch.stack([*seen, state["first_spin"], state["second_spin"]], -1)

    def render(self) -> Frame:
        """The first game; the line is the height to reach."""
        first, second = float(self.state["first"][0]), float(self.state["second"][0])
        picture = Image.new("RGB", (220, 220), (250, 250, 250))
        pen = ImageDraw.Draw(picture)
        pen.line((0, 65, 220, 65), (120, 120, 120), 1)
        elbow = (110 + 45 * math.sin(first), 110 + 45 * math.cos(first))
        both = first + second
        tip = (elbow[0] + 45 * math.sin(both), elbow[1] + 45 * math.cos(both))
        pen.line((110, 110, *elbow), (0, 160, 160), 8)
        pen.line((*elbow, *tip), (0, 190, 120), 8)
        return numpy.asarray(picture)


def slope(links: Tensor, torque: Tensor) -> Tensor:
    """The links' velocities and accelerations `[4, N]` at angles and velocities `[4, N]`."""
    first, second, spin, second_spin = links.unbind()
    cosine, sine = second.cos(), second.sin()
    # Moment of inertia of both links about the hinge.
    inertia = 3.5 + cosine
    coupling = 1.25 + 0.5 * cosine
    # Gravity's pull on the outer link.
    outer = 0.5 * GRAVITY * (first + second).sin()
    whirl = 0.5 * sine * second_spin * (second_spin + 2 * spin)
    inner = 1.5 * GRAVITY * first.sin() + outer - whirl
    bend = (torque + coupling / inertia * inner - 0.5 * spin.square() * sine - outer) / (
        1.25 - coupling.square() / inertia
    )
    return torch.stack([spin, second_spin, -(coupling * bend + inner) / inertia, bend])
