"""A differentiable rasteriser: polylines -> picture, by tiles, with a backward pass that recomputes.

One primitive is enough: the soft polyline. A pixel at distance d from a stroke of width s carries the ink

    alpha = opacity * s / r * exp(-d^2 / r^2)      profile "gaussian", with r^2 = s^2 + PIXEL^2
    alpha = opacity * (coverage of the pixel)      profile "flat", a pen 1.772 s wide, as SVG shows it

and a filled shape blurs its edge with the same Gaussian, alpha = opacity * erfc(+-d / r) / 2. PIXEL stands for the
pixel's own extent: the ink of a line, summed over pixels, wavers by 2 exp(-pi^2 r^2) with the line's sub-pixel place
(sampling theorem), so that r >= PIXEL = 0.75 keeps it within 1 %, however thin the line. Without it a line of s = 0.4
hides half of its ink between two rows of pixels, and is drawn there. The inks of a pixel are composed as

    soft_or      1 - prod(1 - alpha_i)                order-independent, as overlapping inks do
    max          max alpha_i                          order-independent, overlaps do not darken
    smooth_max   1 - exp(-|t|_4), t_i = -log(1 - alpha_i)     between the two: |t|_1 is soft_or, |t|_inf is max
    over         later strokes cover earlier ones     ordered; without colour it equals soft_or

Pixel (i, j) has its centre at x = j + 0.5, y = i + 0.5; x runs right, y down. Strokes are cut off where alpha < 1e-5.
(Mihai & Hare 2021 render the same picture densely; tiles and recomputation are about a hundred times faster.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal

import numpy
import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from framework import waiting
from framework.errors import ProgramError, suggestion
from framework.extras import missing
from plugins.sketching.raster import torch_kernel
from plugins.sketching.raster.lines import FillRule, Lines, Strokes
from plugins.sketching.raster.request import (
    DARKEST,
    MIN_WIDTH,
    PIXEL,
    Composition,
    Profile,
    RenderRequest,
    choose_layout,
)

Backend = Literal["auto", "torch", "numba", "triton"]

COMPOSITIONS = ("soft_or", "max", "smooth_max", "over")
PROFILES = ("gaussian", "flat")


def render(
    points: Tensor | Strokes,
    width: Tensor | float,
    size: int | tuple[int, int],
    *,
    colour: Tensor | None = None,
    opacity: Tensor | float | None = None,
    taper: Tensor | None = None,
    background: Tensor | None = None,
    composition: Composition = "soft_or",
    profile: Profile = "gaussian",
    filled: bool | Sequence[bool] = False,
    fill_rule: FillRule | Sequence[FillRule] = "nonzero",
    backend: Backend = "auto",
) -> Tensor:
    """Render polylines; differentiable once in points, width, opacity, taper, colour and background.

    Args:
        points: `[*batch, strokes, vertices, 2]`, x then y in pixels; one vertex is a dot. Or, for one canvas, a list of
            strokes of different lengths: each a tensor `[vertices, 2]`, or a list of them for one with several
            contours, such as a filled shape with holes.
        width: s in pixels, a number or `[*batch, strokes]`.
        size: the canvas, (height, width) in pixels, or one side of a square.
        colour: `[*batch, strokes, C]` in 0..1; None: ink without colour.
        opacity: the ink at a stroke's centre in 0..1, a number or `[*batch, strokes]`; None: 1.
        taper: factors of the width at each vertex in 0..1, linear in between, `[vertices]` or `[*batch, strokes,
            vertices]`; for a list of strokes those of all vertices in order. None: 1. Of lines alone.
        background: the paper, `[C]` or a picture `[*batch, C, height, width]`; None: white. Needs `colour`.
        composition: how inks combine. All but "over" multiply the paper's colour as transparent inks do.
        profile: "gaussian" to train with, "flat" to see what a pen or an SVG would show.
        filled: fill the inside of closed shapes; a last edge back to the first vertex is implied. For a list of
            strokes it may differ from stroke to stroke.
        fill_rule: what is inside, as in SVG; it may differ, too.
        backend: "auto" uses numba's kernel for float32 on the CPU where numba is installed, and on a GPU Triton's
            where Triton is there.

    Returns:
        without colour the ink `[*batch, height, width]`, 0 paper and 1 ink; with it the picture
        `[*batch, C, height, width]`.

    Raises:
        ProgramError: shapes that do not fit, points that are not finite, widths that are not positive, opacities or
            colours outside 0..1, an unknown composition, profile or fill rule; other tensors than the backend's; a
            second derivative, or torch.func.vmap.
    """
    canvas = (size, size) if isinstance(size, int) else size
    refuse_vmap(points, width, opacity, colour)
    lines = Lines.of(points, filled, fill_rule)
    check_names(canvas, composition, profile)
    width, opacity, colour, lines = broadcast_inputs(lines, width, opacity, colour)
    if looks_wrong(lines, width, opacity, colour, background, taper):
        check_finite(lines)
        check_ranges(width, opacity, colour, background, taper)
    *batch, strokes = lines.shape
    count = math.prod(batch)
    kernel = choose_kernel(backend, lines.points)
    transparent = composition == "soft_or" or (composition == "over" and colour is None)
    plain = colour is None and transparent and profile == "gaussian" and lines.uniform
    plain = plain and taper is None
    straight = lines.points.shape[-2] <= 2
    fused = straight or kernel is not torch_kernel
    if plain and fused and strokes * count > 0 and not lines.fills:
        ink: Tensor = kernel.SoftLines.apply(lines.points, width, opacity, canvas)
        return ink
    # Not by clamp, which leaves out the gradient of a width that is exactly the least.
    width = torch.where(width < MIN_WIDTH, MIN_WIDTH, width)
    pens = None
    if taper is not None:
        pens = lines.pens(width, taper.to(width))
        pens = torch.where(pens < MIN_WIDTH, MIN_WIDTH, pens)
        width = width.detach()
    if profile == "gaussian":
        blurred = (width * width + PIXEL**2).sqrt()
        if pens is None:
            # A line spreads its ink to both sides, a dot in all directions, a fill's edge none.
            opacity = opacity * (width / blurred) ** lines.spread(width)
        width = blurred
    ends, first_piece = lines.pieces()
    request = RenderRequest(
        ends=ends,
        first_piece=first_piece,
        kind=lines.kind,
        width=width.flatten(),
        amplitude=amplitude_of(opacity, colour, composition).flatten(0, -2),
        colour=colour.flatten(0, -2) if colour is not None and composition == "over" else None,
        layout=choose_layout(count, canvas, getattr(kernel, "SIDE", None)),
        composition="soft_or" if composition == "over" and colour is None else composition,
        profile=profile,
        fills=lines.fills,
        pens=pens,
    )
    if strokes * count == 0:
        # Of no strokes, and yet a function of them: a loss of it can be differentiated.
        nothing = lines.points.sum() + width.sum() + opacity.sum()
        nothing = nothing + (0 if colour is None else colour.sum())
        drawn = nothing.expand(count, 1 if colour is None else colour.shape[-1], *canvas)
        kept = 1 - drawn
    else:
        drawn, kept = paint(request, kernel)
    if colour is None:
        return (1 - kept).reshape(*batch, *canvas)
    channels = colour.shape[-1]
    paper = ends.new_ones(1) if background is None else background
    paper = paper[:, None, None] if paper.dim() == 1 else paper
    return drawn.reshape(*batch, channels, *canvas) + kept.reshape(*batch, -1, *canvas) * paper


def refuse_vmap(*given: Any) -> None:
    if any(isinstance(one, Tensor) and is_batchedtensor(one) for one in given):
        raise ProgramError(
            "render cannot be mapped by torch.func.vmap; give it a batch: points [*batch, strokes, vertices, 2]"
        )


def paint(request: RenderRequest, module: ModuleType) -> tuple[Tensor, Tensor]:
    """The paint, `[count, C, H, W]` (0 for transparent inks), and the fraction of the paper that remains visible."""
    tiles = Paint.apply(*tensors_of(request), request, module)
    image = request.layout.assemble(tiles)
    if request.colour is None:
        return torch.zeros((), dtype=image.dtype, device=image.device).expand_as(image), image
    paints = request.colour.shape[1]
    return image[:, :paints], image[:, paints:]


def check_ranges(
    width: Tensor,
    opacity: Tensor,
    colour: Tensor | None,
    background: Tensor | None,
    taper: Tensor | None = None,
) -> None:
    """Refuse what would be rendered as something else: NaN, negative widths, inks beyond 0..1.

    A millionth beyond is rounding, as of a sum of shares.
    """
    named = {"opacity": opacity, "colour": colour, "background": background, "taper": taper}
    for name, given in {"width": width, **named}.items():
        if given is None or given.numel() == 0:
            continue
        low, high = (float(end) for end in given.detach().aminmax())
        if name == "width" and not (low > 0 and high < math.inf):
            value = low if not low > 0 else high
            raise ProgramError(f"width has the value {value:g}; expected finite numbers above 0")
        if name != "width" and not (low >= -1e-6 and high <= 1 + 1e-6):
            value = low if not low >= -1e-6 else high
            raise ProgramError(f"{name} has the value {value:g}; expected numbers from 0 to 1")


class Paint(Function):
    """Forward and backward by a kernel; only the inputs, the tile lists and the result are saved in between."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *given, request, module = inputs
        plain = detached(request, given)
        plan = module.plan(plain)
        tiles: Tensor = module.forward(plain, plan)
        ctx.save_for_backward(*given, tiles)
        ctx.request, ctx.plan, ctx.module = request, plan, module
        return tiles

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        *given, tiles = ctx.saved_tensors
        plain = detached(ctx.request, given)
        found = ctx.module.backward(plain, ctx.plan, tiles, gradient.contiguous())
        return *found, None, None


