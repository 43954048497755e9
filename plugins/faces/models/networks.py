"""Small residual networks from an image of a face to a unit vector.

ReLU instead of PReLU and tensors in channels-last order make a step 2.6 times faster on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

# Keeps the zero vector finite.
SMALLEST_NORM = 1e-6


def unit(features: Tensor) -> Tensor:
    """Features `[..., D]` scaled to norm 1, in float32 whatever their type; zero stays zero."""
    return functional.normalize(features.float(), dim=-1, eps=SMALLEST_NORM)


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class Residual(nn.Module):
    """x + two convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Trunk(nn.Module):
    """Maps `[B, C, H, W]` to embeddings `[B, D]`, not normalised: their length indicates how clear the face is.

    Each of `widths` halves the resolution (the first one only where `halve_first`) and adds `blocks` residual blocks. A
    linear layer with weights of its own for each cell reads the last map, which is not averaged: an eye is not a chin.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        widths: Sequence[int],
        blocks: int,
        size: int,
        *,
        dropout: float = 0.0,
        halve_first: bool = True,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for number, width in enumerate(widths):
            stride = 2 if number or halve_first else 1
            layers.append(convolution(channels, width, stride))
            layers += [Residual(width) for _ in range(blocks)]
            channels, side = width, -(-side // stride)
        self.layers = nn.Sequential(*layers)
        self.end = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * side * side, size, bias=False),
            nn.BatchNorm1d(size),
        )
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        embeddings: Tensor = self.end(self.layers(x))
        return embeddings


class Embedder(nn.Module):
    """Images of faces `[B, 3, S, S]`, uint8 or floats 0..1, to embeddings `[B, D]`, not normalised.

    Args:
        embedding_size: D.
        grey: average the colours first; for photographs without any.
        standardise: give every image mean 0 and standard deviation 1, which removes exposure and contrast.
    """

    def __init__(
        self,
        side: int,
        *,
        embedding_size: int = 128,
        widths: Sequence[int] = (32, 64, 128),
        blocks: int = 1,
        dropout: float = 0.0,
        grey: bool = False,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.side, self.embedding_size = side, embedding_size
        self.grey, self.standardise = grey, standardise
        channels = 1 if grey else 3
        self.trunk = Trunk(channels, side, widths, blocks, embedding_size, dropout=dropout)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.trunk(self.prepared(images))
        return features

    def prepared(self, images: Tensor) -> Tensor:
        """The trunk's input, `[B, 1 or 3, S, S]`."""
        x = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.grey:
            x = x.mean(1, keepdim=True)
        if self.standardise:
            dims = (1, 2, 3)
            x = (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + 0.05)
        else:
            x = (x - 0.5) * 4
        return x.contiguous(memory_format=torch.channels_last)
