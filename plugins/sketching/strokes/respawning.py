"""Strokes that contribute nothing start again where most ink is missing."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.sketching.images.photo import at, blurred, scattered
from plugins.sketching.images.subject import Subject
from plugins.sketching.strokes.drawing import Drawing
from plugins.sketching.strokes.starting import Start

# The share of strokes, by the paper under them that should be lighter, that may move at a time.
WORST = 0.03
# How much too dark the drawing is under a stroke that moves.
TOO_DARK = 0.05
# Pixels, of the blur under which ink is missing.
BLUR = 2.0


@torch.no_grad()
def respawned(
    model: Drawing,
    target: Tensor,
    start: Start,
    subject: Subject,
    prune_below: float,
    draw: torch.Generator,
) -> Tensor:
    """Let useless strokes start again; returns their numbers `[K]`."""
    missing = missing_ink(model, target)
    which = useless(model, missing, prune_below)
    if len(which):
        opaque = model.style.composition == "over" and model.style.coloured
        places = where_missing(missing, opaque, len(which), draw)
        fresh = start.again(places, which, model.shades[which], subject, draw)
        model.replace(which, fresh.to(model.places.device))
    return which


@torch.no_grad()
def missing_ink(drawing: Drawing, target: Tensor) -> Tensor:
    """How much too light the drawing is, `[H, W]`."""
    return blurred(drawing().mean(0) - target.to(drawing.places).mean(0), BLUR)


@torch.no_grad()
def useless(drawing: Drawing, missing: Tensor, prune_below: float) -> Tensor:
    """The numbers `[K]` of strokes that are faint or, where inks add up, lie on paper that should be lighter."""
    strokes = drawing.strokes
    found = strokes.opacity < prune_below
    if drawing.style.composition != "over" and len(found):
        over = at(missing, strokes.control.flatten(0, 1)).reshape(len(found), -1).mean(1)
        found = found | ((over < torch.quantile(over, WORST)) & (over < -TOO_DARK))
    return drawing.present.nonzero()[:, 0][found]


def where_missing(missing: Tensor, opaque: bool, count: int, draw: torch.Generator) -> Tensor:
    """`count` places `[count, 2]` where ink is missing or, of opaque paint, where the drawing is wrong."""
    residual = missing.abs() if opaque else missing.clamp(min=0)
    return scattered(residual.cpu() ** 2, count, draw)