def tensors_of(request: RenderRequest) -> tuple[Tensor | None, ...]:
    """What a picture is differentiated by, in the order of a kernel's gradients."""
    return request.ends, request.width, request.amplitude, request.colour, request.pens


def detached(request: RenderRequest, given: Sequence[Tensor | None]) -> RenderRequest:
    """The request of `tensors_of`, without their graphs."""
    ends, width, amplitude, colour, pens = (
        None if one is None else one.detach().contiguous() for one in given
    )
    assert ends is not None
    assert width is not None
    assert amplitude is not None
    return replace(request, ends=ends, width=width, amplitude=amplitude, colour=colour, pens=pens)


def choose_kernel(backend: Backend, points: Tensor) -> ModuleType:
    """The kernel's module: for float32 numba's on the CPU and Triton's on a GPU, where they are there; else torch's.

    Each type would be compiled by itself, for seconds; float64 is for difference quotients.
    """
    if backend == "triton" or (backend == "auto" and triton_suits(points)):
        return by_triton(points)
    suits = points.device.type == "cpu" and points.dtype == torch.float32
    if backend == "torch" or (backend == "auto" and not (suits and find_spec("numba"))):
        return torch_kernel
    if find_spec("numba") is None:
        raise missing("sketching", "backend 'numba' (else 'torch') needs the package numba")
    if not suits:
        kind = f"{str(points.dtype).removeprefix('torch.')} on the {points.device.type}"
        raise ProgramError(
            f"backend 'numba' renders float32 on the cpu, not {kind}; backend='torch'"
        )
    from plugins.sketching.raster import numba_kernel

    return numba_kernel


