"""The clip paths of an SVG that is drawn: they stay where they are, and what lies outside of them is not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import torch
from torch import Tensor

from plugins.sketching.raster.lines import FillRule
from plugins.sketching.raster.render import render
from plugins.sketching.scene.chains import Chains
from plugins.sketching.scene.writing import path_data, rule_of
from plugins.sketching.svg.picture import Array, Clip, Mark


class Clips:
    """All clips of marks.

    Args:
        scale, shift: from the picture's pixels to the canvas's.
    """

    def __init__(self, marks: Sequence[Mark], scale: float, shift: Array) -> None:
        self.numbers: dict[int, int] = {}
        # For each clip, its shapes' contours among the chains, and their rules.
        self.shapes: list[list[tuple[range, FillRule]]] = []
        contours: list[tuple[list[int], bool]] = []
        points = [numpy.zeros((0, 2))]
        for clip in (clip for mark in marks for clip in mark.clips):
            if id(clip) in self.numbers:
                continue
            self.numbers[id(clip)] = len(self.shapes)
            found: list[tuple[range, FillRule]] = []
            for outline, rule in clip.shapes:
                begin = len(contours)
                for contour in outline:
                    places, degrees = contour.closed_up().chain()
                    points.append(places * scale + shift)
                    contours.append((degrees, True))
                found.append((range(begin, len(contours)), rule))
            self.shapes.append(found)
        self.chains = Chains.of(contours)
        self.points = torch.from_numpy(numpy.concatenate(points)).float()

    def of(self, clips: Sequence[Clip]) -> tuple[int, ...]:
        """The numbers of a mark's clips."""
        return tuple(self.numbers[id(clip)] for clip in clips)

    @torch.no_grad()
    def masks(self, size: tuple[int, int], scale: float, like: Tensor) -> list[Tensor]:
        """What is seen through each clip, `[H, W]` in 0..1, on a canvas `scale` times as large."""
        if not self.shapes:
            return []
        lines = self.chains.polylines(self.points.to(like) * scale)
        masks = []
        for shapes in self.shapes:
            drawn = [(part, rule) for part, rule in shapes if len(part)]
            if not drawn:
                masks.append(like.new_zeros(size))
                continue
            outlines = [[lines[contour] for contour in part] for part, _ in drawn]
            masks.append(
                render(
                    outlines,
                    1.0,
                    size,
                    composition="max",
                    profile="flat",
                    filled=[True] * len(drawn),
                    fill_rule=[rule for _, rule in drawn],
                )
            )
        return masks

    def definitions(self) -> list[str]:
        """The clips as SVG's definitions."""
        return [
            f'<clipPath id="clip_{number}">'
            + "".join(
                f'<path d="{" ".join(path_data(self.chains, self.points, c) for c in part)}"'
                f"{rule_of(rule).replace('fill-rule', 'clip-rule')}/>"
                for part, rule in shapes
                if len(part)
            )
            + "</clipPath>"
            for number, shapes in enumerate(self.shapes)
        ]


def clipped(path: str, clips: Sequence[int]) -> str:
    """A path's text, seen through clips alone."""
    for number in clips:
        path = f'<g clip-path="url(#clip_{number})">{path}</g>'
    return path
