"""Writing a drawing as SVG.

One unit is one pixel of the canvas. A stroke of profile exp(-d^2 / s^2) is written 1.772 s wide, which leaves the same
ink; curves are written as the cubics they are, tapered ones as their outlines. Transparent inks become mix-blend-mode:
multiply.
"""

from __future__ import annotations

from torch import Tensor

from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Strokes
from plugins.sketching.strokes.plotter import Route
from plugins.sketching.strokes.primitives import Primitive
from plugins.sketching.strokes.tapering import lines_of
from plugins.sketching.svg.outlines import outline

# Pixels between a tapered curve and its outline.
SEEN = 0.05


def write(
    strokes: Strokes,
    primitive: Primitive,
    canvas: tuple[int, int],
    style: Style,
    route: Route | None = None,
) -> str:
    """A drawing as SVG.

    Args:
        strokes: in pixels of the canvas.
        canvas: (height, width) in pixels.
        route: the order of drawing; only for compositions that do not depend on it.
    """
    height, width = canvas
    blend = (
        ' style="mix-blend-mode:multiply"' if style.coloured and style.composition != "over" else ""
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<rect width="{width}" height="{height}" fill="{hexadecimal(style.paper)}"/>',
        '<g fill="none" stroke-linecap="round" stroke-linejoin="round">',
    ]
    cubics = None if primitive.segments is None else primitive.segments(strokes.control)
    order = range(len(strokes.width)) if route is None else route.order.tolist()
    for place, i in enumerate(order):
        colour = hexadecimal(strokes.colour[i].tolist())
        opacity = f"{float(strokes.opacity[i]):.3g}"
        pen = f"{float(strokes.width[i]) * PEN_WIDTH:.3g}"
        if cubics is None:
            x, y = strokes.control[i, 0].tolist()
            radius = float(strokes.width[i]) * PEN_WIDTH / 2
            lines.append(
                f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{radius:.3g}" fill="{colour}" fill-opacity="{opacity}"{blend}/>'
            )
            continue
        if style.taper:
            edge = tapered(strokes, primitive, style.taper, int(i))
            lines.append(f'<path d="{edge}" fill="{colour}" fill-opacity="{opacity}"{blend}/>')
            continue
        chain = cubics[i]
        if route is not None and route.flipped[place]:
            chain = chain.flip(0, 1)
        path = path_of(chain, closed=primitive.closed)
        if style.filled:
            lines.append(f'<path d="{path}" fill="{colour}" fill-opacity="{opacity}"{blend}/>')
        else:
            lines.append(
                f'<path d="{path}" stroke="{colour}" stroke-opacity="{opacity}" stroke-width="{pen}"{blend}/>'
            )
    return "\n".join([*lines, "</g>", "</svg>", ""])


def tapered(strokes: Strokes, primitive: Primitive, taper: float, number: int) -> str:
    """The outline of one stroke as path data, in as many pieces as its own bends need."""
    control = strokes.control[number : number + 1].detach()
    lines, along = lines_of(primitive, control, taper, SEEN)
    assert along is not None
    pens = along.double().numpy() * float(strokes.width[number]) * PEN_WIDTH
    return outline(lines[0].double().numpy(), pens)


def path_of(chain: Tensor, *, closed: bool) -> str:
    """A chain of cubics `[m, 4, 2]` as path data; straight ones as lines."""
    points = chain.tolist()
    text = "M{:.2f} {:.2f}".format(*points[0][0])
    thirds = chain.new_tensor([0.0, 1 / 3, 2 / 3, 1.0])[:, None]
    straight = chain[:, :1] + thirds * (chain[:, 3:] - chain[:, :1])
    lines = ((chain - straight).abs().amax((1, 2)) < 0.005).tolist()
    for (_, p1, p2, p3), line in zip(points, lines, strict=True):
        if line:
            text += "L{:.2f} {:.2f}".format(*p3)
        else:
            text += "C{:.2f} {:.2f} {:.2f} {:.2f} {:.2f} {:.2f}".format(*p1, *p2, *p3)
    return text + "Z" if closed else text


def hexadecimal(colour: object) -> str:
    """Three numbers in 0..1 as #rrggbb."""
    return "#" + "".join(f"{round(255 * min(max(c, 0), 1)):02x}" for c in colour)  # type: ignore[attr-defined]