def triton_suits(points: Tensor) -> bool:
    return points.is_cuda and points.dtype == torch.float32 and find_spec("triton") is not None


def by_triton(points: Tensor) -> ModuleType:
    """Triton's kernel.

    Raises:
        ProgramError: there is no Triton, or the points are not of float32.
    """
    if find_spec("triton") is None:
        raise ProgramError(
            "backend 'triton' needs Triton, which torch brings on Linux where it has CUDA; backend='torch'"
        )
    if points.dtype != torch.float32:
        kind = str(points.dtype).removeprefix("torch.")
        raise ProgramError(f"backend 'triton' renders float32, not {kind}; backend='torch'")
    from plugins.sketching.raster import triton_kernel

    return triton_kernel


def amplitude_of(opacity: Tensor, colour: Tensor | None, composition: str) -> Tensor:
    """The largest ink of each stroke and channel, `[*batch, strokes, A]`."""
    ink = opacity.unsqueeze(-1) * DARKEST
    return ink if colour is None or composition == "over" else ink * (1 - colour)


def broadcast_inputs(
    lines: Lines, width: Tensor | float, opacity: Tensor | float | None, colour: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, Lines]:
    """All inputs in the points' floating type with one batch shape."""
    width = tensor_of(width, lines.points)
    opacity = tensor_of(1.0 if opacity is None else opacity, lines.points)
    shapes = [lines.shape, width.shape, opacity.shape]
    if colour is not None:
        colour = colour.to(lines.points)
        shapes.append(colour.shape[:-1])
    try:
        # torch's own function imports its compiler, which takes seconds.
        shape = numpy.broadcast_shapes(*shapes)
    except ValueError:
        named = ", ".join(str(list(shape)) for shape in shapes)
        raise ProgramError(
            f"points, width, opacity, colour: leading axes {named} do not broadcast to [*batch, strokes]"
        ) from None
    return (
        width.expand(shape),
        opacity.expand(shape),
        None if colour is None else colour.expand(*shape, colour.shape[-1]),
        lines.expanded(shape),
    )


def tensor_of(value: Tensor | float, like: Tensor) -> Tensor:
    """In another tensor's type, where that is; a number is written there, and not copied."""
    return value.to(like) if isinstance(value, Tensor) else like.new_full((), value)


def looks_wrong(lines: Lines, width: Tensor, *shades: Tensor | None) -> bool:
    """Whether numbers are to be checked: always, or where that is deferred once something was wrong."""
    if not waiting.deferring():
        return True
    signs = [~lines.points.isfinite().all(), ~((width > 0) & width.isfinite()).all()]
    signs += [((s < -1e-6) | ~(s <= 1 + 1e-6)).any() for s in shades if s is not None]
    return waiting.suspicious("render", torch.stack(signs))


def check_names(canvas: tuple[int, int], composition: str, profile: str) -> None:
    if min(canvas) < 1:
        raise ProgramError(f"size = {canvas}: expected a height and a width of 1 pixel or more")
    for name, value, known in (
        ("composition", composition, COMPOSITIONS),
        ("profile", profile, PROFILES),
    ):
        if value not in known:
            raise ProgramError(f"{name} = '{value}'; {suggestion(value, known)}")


def check_finite(lines: Lines) -> None:
    stroke = lines.not_finite()
    if stroke is not None:
        raise ProgramError(f"stroke {stroke} has a coordinate that is not finite")
