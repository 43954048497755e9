"""Scenes as SVG files: what a group paints together is one compound path, so that its holes are holes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import torch
from torch import Tensor

from plugins.sketching.pydiffvg.rendering import Scene, drawn_lines, scene_of
from plugins.sketching.pydiffvg.shapes import Shape, ShapeGroup
from plugins.sketching.scene.writing import document, painted, path_data, rule_of
from plugins.sketching.svg.outlines import Array, outline

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
    lines, along = outlined_pens(scene) if scene.widths is not None else ([], [])
    for number, (group, given) in enumerate(zip(scene.groups, groups, strict=True)):
        if not group.contours:
            continue
        name = f" id={quoteattr(given.id)}" if given.id else ""
        fill = painted("fill", group.fill, f"fill_{number}", defs) + rule_of(group.rule)
        parts = [path_data(scene.chains, scene.points, contour) for contour in group.contours]
        whole = f'<path{name} d="{" ".join(parts)}"{fill}'
        if group.stroke is None:
            body.append(f"{whole}/>")
            continue
        if any(scene.pens[one].dim() for one in group.contours):
            # Pens that vary: the fill, and what the pens cover.
            ink = painted("fill", group.stroke, f"stroke_{number}", defs)
            covered = (outline(lines[one], along[one]) for one in group.contours)
            body += [f"{whole}/>", f'<path d="{" ".join(covered)}"{ink}/>']
            continue
        stroke = painted("stroke", group.stroke, f"stroke_{number}", defs)
        widths = [2 * max(float(scene.pens[one]), 0.0) for one in group.contours]
        pens = [f' stroke-width="{width:.5g}"' for width in widths]
        if len(set(pens)) == 1:
            body.append(f"{whole}{stroke}{pens[0]}/>")
        else:
            # Pens of their own: the fill, and a stroke for each.
            body.append(f"{whole}/>")
            body += [
                f'<path d="{part}" fill="none"{stroke}{pen}/>'
                for part, pen in zip(parts, pens, strict=True)
            ]
    paper = None if background is None else quoteattr(background, {'"': "&quot;"})[1:-1]
    return document(scene.canvas, body, defs, paper, ' filter="url(#gamma)"' if use_gamma else "")


def outlined_pens(scene: Scene) -> tuple[list[Array], list[Array]]:
    """Each contour as a polyline `[V, 2]`, and the whole width `[V]` of its pen along it."""
    lines, pens = drawn_lines(scene, torch.ones(2).to(scene.points))
    wide = [2 * pen.clamp(min=0).expand(len(line)) for line, pen in zip(lines, pens, strict=True)]
    return arrays(lines), arrays(wide)


def arrays(parts: Sequence[Tensor]) -> list[Array]:
    return [part.double().cpu().numpy() for part in parts]
