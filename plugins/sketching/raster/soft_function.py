"""Soft lines as a function that autograd differentiates once, whichever kernel renders them."""

from __future__ import annotations

from typing import Any, Protocol, Self

from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


class Rendered(Protocol):
    """A picture, and what its gradients are computed from."""

    @property
    def ink(self) -> Tensor:
        """`[*batch, height, width]`."""

    @classmethod
    def of(cls, points: Tensor, width: Tensor, opacity: Tensor, canvas: tuple[int, int]) -> Self:
        """The picture of `[*batch, strokes, vertices, 2]`, width and opacity `[*batch, strokes]`."""

    def gradients(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of points, width and opacity, given that of the ink."""


def differentiable(rendered: type[Rendered]) -> type[Function]:
    """Points, width, opacity, (height, width) -> the ink `[*batch, height, width]`, by a kernel's class."""

    class SoftLines(Function):
        @staticmethod
        def forward(
            ctx: Any, points: Tensor, width: Tensor, opacity: Tensor, canvas: tuple[int, int]
        ) -> Tensor:
            ctx.rendered = rendered.of(points, width, opacity, canvas)
            ink: Tensor = ctx.rendered.ink
            return ink

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
            return *ctx.rendered.gradients(gradient), None

    return SoftLines
