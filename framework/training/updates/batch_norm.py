"""Batch normalisation over the data of all processes: each alone would normalise by its own part of the batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from framework import ranks


class Normalised(torch.autograd.Function):
    """Each channel with the mean and the variance of all processes' data: one exchange forwards and one backwards.

    Each pass over the data is one of torch's own, as its layer makes them.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised values `[N, C, ...]`, and the number of all data, their mean and their variance."""
        channels = len(weight)
        count = values.numel() / channels
        own = [values.new_full((1,), count), *moments(values, channels)]
        parts = [p.split([1, channels, channels]) for p in ranks.each(torch.cat(own))]
        n = ranks.tree([c for c, _, _ in parts])
        mean = ranks.tree([c * m for c, m, _ in parts]) / n
        # Not the mean square less the squared mean, which loses digits.
        variance = ranks.tree([c * (v + (m - mean).square()) for c, m, v in parts]) / n
        ctx.save_for_backward(values, weight, mean, variance, n)
        ctx.eps = eps
        ctx.mark_non_differentiable(n, mean, variance)
        return affine(values, mean, variance, weight, bias, eps), n, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Each value has moved the mean and the variance, and so what all processes have made of them."""
        values, weight, mean, variance, n = ctx.saved_tensors
        gradient, scale = gradients[0], (variance + ctx.eps).rsqrt()
        for_weight, for_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        if values.numel():
            _, for_weight, for_bias = torch.ops.aten.native_batch_norm_backward(
                gradient,
                values,
                weight,
                None,
                None,
                mean,
                scale,
                True,
                ctx.eps,
                [False, True, True],
            )
        by_bias, by_weight = (ranks.summed(torch.cat([for_bias, for_weight])) / n).chunk(2)
        slope = weight * scale
        moved = affine(values, mean, variance, -slope * by_weight, -slope * by_bias, ctx.eps)
        shape = [1, -1, *[1] * (values.dim() - 2)]
        return moved.addcmul_(gradient, slope.view(shape)), for_weight, for_bias, None


def moments(values: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Each channel's mean and variance; zeros where there are no data."""
    if not values.numel():
        return values.new_zeros(channels), values.new_zeros(channels)
    axes = [0, *range(2, values.dim())]
    mean = values.mean(axes)
    # Three passes, and yet a third of the time of torch's own for its layer.
    differences = values - mean.view(1, channels, *[1] * (values.dim() - 2))
    return mean, differences.square_().mean(axes)


def affine(
    values: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> Tensor:
    """Values `[N, C, ...]` less the mean, by the deviation, times the weight, plus the bias."""
    if not values.numel():
        return values.clone()
    return functional.batch_norm(values, mean, variance, weight, bias, training=False, eps=eps)


class SharedBatchNorm(_BatchNorm):
    """A layer whose mean and variance are those of the whole batch, as if one process had it all."""

    def _check_input_dim(self, input: Tensor) -> None: ...

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `[N, C, ...]`."""
        if not (self.training or self.running_mean is None):
            return super().forward(input)
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        weight = values.new_ones(input.shape[1]) if self.weight is None else self.weight
        bias = values.new_zeros(input.shape[1]) if self.bias is None else self.bias
        output, n, mean, variance = Normalised.apply(values, weight, bias, self.eps)
        self.remember(mean, variance * n / (n - 1).clamp_min(1.0))
        given: Tensor = output.to(input.dtype)
        return given

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
