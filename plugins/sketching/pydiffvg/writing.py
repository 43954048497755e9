"""Scenes as SVG files: what a group paints together is one compound path, so that its holes are holes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import torch
from torch import Tensor

from plugins.sketching.pydiffvg.rendering import Scene, scene_of
from plugins.sketching.pydiffvg.shapes import Shape, ShapeGroup
from plugins.sketching.scene.paints import LinearPaint, Paint
from plugins.sketching.svg.writing import hexadecimal

GAMMA = """<filter id="gamma" x="0" y="0" width="100%" height="100%" color-interpolation-filters="sRGB">
<feComponentTransfer><feFuncR type="gamma" exponent="0.4545"/><feFuncG type="gamma" exponent="0.4545"/>\
<feFuncB type="gamma" exponent="0.4545"/></feComponentTransfer></filter>"""


def save_svg(
    filename: str,
    width: int,
    height: int,
    shapes: Sequence[Shape],
    shape_groups: Sequence[ShapeGroup],
    use_gamma: bool = False,
    background: str | None = None,
) -> None:
    """Write a scene.

    Args:
        use_gamma: a filter shows its colours, which are linear light, to the power 1 / 2.2.
        background: a CSS colour below everything; None: transparent.

    Raises:
        ProgramError: shapes that do not fit.
    """
    place = Path(filename)
    place.parent.mkdir(parents=True, exist_ok=True)
    text = svg_of(
        scene_of((width, height), shapes, shape_groups), shape_groups, use_gamma, background
    )
    place.write_text(text, encoding="utf-8")


@torch.no_grad()
def svg_of(
    scene: Scene, groups: Sequence[ShapeGroup], use_gamma: bool, background: str | None
) -> str:
    """A scene's text."""
    width, height = (f"{side:g}" for side in scene.canvas)
    defs, body = [GAMMA] if use_gamma else [], []
    if background is not None:
        body.append(f'<rect width="{width}" height="{height}" fill={quoteattr(background)}/>')
    for number, (group, given) in enumerate(zip(scene.groups, groups, strict=True)):
        if not group.contours:
            continue
        name = f" id={quoteattr(given.id)}" if given.id else ""
        rule = ' fill-rule="evenodd"' if group.rule == "evenodd" else ""
        fill = painted("fill", group.fill, f"fill_{number}", defs)
        stroke = painted("stroke", group.stroke, f"stroke_{number}", defs)
        parts = [path_data(scene, contour) for contour in group.contours]
        pens = [pen_width(pen) for pen in group.pens]
        if group.stroke is None:
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}{rule}/>')
        elif len(set(pens)) == 1:
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}{rule}{stroke}{pens[0]}/>')
        else:
            # Pens of their own: the fill, and a stroke for each.
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}{rule}/>')
            body += [
                f'<path d="{part}" fill="none"{stroke}{pen}/>'
                for part, pen in zip(parts, pens, strict=True)
            ]
    style = ' filter="url(#gamma)"' if use_gamma else ""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">',
            *(["<defs>", *defs, "</defs>"] if defs else []),
            f'<g stroke-linecap="round" stroke-linejoin="round"{style}>',
            *body,
            "</g>",
            "</svg>",
            "",
        ]
    )


def pen_width(half: Tensor) -> str:
    return f' stroke-width="{2 * max(float(half), 0.0):.5g}"'


def painted(which: str, paint: Paint | Tensor | None, name: str, defs: list[str]) -> str:
    """The attributes of a fill or stroke; a gradient is added to `defs`."""
    if paint is None:
        return f' {which}="none"'
    if isinstance(paint, Tensor):
        *colour, opacity = paint.tolist()
        opacity = min(max(opacity, 0.0), 1.0)
        return f' {which}="{hexadecimal(colour)}" {which}-opacity="{opacity:.4g}"'
    stops = "".join(
        stop(*row) for row in zip(paint.offsets.tolist(), paint.colours.tolist(), strict=True)
    )
    if isinstance(paint, LinearPaint):
        (x1, y1), (x2, y2) = paint.begin.tolist(), paint.end.tolist()
        place = f'x1="{x1:.6g}" y1="{y1:.6g}" x2="{x2:.6g}" y2="{y2:.6g}"'
        kind = "linearGradient"
    else:
        (cx, cy), (rx, ry) = paint.centre.tolist(), paint.radius.tolist()
        place = f'cx="0" cy="0" r="1" gradientTransform="translate({cx:.6g} {cy:.6g}) scale({rx:.6g} {ry:.6g})"'
        kind = "radialGradient"
    defs.append(f'<{kind} id="{name}" gradientUnits="userSpaceOnUse" {place}>{stops}</{kind}>')
    return f' {which}="url(#{name})"'


def stop(offset: float, colour: Any) -> str:
    *rgb, opacity = colour
    return (
        f'<stop offset="{min(max(offset, 0.0), 1.0):.5g}" stop-color="{hexadecimal(rgb)}" '
        f'stop-opacity="{min(max(opacity, 0.0), 1.0):.4g}"/>'
    )


def path_data(scene: Scene, contour: int) -> str:
    """A contour as path data, in the curves that it has."""
    chains, points = scene.chains, scene.points
    first, last = int(chains.first[contour]), int(chains.first[contour + 1])
    index = chains.index[first:last]
    text = "M{:.5g} {:.5g}".format(*points[index[0, 0]].tolist())
    for row, degree in zip(index.tolist(), chains.degree[first:last].tolist(), strict=True):
        place = points[row[1 : degree + 1]].flatten().tolist()
        text += "LQC"[degree - 1] + " ".join(f"{x:.5g}" for x in place)
    return text + ("Z" if index[-1, 3] == index[0, 0] else "")
