"""A drawing that starts from an SVG: its compound fills, strokes and gradients stay what they are while they move."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy
import torch
from torch import Tensor, nn

from framework.errors import ProgramError, UserError
from plugins.sketching.images.photo import grey
from plugins.sketching.raster.lines import FillRule
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.scene.chains import Chains
from plugins.sketching.scene.clips import Clips, clipped
from plugins.sketching.scene.gradients import SHADE, LearnedGradient
from plugins.sketching.scene.layers import Layer, composed
from plugins.sketching.scene.paints import Paint
from plugins.sketching.scene.writing import Inked, document, paths
from plugins.sketching.strokes.canvas import Canvas, Look, Style
from plugins.sketching.strokes.drawing import PACE
from plugins.sketching.svg.picture import Array, Colour, Gradient, Mark, Picture
from plugins.sketching.svg.picture import Paint as SvgPaint
from plugins.sketching.svg.writing import hexadecimal

# s of a fill's soft edge while it is fitted, in pixels; the pixel's own extent is added to it.
EDGE = 0.5
WHITE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Part:
    """A fill or stroke of a mark: its contours among the drawing's chains, and its clips; `rule` None: a stroke."""

    contours: range
    rule: FillRule | None
    paint: SvgPaint
    opacity: float
    width: float
    clips: tuple[int, ...]


