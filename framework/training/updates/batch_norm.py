"""Batch normalisation over the data of all processes: each alone would normalise by its own part of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from framework import ranks


class Standardised(torch.autograd.Function):
    """Each channel with the mean and the variance of all processes' data: one exchange forwards and one backwards."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, count: float, mean: Tensor, squares: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Standardised values `[N, C, ...]`, and the number of all data, their mean and their variance.

        Args:
            count, mean, squares: of this process's data: how many, mean, sum of squared differences from it.
        """
        counted = values.new_full((1,), count)
        parts = [
            p.split([1, len(mean), len(mean)])
            for p in ranks.each(torch.cat([counted, mean, squares]))
        ]
        n = ranks.tree([c for c, _, _ in parts])
        mean = ranks.tree([c * m for c, m, _ in parts]) / n
        # Not the mean square less the squared mean, which loses digits.
        variance = ranks.tree([s + c * (m - mean).square() for c, m, s in parts]) / n
        scale = (variance + eps).rsqrt()
        shape = [1, -1, *[1] * (values.dim() - 2)]
        standardised = (values - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(standardised, scale, n)
        ctx.mark_non_differentiable(n, mean, variance)
        return standardised, n, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each value has moved the mean and the variance, and so what all processes have made of them."""
        standardised, scale, n = ctx.saved_tensors
        gradient, axes = gradients[0], [0, *range(2, standardised.dim())]
        shape = [1, -1, *[1] * (standardised.dim() - 2)]
        own = torch.cat([gradient.sum(axes), (gradient * standardised).sum(axes)])
        by_mean, by_deviation = (ranks.summed(own) / n).view(2, *shape).unbind()
        moved = gradient - by_mean - standardised * by_deviation
        return moved * scale.view(shape), None, None, None, None


class SharedBatchNorm(_BatchNorm):
    """A layer whose mean and variance are those of the whole batch, as if one process had it all."""

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[N, C, ...]`."""
        if not (self.training or self.running_mean is None):
            return super().forward(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        channels, axes = input.shape[1], [0, *range(2, input.dim())]
        shape = [1, channels, *[1] * (input.dim() - 2)]
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        count = input.numel() / channels
        with torch.no_grad():
            # The mean of nothing is no number.
            mean = values.mean(axes) if count else values.new_zeros(channels)
            squares = (values - mean.view(shape)).square().sum(axes)
        standardised, n, mean, variance = Standardised.apply(values, count, mean, squares, self.eps)
        self.remember(mean, variance * n / (n - 1).clamp_min(1.0))
        if self.weight is not None:
            standardised = standardised * self.weight.view(shape)
        if self.bias is not None:
            standardised = standardised + self.bias.view(shape)
        output: Tensor = standardised.to(input.dtype)
        return output

    def remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running moments."""
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def share_batch_norm(model: nn.Module) -> None:
    """Let a model's layers of batch normalisation normalise over all processes; names and tensors stay."""
    if ranks.size() == 1:
        return
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.__class__ = SharedBatchNorm  # type: ignore[assignment]
