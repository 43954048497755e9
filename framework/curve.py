"""A value over the steps of a training, kept for a picture: its size hardly depends on how long the training is."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

Value = TypeVar("Value")

# All of so many first values are kept, and half as many of each doubling of their number.
FIRST = 512


class Curve(Generic[Value]):
    """The values of a training's steps, or of anything else that is counted from 0: all at first, then ever fewer.

    Of the values from 512 to 1023 every second is kept, up to 2047 every fourth, and so on: a million leave 3328. With
    all of them memory, checkpoints and the time of a picture would grow by the step.

    Attributes:
        steps: the numbers of the values that were kept.
        values: these values: plain data, for a checkpoint holds them.
        count: how many values there were.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[Value] = []
        self.count = 0

    def add(self, value: Value) -> None:
        """The value of the step that comes next."""
        if self.count % spacing(self.count) == 0:
            self.steps.append(self.count)
            self.values.append(value)
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": list(self.steps), "values": list(self.values), "count": self.count}

    def load_state_dict(self, state: Any) -> None:
        """Put a saved state back; earlier versions saved a list of all values."""
        if isinstance(state, list):
            self.steps, self.values, self.count = [], [], 0
            for value in state:
                self.add(value)
            return
        self.steps, self.values = list(state["steps"]), list(state["values"])
        self.count = state["count"]


def spacing(step: int) -> int:
    """From which number on, at a step, each is a multiple that is kept: 1 below 512, 2 below 1024, 4 below 2048."""
    return 1 << max(0, step.bit_length() - FIRST.bit_length() + 1)
