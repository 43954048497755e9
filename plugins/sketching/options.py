"""The kinds of a sketch's options, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from framework.config.types import Fraction
from framework.errors import UserError
from plugins.sketching.strokes.primitives import Primitive

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


def check_start(start: str, chosen: Mapping[str, Any]) -> None:
    """Refuse options about strokes where an SVG says what they are; `start` names it, "" is none.

    Raises:
        UserError: in one line.
    """
    for name, value in chosen.items():
        if start and value:
            raise UserError(f"task.{name} = {value} has no effect on the shapes of {start}")


def check_primitive(
    kind: Primitive, closed: bool, filled: bool, taper: float, bend_cost: float
) -> None:
    """Refuse options that a kind of stroke has no use for.

    Raises:
        UserError: in one line.
    """
    name = f"task.primitive={kind.name}"
    if closed and not kind.closed:
        raise UserError(f"task.closed=true is for polylines and Catmull-Rom curves, not {name}")
    if filled and kind.controls < 3:
        raise UserError(f"task.filled=true needs strokes of three points or more, not {name}")
    if taper and (filled or kind.closed or kind.segments is None):
        raise UserError(
            f"task.taper = {taper:g} is for open strokes: lines or curves, not closed, filled or dots"
        )
    if bend_cost and kind.controls < 3:
        raise UserError(f"task.bend_cost = {bend_cost:g} needs strokes of three points, not {name}")


def check_widths(width: float, min_width: float, max_width: float, start_svg: str | None) -> None:
    """Refuse a width that would be changed at once.

    Raises:
        UserError: in one line.
    """
    if min_width > max_width:
        raise UserError(
            f"task.min_width = {min_width:g} is more than task.max_width = {max_width:g}"
        )
    if not start_svg and not min_width <= width <= max_width:
        raise UserError(
            f"task.width = {width:g}: expected task.min_width to task.max_width, {min_width:g} to {max_width:g}"
        )


def triple(colour: list[float]) -> tuple[float, float, float]:
    return colour[0], colour[1], colour[2]