class SceneDrawing(Canvas):
    """The marks of an SVG on a canvas of (height, width) pixels, fitted into it.

    Inks lie over one another as SVG lays them. Without colours the drawing is as light as the SVG's colours are.

    Args:
        style: `composition` and `filled` do not apply.
        learned: which of "width", "opacity", "colour" (with gradients' places) are learned; points always are.

    Raises:
        UserError: the SVG holds no strokes.
    """

    ground: Tensor
    low: Tensor
    high: Tensor

    def __init__(
        self, picture: Picture, canvas: tuple[int, int], style: Style, learned: frozenset[str]
    ) -> None:
        height, width = canvas
        extent = numpy.array([picture.width, picture.height])
        scale = min(width / picture.width, height / picture.height)
        shift = (numpy.array([width, height]) - scale * extent) / 2
        marks = picture.on_paper
        ground = picture.paper or (style.paper if style.coloured else WHITE)
        if not marks:
            raise UserError("the SVG holds no strokes")
        clips = Clips(marks, scale, shift)
        points, chains, parts = gathered(marks, scale, clips)
        super().__init__(canvas, replace(style, composition="over", filled=False), len(parts))
        self.clips, self.parts = clips, parts
        self.chains = Chains.of(chains)
        places = torch.from_numpy((points * scale + shift) / self.side).float()
        self.places = nn.Parameter(places)
        widths = torch.tensor([part.width for part in self.parts])
        self.widths = nn.Parameter(widths.log() / PACE, "width" in learned)
        opacities = torch.tensor([part.opacity for part in self.parts])
        self.opacities = nn.Parameter(opacities / SHADE, "opacity" in learned)
        colours = torch.tensor([plain(part.paint) for part in self.parts])
        self.colours = nn.Parameter(colours / SHADE, "colour" in learned)
        self.gradients = nn.ModuleDict(
            {
                str(number): LearnedGradient(
                    part.paint, part.opacity, scale, shift, self.side, "colour" in learned
                )
                for number, part in enumerate(self.parts)
                if isinstance(part.paint, Gradient)
            }
        )
        limit = torch.tensor([width, height]) / self.side
        self.register_buffer("low", places.amin(0).clamp(max=0))
        self.register_buffer("high", torch.maximum(places.amax(0), limit))
        self.register_buffer("ground", torch.tensor(ground))

    def rendered(self, look: Look) -> Tensor:
        """The picture `[C, H, W]`, as `forward` returns it; gates are of parts, `[L]`.

        Raises:
            ProgramError: gates of several pictures.
        """
        gates = look.gates
        if gates is not None and gates.dim() != 1:
            raise ProgramError(f"gates {list(gates.shape)}: a drawing from an SVG has one picture")
        size = self.size(look.scale)
        paper = torch.cat([self.shown(self.ground), self.ground.new_ones(1)])
        layers = list(self.layers(look.scale, look.widening, gates))
        picture = composed(layers, size, paper, profile=look.profile)
        return picture[:1] if self.plain else picture[:3]

    def shown(self, colours: Tensor) -> Tensor:
        """Colours `[..., 3]` as the drawing has them: without colours, between ink and paper by their lightness."""
        if self.style.coloured:
            return colours
        light = grey(colours[..., None, None])[..., 0]
        return self.ink + (self.paper - self.ink) * light

    def layers(
        self, scale: float = 1.0, widening: float = 1.0, gates: Tensor | None = None
    ) -> Iterator[Layer]:
        """The parts that are present, the lowest first, in pixels of a canvas `scale` times as large."""
        lines = self.chains.polylines(self.places * (self.side * scale))
        masks = self.clips.masks(self.size(scale), scale, self.places)
        widths = torch.exp(PACE * self.widths)
        for place, number in enumerate(self.present.nonzero()[:, 0].tolist()):
            part = self.parts[number]
            contours = [lines[contour] for contour in part.contours]
            gate = 1.0 if gates is None else gates[place]
            if part.rule is None:
                gate = gate / widening
            width = widths[number] * (widening * scale)
            mask = None
            for clip in part.clips:
                mask = masks[clip] if mask is None else mask * masks[clip]
            yield Layer(contours, part.rule, width, self.paint(number, scale), gate, mask)

    def paint(self, number: int, scale: float) -> Tensor | Paint:
        """A part's colour and opacity `[4]`, or its gradient."""
        if str(number) not in self.gradients:
            colour = self.shown(SHADE * self.colours[number])
            return torch.cat([colour, SHADE * self.opacities[number, None]])
        gradient = self.gradients[str(number)]
        assert isinstance(gradient, LearnedGradient)
        paint = gradient.paint(scale)
        shades = torch.cat([self.shown(paint.colours[:, :3]), paint.colours[:, 3:]], 1)
        return replace(paint, colours=shades)

    @property
    def pen_widths(self) -> Tensor:
        """s of the strokes in pixels, without the fills' edges."""
        strokes = [number for number, part in enumerate(self.parts) if part.rule is None]
        return torch.exp(PACE * self.widths.detach()[strokes])

    @torch.no_grad()
    def confine(self, min_width: float, max_width: float) -> None:
        """Clamp points to the canvas and to where the SVG reached beyond it, widths in pixels, and colours."""
        self.places.copy_(torch.minimum(torch.maximum(self.places, self.low), self.high))
        self.widths.clamp_(math.log(min_width) / PACE, math.log(max_width) / PACE)
        for shades in (self.opacities, self.colours):
            shades.clamp_(0, 1 / SHADE)
        for gradient in self.gradients.values():
            assert isinstance(gradient, LearnedGradient)
            gradient.confine()

    def faint(self, below: float) -> Tensor:
        """Which parts are fainter than `below`, `[L]`; those in gradients never are."""
        found = SHADE * self.opacities.detach() < below
        for number in self.gradients:
            found[int(number)] = False
        return found

    @torch.no_grad()
    def svg(self) -> str:
        """The drawing as SVG: a path for each part."""
        numbers = self.present.nonzero()[:, 0].tolist()
        inks = [
            Inked(
                self.parts[number].contours,
                self.parts[number].rule,
                float(layer.width) * PEN_WIDTH,
                layer.paint,
            )
            for number, layer in zip(numbers, self.layers(), strict=True)
        ]
        height, width = self.canvas
        body, defs = paths(inks, self.chains, self.places * self.side)
        seen = [self.parts[number].clips for number in numbers]
        body = [clipped(path, clips) for path, clips in zip(body, seen, strict=True)]
        defs += self.clips.definitions()
        return document((width, height), body, defs, hexadecimal(self.shown(self.ground).tolist()))


def gathered(
    marks: list[Mark], scale: float, clips: Clips
) -> tuple[Array, list[tuple[list[int], bool]], list[Part]]:
    """All points `[P, 2]` of marks, the degrees and closedness of their contours, and their fills and strokes."""
    points, parts = [numpy.zeros((0, 2))], []
    chains: list[tuple[list[int], bool]] = []
    for mark in marks:
        begin = len(chains)
        for contour in mark.contours:
            places, degrees = contour.chain()
            points.append(places)
            chains.append((degrees, contour.closed))
        contours = range(begin, len(chains))
        if mark.fill is not None:
            paint, opacity = mark.fill, mark.fill_opacity
            seen = clips.of(mark.clips)
            parts.append(Part(contours, mark.fill_rule, paint, opacity, EDGE, seen))
        if mark.stroke is not None and mark.width > 0:
            width = mark.width * scale / PEN_WIDTH
            seen = clips.of(mark.clips)
            parts.append(Part(contours, None, mark.stroke, mark.stroke_opacity, width, seen))
    return numpy.concatenate(points), chains, parts


def plain(paint: SvgPaint) -> Colour:
    """One colour: a gradient's average."""
    return paint.mean[:3] if isinstance(paint, Gradient) else paint
