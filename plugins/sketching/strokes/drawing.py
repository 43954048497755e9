"""A drawing: strokes whose places, widths, opacities and colours can be learned, and the paper they lie on.

Places are stored as fractions of the canvas's longer side and widths as logarithms: one learning rate suits all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.sketching.raster.render import render
from plugins.sketching.raster.request import PEN_WIDTH
from plugins.sketching.raster.torch_kernel import INNER, OUTER, SOFT
from plugins.sketching.strokes.canvas import Canvas, Look, Style
from plugins.sketching.strokes.plotter import Ends
from plugins.sketching.strokes.primitives import Primitive
from plugins.sketching.strokes.tapering import lines_of

# Logits of colour and opacity, and logarithms of width, move this much faster than places.
PACE = 8.0
# Between which colours and opacities start: beyond, their logits are too large to move.
SHADES = (0.02, 0.98)
# Flat dots are rendered this many times larger: the kernel's coverage is that of a line, not of a small disc.
SUPERSAMPLING = 2
# Of the integral of a dot's ink.
DOT_STEPS = 64


@dataclass(frozen=True)
class Strokes:
    """Strokes in pixels of the drawing's own canvas, for rendering and for export.

    Attributes:
        control: `[S, k, 2]`.
        width: s of the profile exp(-d^2 / s^2), `[S]`.
        opacity: `[S]`.
        colour: `[S, 3]`.
    """

    control: Tensor
    width: Tensor
    opacity: Tensor
    colour: Tensor

    def to(self, device: torch.device) -> Strokes:
        """The same strokes on a device."""
        parts = (self.control, self.width, self.opacity, self.colour)
        return Strokes(*(part.to(device) for part in parts))


class Drawing(Canvas):
    """Strokes of one primitive on a canvas of (height, width) pixels.

    Args:
        strokes: the first strokes.
        learned: which of "width", "opacity", "colour" are learned; the others stay as given. Places always are.
    """

    def __init__(
        self,
        primitive: Primitive,
        canvas: tuple[int, int],
        strokes: Strokes,
        style: Style,
        learned: frozenset[str],
    ) -> None:
        super().__init__(canvas, style, len(strokes.width))
        self.primitive = primitive
        self.places = nn.Parameter(torch.empty_like(strokes.control))
        self.widths = nn.Parameter(torch.empty_like(strokes.width), "width" in learned)
        self.opacities = nn.Parameter(torch.empty_like(strokes.opacity), "opacity" in learned)
        self.colours = nn.Parameter(torch.empty_like(strokes.colour), "colour" in learned)
        self._here: tuple[tuple[int, int], Tensor] | None = None
        self.replace(torch.arange(len(strokes.width)), strokes)

    @torch.no_grad()
    def replace(self, which: Tensor, strokes: Strokes) -> None:
        """Put new strokes in place of those numbered `which`."""
        self.places[which] = strokes.control / self.side
        self.widths[which] = strokes.width.log() / PACE
        self.opacities[which] = strokes.opacity.clamp(*SHADES).logit() / PACE
        self.colours[which] = strokes.colour.clamp(*SHADES).logit() / PACE
        self.present[which] = True

    @property
    def pen_widths(self) -> Tensor:
        """s of all strokes in pixels, present or not, `[S]`."""
        return torch.exp(PACE * self.widths.detach())

    @property
    def shades(self) -> Tensor:
        """The colours of all strokes, present or not, `[S, 3]`."""
        return torch.sigmoid(PACE * self.colours.detach())

    @torch.no_grad()
    def recolour(self, colours: Tensor) -> None:
        """Give all strokes colours `[S, 3]`."""
        self.colours.copy_(colours.clamp(*SHADES).logit() / PACE)

    @property
    def here(self) -> Tensor:
        """The numbers of the strokes that are present; looked for again only where `present` has changed."""
        version = self.present._version, self.present.data_ptr()
        if self._here is None or self._here[0] != version:
            self._here = version, self.present.nonzero()[:, 0]
        return self._here[1]

    @property
    def strokes(self) -> Strokes:
        """The strokes that are present, as they are now."""
        here = self.here
        control = self.places[here] * self.side
        colour = torch.sigmoid(PACE * self.colours[here])
        if not self.style.coloured:
            colour = self.ink.expand(len(control), 3)
        return Strokes(
            control,
            torch.exp(PACE * self.widths[here]),
            torch.sigmoid(PACE * self.opacities[here]),
            colour,
        )

    def rendered(self, look: Look) -> Tensor:
        """The picture `[*n, C, H, W]`, as `forward` returns it."""
        widening, profile, gates = look.widening, look.profile, look.gates
        fine = SUPERSAMPLING if self.primitive.segments is None and profile == "flat" else 1
        strokes, scale = self.strokes, look.scale * fine
        opacity = strokes.opacity if gates is None else strokes.opacity * gates
        faint = 1 if self.style.filled else widening
        control = strokes.control if scale == 1 else strokes.control * scale
        size = tuple(fine * max(1, round(side * scale / fine)) for side in self.canvas)
        if fine > 1:
            opacity = opacity * dot_share(strokes.width * scale)
        coloured = self.style.coloured
        lines, taper = lines_of(self.primitive, control, self.style.taper)
        rendered = render(
            lines,
            strokes.width * (widening * scale),
            (size[0], size[1]),
            colour=strokes.colour if coloured else None,
            opacity=opacity / faint,
            taper=taper,
            background=self.paper if coloured else None,
            composition=self.style.composition,
            profile=profile,
            filled=self.style.filled,
        )
        if fine > 1:
            planes = functional.avg_pool2d(rendered.reshape(-1, 1, *size), fine)
            rendered = planes.reshape(*rendered.shape[:-2], *planes.shape[-2:])
        if coloured:
            return rendered
        if self.plain:
            return 1 - rendered.unsqueeze(-3)
        paper, ink = self.paper[:, None, None], self.ink[:, None, None]
        return paper + (ink - paper) * rendered.unsqueeze(-3)

    def ends(self) -> Ends:
        """The start and end of each stroke that is present, `[S, 2, 2]`, in pixels."""
        vertices = self.primitive.vertices(self.strokes.control)
        return vertices[:, [0, -1]].detach().double().cpu().numpy()

    def faint(self, below: float) -> Tensor:
        """Which strokes are fainter than `below`, `[S]`."""
        return torch.sigmoid(PACE * self.opacities.detach()) < below

    @torch.no_grad()
    def confine(self, min_width: float, max_width: float) -> None:
        """Keep strokes on the canvas and widths, in pixels, within their range.

        A straight line is moved as a whole: cut off at the frame it would turn along it, and stay there.
        """
        height, width = self.canvas
        limit = self.places.new_full((2,), width / self.side)
        limit[1] = height / self.side
        if self.places.shape[1] == 2:
            low, high = self.places.amin(1, keepdim=True), self.places.amax(1, keepdim=True)
            self.places.add_((-low).clamp(min=0) + (limit - high).clamp(max=0))
        self.places.copy_(torch.minimum(self.places.clamp(min=0), limit))
        self.widths.clamp_(math.log(min_width) / PACE, math.log(max_width) / PACE)
        for logits in (self.opacities, self.colours):
            logits.clamp_(-8 / PACE, 8 / PACE)


def dot_share(width: Tensor) -> Tensor:
    """The factor by which a flat pen's dot leaves the ink of a disc of its radius r = 0.886 s.

    The flat profile is a line's coverage, blurred by a density k of the pixel's extent. Over a dot it sums to
    pi E[r^2 + x^2] where |x| < r and to 2 pi r E[|x|] elsewhere, x drawn from k, instead of pi r^2.
    """
    r = (width * (PEN_WIDTH / 2))[..., None]
    x = (torch.arange(DOT_STEPS, dtype=r.dtype, device=r.device) + 0.5) * (OUTER / DOT_STEPS)
    density = torch.where(x < INNER, 1.0, (OUTER - x) / SOFT) * (2 * OUTER / DOT_STEPS)
    total = (torch.where(x < r, r * r + x * x, 2 * r * x) * density).sum(-1)
    return r[..., 0] ** 2 / total
