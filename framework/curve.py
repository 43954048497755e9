"""A value over the steps of a training, kept for a picture: its size hardly depends on how long the training is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field

from framework.errors import UserError
from framework.saved_state import check_saved

Value = TypeVar("Value")
# All of this many first values are kept, and half as many of each doubling of their number.
FIRST = 512
Count = Annotated[int, Field(ge=0, lt=2**60)]


class Curve(Generic[Value]):
    """The values of a training's steps, or of anything else that is counted: all at first, then ever fewer.

    Of the values from 512 to 1023 every second is kept, up to 2047 every fourth, and so on: a million leave 3328. With
    all of them memory, checkpoints and the time of a picture would grow by the step.

    Attributes:
        steps: the numbers of the values that were kept.
        values: these values, each a number or, where there is a width, that many numbers.
        count: how many values there were.
    """

    def __init__(self, width: int = 0) -> None:
        self.width = width
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
        return {"values": list(self.values), "count": self.count}

    def load_state_dict(self, state: Any) -> None:
        """Put a saved state back; earlier versions saved a list of all values.

        Raises:
            UserError: it is no such state, or that of another curve.
        """
        earlier = isinstance(state, list)
        given = {"values": state, "count": len(state)} if earlier else state
        check_saved("the curve", given, values=self.kind, count=Count)
        if earlier:
            self.steps, self.values, self.count = [], [], 0
            for value in state:
                self.add(value)
            return
        steps, values = list(kept(given["count"])), list(given["values"])
        if len(values) != len(steps):
            raise UserError(
                f"checkpoint: the curve has {len(values)} values of {given['count']} steps, expected {len(steps)}"
            )
        self.steps, self.values, self.count = steps, values, given["count"]

    @property
    def kind(self) -> Any:
        """The type of the values."""
        if not self.width:
            return list[float]
        several = Field(min_length=self.width, max_length=self.width)
        return list[Annotated[list[float] | tuple[float, ...], several]]


def spacing(step: int) -> int:
    """Of what the numbers that are kept are multiples at a step: 1 below 512, 2 below 1024, 4 below 2048."""
    return 1 << max(0, step.bit_length() - FIRST.bit_length() + 1)


def kept(count: int) -> Iterator[int]:
    """The steps below `count` whose values are kept."""
    step = 0
    while step < count:
        yield step
        step += spacing(step)
