"""What `render` is given to draw: strokes of one length as a tensor, or a list of any lengths and contours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from framework.errors import ProgramError, suggestion
from plugins.sketching.raster.request import EVENODD, LINE, NONZERO

FillRule = Literal["nonzero", "evenodd"]
RULES = {"nonzero": NONZERO, "evenodd": EVENODD}
Strokes = Sequence[Tensor | Sequence[Tensor]]


@dataclass(frozen=True)
class Lines:
    """Strokes as vertices.

    Attributes:
        points: `[*batch, strokes, vertices, 2]`; of a list all vertices, `[V, 2]`.
        shape: `[*batch, strokes]`.
        kind: `[N]`, LINE, NONZERO or EVENODD, of all canvases' strokes.
        fills: whether any is a fill.
        contours: of a list: the number of vertices of each contour, by stroke; None: a tensor.
    """

    points: Tensor
    shape: tuple[int, ...]
    kind: Tensor
    fills: bool
    contours: list[list[int]] | None

    @classmethod
    def of(
        cls,
        points: Tensor | Strokes,
        filled: bool | Sequence[bool],
        rule: FillRule | Sequence[FillRule],
    ) -> Lines:
        """The strokes that `render` was given.

        Raises:
            ProgramError: other shapes, or an unknown fill rule.
        """
        contours: list[list[int]] | None = None
        if isinstance(points, Tensor):
            vertices, shape = points, tuple(points.shape[:-2])
            if points.dim() < 3 or points.shape[-1] != 2 or points.shape[-2] == 0:
                raise ProgramError(
                    f"points {list(points.shape)}: expected [*batch, strokes, vertices, 2] with at least one vertex"
                )
        else:
            strokes = [[s] if isinstance(s, Tensor) else list(s) for s in points]
            for number, stroke in enumerate(strokes):
                for one in stroke:
                    if one.dim() != 2 or one.shape[-1] != 2 or not len(one):
                        raise ProgramError(
                            f"stroke {number} {list(one.shape)}: expected [vertices, 2] with at least one vertex"
                        )
                if not stroke:
                    raise ProgramError(f"stroke {number} has no contour")
            contours = [[len(one) for one in stroke] for stroke in strokes]
            vertices = torch.cat(
                [one for stroke in strokes for one in stroke] or [torch.zeros(0, 2)]
            )
            shape = (len(strokes),)
        if vertices.dtype not in {torch.float32, torch.float64}:
            vertices = vertices.float()
        kind = kinds_of(filled, rule, shape[-1], vertices.device)
        fills = filled if isinstance(filled, bool) else any(filled)
        if contours is None and not isinstance(filled, bool) and len(set(filled)) > 1:
            raise ProgramError(
                "filled differs from stroke to stroke; give points as a list of strokes"
            )
        return cls(vertices, shape, kind, fills, contours)

    @property
    def uniform(self) -> bool:
        """Whether all strokes have the same number of vertices."""
        return self.contours is None

    def expanded(self, shape: tuple[int, ...]) -> Lines:
        """The same strokes on each canvas of a larger batch."""
        count = 1
        for side in shape[:-1]:
            count *= side
        if self.contours is not None and shape != self.shape:
            raise ProgramError(
                f"a list of {self.shape[0]} strokes is drawn on one canvas, not {list(shape)}"
            )
        kind = self.kind if len(self.kind) == shape[-1] else self.kind.expand(shape[-1])
        points = (
            self.points if self.contours else self.points.expand(*shape, *self.points.shape[-2:])
        )
        return replace(self, points=points, shape=shape, kind=kind.repeat(count))

    def not_finite(self) -> int | None:
        """The first stroke with a coordinate that is not finite, or None."""
        values = self.points.detach()
        if not values.numel():
            return None
        low, high = (float(end) for end in values.aminmax())
        if -float("inf") < low and high < float("inf"):
            return None
        wrong = (~torch.isfinite(values)).flatten(-1).any(-1)
        if self.contours is None:
            return int(wrong.any(-1).flatten().nonzero()[0])
        vertex, strokes = int(wrong.nonzero()[0]), [sum(stroke) for stroke in self.contours]
        return next(i for i in range(len(strokes)) if sum(strokes[: i + 1]) > vertex)

    def spread(self, like: Tensor) -> Tensor | int:
        """In how many directions strokes spread their ink: a line in one, a dot in two, a fill in none."""
        if self.contours is None and not self.fills:
            return 2 if self.points.shape[-2] == 1 else 1
        ways: Tensor | float = 2.0 if self.points.shape[-2] == 1 else 1.0
        if self.contours is not None:
            dot = [stroke == [1] for stroke in self.contours]
            ways = 1 + torch.tensor(dot, dtype=like.dtype, device=like.device)
        return torch.where(self.kind == LINE, ways, 0.0).reshape(like.shape)

    def pieces(self) -> tuple[Tensor, Tensor]:
        """Both ends of all pieces, `[E, 4]`, and where each stroke's begin, `[N + 1]`; fills are closed."""
        if self.contours is None:
            return self.uniform_pieces()
        starts, stops, sizes = self.indices(self.contours)
        device = self.points.device
        ends = torch.cat([self.points[starts], self.points[stops]], 1)
        return ends, torch.tensor([0, *sizes], device=device).cumsum(0)

    def indices(self, contours: list[list[int]]) -> tuple[Tensor, Tensor, list[int]]:
        """The vertices at which each piece starts and stops, `[E]` both, and each stroke's number of pieces."""
        starts, stops, sizes, place = [], [], [], 0
        for stroke, kind in zip(contours, self.kind.tolist(), strict=True):
            size = 0
            for count in stroke:
                here = list(range(place, place + count))
                after = here[1:] + (here[:1] if kind or count == 1 else [])
                starts += here[: len(after)]
                stops += after
                size += len(after)
                place += count
            sizes.append(size)
        device = self.points.device
        first, last = (
            torch.tensor(part, dtype=torch.int64, device=device) for part in (starts, stops)
        )
        return first, last, sizes

    def pens(self, width: Tensor, taper: Tensor) -> Tensor:
        """s at both ends of all pieces `[E, 2]`, from `width [*batch, strokes]` and its factors at vertices.

        Raises:
            ProgramError: dots, fills, or factors of another shape.
        """
        count = self.points.shape[-2] if self.contours is None else len(self.points)
        dots = self.contours is None and count == 1
        if self.fills or dots or any(1 in stroke for stroke in self.contours or []):
            raise ProgramError("taper is of lines: strokes of two vertices or more, not filled")
        if self.contours is not None:
            if tuple(taper.shape) != (count,):
                raise ProgramError(
                    f"taper {list(taper.shape)}: expected [{count}], of all vertices"
                )
            owner = torch.tensor([sum(stroke) for stroke in self.contours], device=width.device)
            at = width.repeat_interleave(owner) * taper
            starts, stops, _ = self.indices(self.contours)
            return torch.stack([at[starts], at[stops]], 1)
        if taper.dim() == 0 or taper.shape[-1] != count:
            raise ProgramError(f"taper {list(taper.shape)}: expected [*batch, strokes, {count}]")
        along = (width.unsqueeze(-1) * taper).expand(*width.shape, count).flatten(0, -2)
        return torch.stack([along[:, :-1], along[:, 1:]], -1).flatten(0, 1)

    def uniform_pieces(self) -> tuple[Tensor, Tensor]:
        points = self.points.flatten(0, -3)
        if self.fills:
            points = torch.cat([points, points[:, :1]], 1)
        if points.shape[1] == 1:
            ends = torch.cat([points, points], -1)
        else:
            ends = torch.cat([points[:, :-1], points[:, 1:]], -1)
        first = torch.arange(len(points) + 1, device=points.device) * ends.shape[1]
        return ends.flatten(0, 1), first


def kinds_of(
    filled: bool | Sequence[bool],
    rule: FillRule | Sequence[FillRule],
    strokes: int,
    device: torch.device,
) -> Tensor:
    """LINE, NONZERO or EVENODD for each stroke.

    Raises:
        ProgramError: lists of another length, or an unknown rule.
    """
    for one in {rule} if isinstance(rule, str) else set(rule):
        if one not in RULES:
            raise ProgramError(f"fill_rule = '{one}'; {suggestion(str(one), tuple(RULES))}")
    if isinstance(filled, bool) and isinstance(rule, str):
        return torch.full((strokes,), RULES[rule] if filled else LINE, device=device)
    given = [filled] * strokes if isinstance(filled, bool) else list(filled)
    rules = [RULES[rule]] * strokes if isinstance(rule, str) else [RULES[one] for one in rule]
    for name, values in (("filled", given), ("fill_rule", rules)):
        if len(values) != strokes:
            raise ProgramError(
                f"{name} has {len(values)} values, expected one for each of {strokes} strokes"
            )
    codes = [code if fill else LINE for fill, code in zip(given, rules, strict=True)]
    return torch.tensor(codes, dtype=torch.int64, device=device)
