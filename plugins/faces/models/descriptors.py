"""Descriptors of a face that nothing is trained for, of grey crops of `SIDE` pixels; their errors differ.

pixels     grey levels, evened out
gradients  histograms of gradient directions over cells (Dalal and Triggs 2005), blind to slow changes of light
patterns   histograms of local binary patterns over cells (Ahonen et al. 2006), blind to how strong the light is
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Descriptor = Literal["pixels", "gradients", "patterns"]
DESCRIPTORS: tuple[Descriptor, ...] = ("pixels", "gradients", "patterns")
# At which a crop is looked at.
SIDE = 48
DIRECTIONS, CELLS = 8, 8
# Of patterns: neighbours, their distance in pixels, the part of a pixel's light by which they are brighter, and cells.
NEIGHBOURS, RADIUS, BRIGHTER, PATTERN_CELLS = 8, 2.0, 0.06, 6
# Added to grey levels 0..1 before parts of them are compared: in the dark there is mostly noise.
DARK = 0.02
# Pixels of the parts that cells, which overlap by half, are put together from; a cell is 4 of them wide.
PART = SIDE // (2 * PATTERN_CELLS)
# Patterns with two changes between brighter and darker around the circle at most; all others share a number.
UNIFORM = 2 + NEIGHBOURS * (NEIGHBOURS - 1)
LENGTHS: Mapping[Descriptor, int] = {
    "pixels": (SIDE // 2) ** 2,
    "gradients": DIRECTIONS * CELLS**2,
    "patterns": (UNIFORM + 1) * PATTERN_CELLS**2,
}


def described(name: Descriptor, grey: Tensor) -> Tensor:
    """A descriptor `[B, F]` of grey pictures."""
    return {"pixels": pixels, "gradients": gradients, "patterns": patterns}[name](grey)


def pixels(grey: Tensor) -> Tensor:
    """Grey levels at half the resolution, with mean 0 and standard deviation 1."""
    x = functional.avg_pool2d(grey, 2).flatten(1)
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 0.004)


def gradients(grey: Tensor) -> Tensor:
    """The square roots of the parts of gradient directions in each cell, softly assigned to the two nearest ones."""
    padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
    dx = padded[:, 0, 1:-1, 2:] - padded[:, 0, 1:-1, :-2]
    dy = padded[:, 0, 2:, 1:-1] - padded[:, 0, :-2, 1:-1]
    length = (dx.square() + dy.square() + 1e-12).sqrt()
    place = (torch.atan2(dy, dx) / (2 * math.pi) * DIRECTIONS) % DIRECTIONS
    centres = torch.arange(DIRECTIONS, device=grey.device)[:, None, None]
    away = (place[:, None] - centres + DIRECTIONS / 2) % DIRECTIONS - DIRECTIONS / 2
    votes = (1 - away.abs()).clamp(min=0) * length[:, None]
    step = SIDE // CELLS
    # Cells overlap by half, so that a pixel's shift moves little.
    cells = functional.avg_pool2d(votes, 2 * step, step, step // 2, count_include_pad=False)
    around = cells.sum(1, keepdim=True)
    around = functional.avg_pool2d(around, 3, 1, 1, count_include_pad=False)
    return (cells / (around + 0.01)).sqrt().flatten(1)


def patterns(grey: Tensor) -> Tensor:
    """The square roots of how often each pattern occurs in each cell.

    A pixel's pattern says which of eight neighbours on a circle are brighter than it.
    """
    light = functional.pad((grey + DARK).log(), (1, 1, 1, 1), mode="replicate")
    smooth = functional.avg_pool2d(light, 3, 1)
    count = grey.shape[0]
    codes = torch.zeros(count, SIDE, SIDE, dtype=torch.long, device=grey.device)
    line = torch.linspace(-1, 1, SIDE, device=grey.device)
    v, u = torch.meshgrid(line, line, indexing="ij")
    step = 2 * RADIUS / (SIDE - 1)
    for k in range(NEIGHBOURS):
        angle = 2 * math.pi * k / NEIGHBOURS
        grid = torch.stack([u + step * math.cos(angle), v + step * math.sin(angle)], -1)
        neighbour = functional.grid_sample(
            smooth, grid.expand(count, SIDE, SIDE, 2), padding_mode="border", align_corners=True
        )
        codes += (neighbour[:, 0] - smooth[:, 0] > BRIGHTER).long() << k
    numbers = pattern_numbers().to(grey.device)[codes]
    parts = SIDE // PART
    place = torch.arange(SIDE, device=grey.device) // PART
    bins = ((numbers * parts + place[:, None]) * parts + place).flatten(1)
    found = torch.zeros(count, (UNIFORM + 1) * parts**2, device=grey.device)
    found = found.scatter_add(1, bins, torch.ones_like(bins, dtype=found.dtype))
    histogram = found.reshape(count, UNIFORM + 1, parts, parts) / PART**2
    # Cells overlap by half.
    cells = functional.avg_pool2d(histogram, 4, 2, 1, count_include_pad=False)
    return cells.sqrt().flatten(1)


@cache
def pattern_numbers() -> Tensor:
    """The number of each of the 256 patterns `[256]`: the uniform ones from 0, then one for all others."""
    bits = torch.arange(2**NEIGHBOURS)[:, None] >> torch.arange(NEIGHBOURS) & 1
    uniform = (bits != bits.roll(1, 1)).sum(1) <= 2
    numbers = torch.full((2**NEIGHBOURS,), UNIFORM)
    numbers[uniform] = torch.arange(UNIFORM)
    return numbers
