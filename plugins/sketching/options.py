"""The kinds of a sketch's options, and which of them go together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from framework.config.types import Fraction
from framework.errors import UserError

Colour = Annotated[list[Fraction], Field(min_length=3, max_length=3)]
Learned = Literal["width", "opacity", "colour"]
# Points of one line: its tour takes time with their square.
MAX_TOUR = 20_000


def check_together(
    coloured: bool,
    pens: list[list[float]],
    palette: int,
    learned: list[Learned],
    continuous: bool,
    closed: bool,
    strokes: int,
) -> None:
    """Refuse options that would have no effect together.

    Raises:
        UserError: in one line.
    """
    if (pens or palette) and not coloured:
        name = "pens" if pens else "palette"
        raise UserError(f"task.{name} needs task.coloured=true")
    if palette and (pens or "colour" not in learned):
        raise UserError("task.palette needs learned colours (task.learned=[colour]), and no pens")
    if pens and "colour" in learned:
        raise UserError("task.pens are the strokes' colours: task.learned must not name colour")
    if continuous and (closed or pens):
        raise UserError("task.continuous is one open line of one pen: closed=false, pens=[]")
    if continuous and not 2 <= strokes <= MAX_TOUR:
        raise UserError(
            f"task.strokes = {strokes}: one line has 2 to {MAX_TOUR:,} points (task.continuous=true)"
        )


def check_overlap(cost: float, coloured: bool, filled: bool, start_svg: str | None) -> None:
    """Refuse a cost of overlapping ink where ink is not what a drawing consists of.

    Raises:
        UserError: in one line.
    """
    for given, name in ((coloured, "coloured"), (filled, "filled"), (bool(start_svg), "start_svg")):
        if cost and given:
            raise UserError(
                f"task.overlap_cost = {cost:g} is for lines or dots of one ink, without task.{name}"
            )


def triple(colour: list[float]) -> tuple[float, float, float]:
    return colour[0], colour[1], colour[2]
