"""Batch normalisation over the data of all processes: each alone would normalise by its own part of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from framework import ranks


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
        count = values.new_full((1,), input.numel() / channels)
        sums = ranks.summed_with_derivative(torch.cat([values.sum(axes), count]))
        n = sums[-1].detach()
        mean = sums[:-1] / n
        # Not the mean square less the squared mean, which loses digits.
        squares = (values - mean.view(shape)).square().sum(axes)
        variance = ranks.summed_with_derivative(squares) / n
        self.remember(mean.detach(), variance.detach() * n / (n - 1).clamp_min(1.0))
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return (values * scale.view(shape) + shift.view(shape)).to(input.dtype)

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
