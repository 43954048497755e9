"""A drawing on paper, for a pen plotter: SVG in millimetres, a layer for each pen, strokes joined and ordered.

Layers are groups as Inkscape marks them, which the plotters' own programs read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from framework.errors import UserError, suggestion
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.colours import clustered
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.plotter import ordered
from plugins.sketching.strokes.primitives import Primitive, flatten, pieces_needed
from plugins.sketching.svg.writing import hexadecimal

# Width and height in millimetres, upright.
PAGES = {"a3": (297.0, 420.0), "a4": (210.0, 297.0), "a5": (148.0, 210.0), "letter": (215.9, 279.4)}
INKSCAPE = "http://www.inkscape.org/namespaces/inkscape"
Line = NDArray[numpy.float64]


@dataclass(frozen=True)
class Plot:
    """A sheet.

    Attributes:
        svg: the file's text.
        drawn, travel: millimetres with the pen down and up.
        lifts: how often the pen goes up.
        pens: how many pens, each a layer.
        seconds: estimated.
    """

    svg: str
    drawn: float
    travel: float
    lifts: int
    pens: int
    seconds: float


def plotted(
    strokes: Strokes,
    primitive: Primitive,
    canvas: tuple[int, int],
    style: Style,
    *,
    page: str | tuple[float, float] = "a4",
    margin: float = 15.0,
    pen_width: float = 0.3,
    pens: int = 1,
    speed: float = 60.0,
    lift: float = 0.2,
) -> Plot:
    """A drawing on a page, as large as the margins allow, turned as the picture is.

    Args:
        strokes: in pixels of the canvas.
        canvas: (height, width) in pixels.
        page: a3, a4, a5 or letter, or (width, height) in millimetres.
        margin: on all sides, in millimetres.
        pen_width: in millimetres; strokes that end nearer than this to the next one's start are joined.
        pens: how many pens a coloured drawing's colours are matched to.
        speed: millimetres per second, of the pen up or down.
        lift: seconds for raising and lowering the pen once.

    Raises:
        UserError: a drawing of dots or fills, an unknown page, or sizes that leave no room.
    """
    if primitive.segments is None or style.filled:
        raise UserError("a plotter draws lines; this drawing has dots or filled shapes")
    wide, high = page_size(page, canvas[1] > canvas[0])
    for name, value in (("pen_width", pen_width), ("speed", speed), ("pens", pens)):
        if not value > 0:
            raise UserError(f"{name} = {value:g}: expected more than 0")
    if not lift >= 0:
        raise UserError(f"lift = {lift:g}: expected 0 seconds or more")
    scale = min((wide - 2 * margin) / canvas[1], (high - 2 * margin) / canvas[0])
    if not (margin >= 0 and scale > 0):
        raise UserError(
            f"margin = {margin:g}: expected 0 to {min(wide, high) / 2:g} mm, less than half the page"
        )
    shift = numpy.array([wide - scale * canvas[1], high - scale * canvas[0]]) / 2
    cubics = primitive.segments(strokes.control.detach().double().cpu() * scale)
    lines = flatten(cubics, pieces_needed(cubics, 0.05)).numpy() + shift
    palette, layer = clustered(strokes.colour.detach().double().cpu().numpy(), pens)
    text, drawn, travel, lifts, place = [], 0.0, 0.0, 0, numpy.zeros(2)
    for number, colour in enumerate(palette):
        chains = joined(lines[layer == number], pen_width)
        text.append(
            f'<g inkscape:groupmode="layer" inkscape:label="{number + 1} {hexadecimal(colour)}" '
            f'stroke="{hexadecimal(colour)}">'
        )
        for chain in chains:
            text.append(
                '<polyline points="' + " ".join(f"{x:.2f},{y:.2f}" for x, y in chain) + '"/>'
            )
            travel += float(numpy.hypot(*(chain[0] - place)))
            drawn += float(numpy.hypot(*numpy.diff(chain, axis=0).T).sum())
            place = chain[-1]
        text.append("</g>")
        lifts += len(chains)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:inkscape="{INKSCAPE}" width="{wide:g}mm" height="{high:g}mm" '
        f'viewBox="0 0 {wide:g} {high:g}" fill="none" stroke-width="{pen_width:g}" stroke-linecap="round" '
        'stroke-linejoin="round">'
    )
    svg = "\n".join([head, *text, "</svg>", ""])
    seconds = (drawn + travel) / speed + lifts * lift
    return Plot(svg, drawn, travel, lifts, len(palette), seconds)


def page_size(page: str | tuple[float, float], landscape: bool) -> tuple[float, float]:
    """A page's width and height in millimetres; named ones lie as the picture does.

    Raises:
        UserError: an unknown name, or no size.
    """
    if not isinstance(page, str):
        wide, high = page if len(page) == 2 else (0.0, 0.0)
        if not (0 < wide < 1e5 and 0 < high < 1e5):
            raise UserError(f"page = {page}: expected a width and a height in millimetres")
        return wide, high
    if page.lower() not in PAGES:
        raise UserError(f"page = '{page}'; {suggestion(page.lower(), tuple(PAGES))}")
    wide, high = PAGES[page.lower()]
    return (high, wide) if landscape else (wide, high)


def joined(lines: Line, near: float) -> list[Line]:
    """Lines `[S, V, 2]` in a short order, those that begin where the last one ends joined to it."""
    if not len(lines):
        return []
    route = ordered(lines[:, [0, -1]].copy())
    chains: list[list[Line]] = []
    for i, flipped in zip(route.order.tolist(), route.flipped.tolist(), strict=True):
        line = lines[i, ::-1] if flipped else lines[i]
        if chains and float(numpy.hypot(*(line[0] - chains[-1][-1][-1]))) < near:
            chains[-1].append(line)
        else:
            chains.append([line])
    return [numpy.concatenate(chain) for chain in chains]
