"""Scenes as SVG: each compound fill and stroke a path, in the curves that it has, gradients in the canvas's units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.sketching.raster.lines import FillRule
from plugins.sketching.scene.chains import Chains
from plugins.sketching.scene.paints import LinearPaint, Paint, RadialPaint
from plugins.sketching.svg.writing import hexadecimal


@dataclass(frozen=True)
class Inked:
    """A fill or, where `rule` is None, a stroke of the width `pen` along contours."""

    contours: Sequence[int]
    rule: FillRule | None
    pen: float
    paint: Tensor | Paint


def paths(inks: Sequence[Inked], chains: Chains, points: Tensor) -> tuple[list[str], list[str]]:
    """A path for each ink, and the gradients that they refer to."""
    body: list[str] = []
    defs: list[str] = []
    for number, ink in enumerate(inks):
        data = " ".join(path_data(chains, points, contour) for contour in ink.contours)
        if ink.rule is None:
            paint = painted("stroke", ink.paint, f"stroke_{number}", defs)
            body.append(f'<path d="{data}" fill="none"{paint} stroke-width="{ink.pen:.5g}"/>')
        else:
            paint = painted("fill", ink.paint, f"fill_{number}", defs)
            body.append(f'<path d="{data}"{paint}{rule_of(ink.rule)}/>')
    return body, defs


def document(
    size: tuple[float, float],
    body: Sequence[str],
    defs: Sequence[str],
    paper: str | None,
    style: str = "",
) -> str:
    """A whole file.

    Args:
        size: width and height.
        paper: the colour below everything, as an attribute's escaped value; None: transparent.
        style: attributes of the group that holds everything.
    """
    width, height = (f"{side:g}" for side in size)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">'
    )
    ground = [f'<rect width="{width}" height="{height}" fill="{paper}"/>'] if paper else []
    listed = ["<defs>", *defs, "</defs>"] if defs else []
    group = f'<g stroke-linecap="round" stroke-linejoin="round"{style}>'
    return "\n".join([head, *listed, *ground, group, *body, "</g>", "</svg>", ""])


def rule_of(rule: FillRule) -> str:
    return ' fill-rule="evenodd"' if rule == "evenodd" else ""


def painted(which: str, paint: Paint | Tensor | None, name: str, defs: list[str]) -> str:
    """The attributes of a fill or stroke; a gradient is added to `defs`."""
    if paint is None:
        return f' {which}="none"'
    if isinstance(paint, Tensor):
        *colour, opacity = paint.tolist()
        return f' {which}="{hexadecimal(colour)}" {which}-opacity="{share(opacity)}"'
    kind = "linearGradient" if isinstance(paint, LinearPaint) else "radialGradient"
    place = line_place(paint) if isinstance(paint, LinearPaint) else circle_place(paint)
    stops = "".join(
        f'<stop offset="{share(offset)}" stop-color="{hexadecimal(colour[:3])}" stop-opacity="{share(colour[3])}"/>'
        for offset, colour in zip(paint.offsets.tolist(), paint.colours.tolist(), strict=True)
    )
    beyond = "" if paint.spread == "pad" else f' spreadMethod="{paint.spread}"'
    defs.append(
        f'<{kind} id="{name}" gradientUnits="userSpaceOnUse" {place}{beyond}>{stops}</{kind}>'
    )
    return f' {which}="url(#{name})"'


def line_place(paint: LinearPaint) -> str:
    (x1, y1), (x2, y2) = paint.begin.tolist(), paint.end.tolist()
    return f'x1="{x1:.6g}" y1="{y1:.6g}" x2="{x2:.6g}" y2="{y2:.6g}"'


def circle_place(paint: RadialPaint) -> str:
    """A unit circle under the transform that makes it the paint's ellipse."""
    matrix = torch.cat([torch.diag(paint.radius), paint.centre[:, None]], 1).double()
    if paint.inverse is not None:
        forward = torch.linalg.inv(paint.inverse[:, :2].double())
        shift = paint.inverse[:, 2:].double()
        matrix = forward @ torch.cat([matrix[:, :2], matrix[:, 2:] - shift], 1)
    values = " ".join(f"{value:.6g}" for value in matrix.T.flatten().tolist())
    focus = ""
    if paint.focus is not None:
        fx, fy = ((paint.focus - paint.centre) / paint.radius).tolist()
        focus = f' fx="{fx:.6g}" fy="{fy:.6g}"'
    return f'cx="0" cy="0" r="1"{focus} gradientTransform="matrix({values})"'


def share(value: float) -> str:
    """A number cut to 0..1."""
    return f"{min(max(value, 0.0), 1.0):.4g}"


def path_data(chains: Chains, points: Tensor, contour: int) -> str:
    """A contour as path data, in the curves that it has."""
    first, last = int(chains.first[contour]), int(chains.first[contour + 1])
    index = chains.index[first:last]
    text = "M{:.6g} {:.6g}".format(*points[index[0, 0]].tolist())
    for row, degree in zip(index.tolist(), chains.degree[first:last].tolist(), strict=True):
        place = points[row[1 : degree + 1]].flatten().tolist()
        text += "LQC"[degree - 1] + " ".join(f"{x:.6g}" for x in place)
    return text + ("Z" if index[-1, 3] == index[0, 0] else "")
