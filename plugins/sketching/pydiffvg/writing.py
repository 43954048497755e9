"""Scenes as SVG files: what a group paints together is one compound path, so that its holes are holes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import torch

from plugins.sketching.pydiffvg.rendering import Scene, scene_of
from plugins.sketching.pydiffvg.shapes import Shape, ShapeGroup
from plugins.sketching.scene.writing import document, painted, path_data, rule_of

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
    defs, body = [GAMMA] if use_gamma else [], []
    for number, (group, given) in enumerate(zip(scene.groups, groups, strict=True)):
        if not group.contours:
            continue
        name = f" id={quoteattr(given.id)}" if given.id else ""
        fill = painted("fill", group.fill, f"fill_{number}", defs) + rule_of(group.rule)
        stroke = painted("stroke", group.stroke, f"stroke_{number}", defs)
        parts = [path_data(scene.chains, scene.points, contour) for contour in group.contours]
        pens = [f' stroke-width="{2 * max(float(pen), 0.0):.5g}"' for pen in group.pens]
        if group.stroke is None:
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}/>')
        elif len(set(pens)) == 1:
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}{stroke}{pens[0]}/>')
        else:
            # Pens of their own: the fill, and a stroke for each.
            body.append(f'<path{name} d="{" ".join(parts)}"{fill}/>')
            body += [
                f'<path d="{part}" fill="none"{stroke}{pen}/>'
                for part, pen in zip(parts, pens, strict=True)
            ]
    paper = None if background is None else quoteattr(background, {'"': "&quot;"})[1:-1]
    return document(scene.canvas, body, defs, paper, ' filter="url(#gamma)"' if use_gamma else "")
