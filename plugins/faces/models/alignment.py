"""Face alignment: the similarity transform that maps a template's five points closest to a face's landmarks.

With points as complex numbers, p the landmarks and t the template, both less their means, the similarity z -> a z + b
of least squares is a = sum(conj(t) p) / sum |t|^2, b = mean(p) - a mean(t)  (Umeyama 1991, in the plane).
It is differentiable, and so is the sampling of the patch: features can be aligned inside a network.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# (x, y) of the eye to the left, the eye to the right, the tip of the nose, the corners of the mouth; the patch is the
# square -1..1.
TEMPLATE = ((-0.26, -0.10), (0.26, -0.10), (0.0, 0.18), (-0.20, 0.42), (0.20, 0.42))
# Which landmark takes whose place in a mirror image.
MIRRORED = (1, 0, 2, 4, 3)


def template(like: Tensor) -> Tensor:
    """The template `[5, 2]`."""
    return torch.tensor(TEMPLATE, dtype=like.dtype, device=like.device)


def similarity(landmarks: Tensor, points: Tensor | None = None) -> Tensor:
    """Matrices `[M, 2, 3]` that map points of the patch to the image in which the landmarks `[M, 5, 2]` lie.

    Args:
        points: `[5, 2]`, where the landmarks lie in the patch; None: as in the template.
    """
    points = template(landmarks) if points is None else points
    middle, centre = points.mean(0), landmarks.mean(1)
    t, p = points - middle, landmarks - centre[:, None]
    total = t.square().sum()
    real = (t * p).sum((1, 2)) / total
    imaginary = (t[:, 0] * p[..., 1] - t[:, 1] * p[..., 0]).sum(1) / total
    turn = torch.stack([real, -imaginary, imaginary, real], -1).reshape(-1, 2, 2)
    shift = centre - turn @ middle
    return torch.cat([turn, shift[..., None]], -1)


def upright(centres: Tensor, halves: Tensor) -> Tensor:
    """Matrices `[M, 2, 3]`, as those of `similarity`, of upright squares: centres `[M, 2]`, half sides `[M]`."""
    straight = torch.eye(2, dtype=centres.dtype, device=centres.device) * halves[:, None, None]
    return torch.cat([straight, centres[..., None]], -1)


def patches(
    maps: Tensor, image_index: Tensor, matrices: Tensor, side: int, extent: tuple[int, int]
) -> Tensor:
    """Aligned patches `[M, C, side, side]` sampled from images or feature maps `[B, C, H, W]`.

    Args:
        image_index: `[M]`, which image each face is in.
        matrices: `[M, 2, 3]`, from `similarity` or `upright`, in pixels.
        extent: (height, width) in those pixels, of what the maps cover.
    """
    if not len(image_index):
        # A grid of nothing is refused.
        return maps.float()[:0, :, :1, :1].expand(0, -1, side, side)
    height, width = extent
    scale = torch.tensor([2 / width, 2 / height], dtype=matrices.dtype, device=matrices.device)
    theta = matrices * scale[:, None]
    theta = torch.cat([theta[..., :2], theta[..., 2:] - 1], -1)
    shape = [len(image_index), maps.shape[1], side, side]
    grid = functional.affine_grid(theta.float(), shape, align_corners=False)
    # Half precision resolves positions to a pixel only.
    cut = maps[image_index].float()
    return functional.grid_sample(cut, grid, padding_mode="border", align_corners=False)


def mirrored(landmarks: Tensor, width: float) -> Tensor:
    """Landmarks `[..., 5, 2]` of the mirror image: the left eye becomes the right one."""
    swapped = landmarks[..., list(MIRRORED), :]
    return torch.stack([width - swapped[..., 0], swapped[..., 1]], -1)
