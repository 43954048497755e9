"""Whitened principal components of simple descriptors: no training by gradients, and hard to beat on few people.

A descriptor's principal components are whitened by the scatter within people: directions in which pictures of one
person differ count little (within-class covariance normalisation, Hatch et al. 2006). Pictures enter mirrored, shifted
and scaled, so that these count as differences within a person, too. The descriptors are in `descriptors.py`.

As a baseline it stands beside every network; beside one that learns from few people it is a branch of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.faces.models.descriptors import DESCRIPTORS, LENGTHS, SIDE, Descriptor, described
from plugins.faces.models.networks import unit

# Principal components that are kept, and the part of the mean scatter that is added to every direction's.
COMPONENTS, RIDGE = 300, 0.05
# Pictures that the components are computed from, at most.
ENOUGH = 4000
# Views of a picture: size and shift, in parts of it.
WHOLE = (1.0, 0.0, 0.0)
SHIFTED = tuple((1.0, x, y) for x in (-0.03, 0.03) for y in (-0.03, 0.03))
VIEWS = (WHOLE, *SHIFTED, (0.94, 0.0, 0.0), (1.06, 0.0, 0.0))


class Whitened(nn.Module):
    """Crops `[B, 3, S, S]`, uint8 or floats 0..1, to the whitened components of each descriptor, `[B, COMPONENTS]`.

    Buffers: the mean and the projection of each descriptor; zero until `fit`.
    """

    def __init__(self) -> None:
        super().__init__()
        for name in DESCRIPTORS:
            size = LENGTHS[name]
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_projection", torch.zeros(size, COMPONENTS))

    @torch.no_grad()
    def fit(self, images: Tensor, people: Tensor) -> None:
        """Compute the components from pictures of people `[N]`; of many from a random subset in one view."""
        frames = VIEWS if len(images) <= ENOUGH // len(VIEWS) else (WHOLE,)
        if len(images) > ENOUGH:
            some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:ENOUGH]
            images, people = images[some], people[some]
        views = seen_in(grey_of(images), frames)
        labels = people.unique(return_inverse=True)[1].repeat(len(views))
        for name in DESCRIPTORS:
            x = torch.cat([described(name, view) for view in views]).double()
            mean, projection = components(x, labels)
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_projection").zero_()[:, : projection.shape[1]] = projection

    def forward(self, images: Tensor, name: Descriptor) -> Tensor:
        """A descriptor's components with norm 1, summed over all views and their mirror images; zero until `fit`."""
        mean, projection = getattr(self, f"{name}_mean"), getattr(self, f"{name}_projection")
        views = seen_in(grey_of(images.to(mean.device)), VIEWS)
        parts = unit((described(name, torch.cat(views)) - mean) @ projection)
        return unit(parts.unflatten(0, (len(views), -1)).sum(0))


def seen_in(grey: Tensor, frames: Sequence[tuple[float, float, float]]) -> list[Tensor]:
    """Views of grey pictures, each also mirrored."""
    views = [framed(grey, *frame) for frame in frames]
    return [*views, *(view.flip(3) for view in views)]


def grey_of(images: Tensor) -> Tensor:
    """Grey levels `[B, 1, SIDE, SIDE]`, 0..1."""
    grey = images.float().mean(1, keepdim=True)
    if images.dtype == torch.uint8:
        grey = grey / 255
    if grey.shape[-1] != SIDE:
        size = (SIDE, SIDE)
        grey = functional.interpolate(
            grey, size, mode="bilinear", antialias=True, align_corners=False
        )
    return grey


def framed(grey: Tensor, zoom: float, x: float, y: float) -> Tensor:
    """A larger, smaller or shifted view."""
    if (zoom, x, y) == WHOLE:
        return grey
    theta = torch.tensor([[zoom, 0.0, 2 * x], [0.0, zoom, 2 * y]], device=grey.device)
    grid = functional.affine_grid(
        theta.expand(grey.shape[0], 2, 3), list(grey.shape), align_corners=False
    )
    return functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)


def components(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean `[F]` and the whitening projection `[F, K]` of descriptors `[N, F]` of people `[N]`."""
    mean = x.mean(0)
    centred = x - mean
    kept = min(COMPONENTS, len(x) - 1, x.shape[1])
    basis = principal(centred, kept)
    z = centred @ basis
    count = int(labels.max()) + 1
    sums = torch.zeros(count, kept, dtype=z.dtype).index_add_(0, labels, z)
    within = z - (sums / labels.bincount(minlength=count)[:, None])[labels]
    scatter = within.T @ within / len(z)
    ridge = RIDGE * within.square().mean() + 1e-12
    lengths, turn = torch.linalg.eigh(scatter + ridge * torch.eye(kept, dtype=z.dtype))
    return mean.float(), (basis @ (turn / lengths.sqrt())).float()


def principal(centred: Tensor, kept: int) -> Tensor:
    """The `kept` largest principal components `[F, kept]` of centred rows `[N, F]`, by the smaller of two squares."""
    tall = len(centred) >= centred.shape[1]
    square = centred.T @ centred if tall else centred @ centred.T
    vectors: Tensor = torch.linalg.eigh(square).eigenvectors[:, -kept:]
    return vectors if tall else functional.normalize(centred.T @ vectors, dim=0)
