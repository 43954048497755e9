"""The throwing angle: range v^2/g sin 2a, with a shaky hand; optionally gusts of wind, a foul line and air drag."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributions import Normal

from framework import Context, Image, Task
from framework.config.types import NonNegative
from framework.curve import Curve
from framework.task import Split

# In m/s and m/s^2: without drag the farthest throw is 28^2 / 9.8 = 80 m, at 45 degrees.
SPEED = 28.0
GRAVITY = 9.8
# In s, of the flight with drag.
TIME_STEP = 0.02

Degrees = Annotated[float, Field(gt=0, lt=90)]


class Thrower(nn.Module):
    """One parameter: the release angle in radians."""

    def __init__(self, degrees: float) -> None:
        super().__init__()
        self.angle = nn.Parameter(torch.tensor(math.radians(degrees)))


class Javelin(Task):
    """Find the release angle that throws a javelin farthest."""

    model: Thrower
    progress_numbers: ClassVar[Mapping[str, str]] = {
        "train": "train/objective",
        "norm": "gradient/norm",
        "angle": "evaluation/angle_degrees",
    }
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "angle_degrees": "the release angle",
        "range_metres": "the range at that angle, without spread and wind",
        "objective": "minus the mean range of 1,000 throws, in metres",
        "objective_standard_error": "its standard error over the throws",
    }

    def __init__(
        self,
        *,
        start_degrees: Degrees = 20.0,
        release_spread_degrees: NonNegative = 5.0,
        wind_spread: NonNegative = 0.0,
        foul_below_degrees: Degrees | None = None,
        drag: NonNegative = 0.0,
    ) -> None:
        self.model = Thrower(start_degrees)
        self.release_spread = math.radians(release_spread_degrees)
        self.wind_spread = wind_spread
        self.foul_below = None if foul_below_degrees is None else math.radians(foul_below_degrees)
        self.drag = drag
        # The angle before each step, in degrees.
        self.path = Curve[float]()

    def objective(self, context: Context, batch: Any) -> None:
        """Minus the expected range in metres."""
        angle: Tensor = self.model.angle
        if self.release_spread > 0:
            angle = context.sample("release", Normal(angle, self.release_spread))
        wind = torch.zeros(())
        if self.wind_spread > 0:
            wind = context.sample("wind", Normal(torch.zeros(()), self.wind_spread))
        metres = self.fly(angle, wind)
        if self.foul_below is not None:
            # After a flat throw the thrower stumbles over the line, and the throw counts for nothing.
            metres = torch.where(angle < self.foul_below, 0.0, metres)
        context.cost(-metres)

    def fly(self, angle: Tensor, wind: Tensor) -> Tensor:
        """The range in metres of throws at `angle` (radians) with a tail wind (m/s); shapes broadcast."""
        across, up = SPEED * angle.cos(), SPEED * angle.sin()
        if self.drag == 0:
            return (across + wind) * (2 * up / GRAVITY)
        return self.fly_with_drag(across, up, wind)

    def fly_with_drag(self, across: Tensor, up: Tensor, wind: Tensor) -> Tensor:
        """The range with quadratic drag: a loop over time that ends when the last javelin has landed."""
        across, up, wind = torch.broadcast_tensors(across, up, wind)
        x = y = landed_at = torch.zeros_like(across)
        flying = torch.ones_like(across, dtype=torch.bool)
        while flying.any():
            braking = self.drag * torch.hypot(across - wind, up)
            across = across - TIME_STEP * braking * (across - wind)
            up = up - TIME_STEP * (braking * up + GRAVITY)
            next_x, next_y = x + TIME_STEP * across, y + TIME_STEP * up
            # Of an angle that is not finite, neither is the height: it lands at once, and its range says so.
            landing = flying & ~(next_y > 0)
            # 1 keeps the derivative of the branch that is not taken finite.
            drop = torch.where(landing, y - next_y, 1.0)
            landed_at = torch.where(landing, x + (next_x - x) * y / drop, landed_at)
            flying = flying & ~landing
            x, y = next_x, next_y
        return landed_at

    def before_step(self, step: int) -> None:
        """Record the angle, for the picture."""
        self.path.add(math.degrees(self.model.angle.item()))

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """The angle, its range with a steady hand, and the objective over 1,000 throws."""
        steady = self.fly(self.model.angle, torch.zeros(()))
        return {
            "angle_degrees": math.degrees(self.model.angle.item()),
            "range_metres": steady.item(),
            **super().evaluate(seed, split),
        }

    def show(self, seed: int) -> Iterator[Image]:
        """Throws at angles along the training, and the gradient's path over the hill of ranges."""
        # Matplotlib is imported where there is something to draw: it would hold up the first step.
        from plugins.javelin.plot import throws_and_path

        degrees = torch.linspace(1, 89, 177)
        metres = self.fly(torch.deg2rad(degrees), torch.zeros(()))
        now = math.degrees(self.model.angle.item())
        # A training that went back to a checkpoint may have been at an angle that nobody can draw.
        drawn = [
            (step, angle)
            for step, angle in zip(
                (*self.path.steps, self.path.count), (*self.path.values, now), strict=True
            )
            if math.isfinite(angle)
        ]
        steps, path = [step for step, _ in drawn], [angle for _, angle in drawn]
        reached = self.fly(torch.deg2rad(torch.tensor(path)), torch.zeros(()))
        figure = throws_and_path(steps, path, reached.tolist(), degrees.numpy(), metres.numpy())
        yield Image.from_figure("throws", figure)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same picture."""
        return {"path": self.path.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.path.load_state_dict(state["path"])
