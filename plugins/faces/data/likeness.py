"""Copies of pictures found by how they look: a JPEG, resized, cut, mirrored or relit copy has other bytes.

A picture is reduced to signatures: grey levels at 16 x 16 cells with mean 0, on 96 fixed directions, with norm 1, of
the whole picture and of parts of it. The cosine of two signatures is near 1 for copies, whatever their exposure and
contrast. Known pictures keep the signatures of parts of themselves, since a copy may be one; a picture in question is
looked at as a whole, in parts and mirrored. A signature restores no more of a face than a few grey blots.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

# Cells of a side, and numbers of a signature.
CELLS, NUMBERS = 16, 96
# The cosine from which on a picture is taken for a copy of a known one; that of different people is lower.
COPY = 0.98
# That from which on two pictures are one, so that a training is refused.
SAME = 0.99
# Parts of a picture: size and shift, in parts of it.
CENTRES = ((1.0, 0.0, 0.0), (0.95, 0.0, 0.0), (0.9, 0.0, 0.0))
CORNERS = tuple((0.95, x, y) for x in (-0.05, 0.05) for y in (-0.05, 0.05))
# Grey levels from red, green and blue, as formats without colours have them (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)
# Signatures are kept in bytes.
BYTE = 127
# Pictures that are looked at at once.
CHUNK = 256


@cache
def directions() -> Tensor:
    """Orthonormal directions `[CELLS * CELLS, NUMBERS]`, without the mean, the same in every run."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(CELLS * CELLS, NUMBERS, generator=random, dtype=torch.float64)
    basis: Tensor = torch.linalg.qr(drawn - drawn.mean(0)).Q
    return basis.float()


def signatures(images: Tensor) -> Tensor:
    """What is kept of known pictures `[N, 3, S, S]` uint8: signatures of them and of parts, int8 `[N, P, NUMBERS]`."""
    if not len(images):
        return torch.zeros(0, len(CENTRES) + len(CORNERS), NUMBERS, dtype=torch.int8)
    parts = [in_parts(part, (*CENTRES, *CORNERS)) for part in images.split(CHUNK)]
    return (BYTE * torch.cat(parts)).round().to(torch.int8)


def in_parts(images: Tensor, frames: tuple[tuple[float, float, float], ...]) -> Tensor:
    """Signatures `[N, P, NUMBERS]` of the parts of pictures; zero where a part is of one colour."""
    grey = torch.einsum("nchw,c->nhw", images.float(), torch.tensor(LUMA))[:, None]
    found = []
    for size, x, y in frames:
        theta = torch.tensor([[size, 0.0, x], [0.0, size, y]]).expand(len(images), 2, 3)
        # Several samples for each cell: it stands for all pixels in it.
        shape = [len(images), 1, 4 * CELLS, 4 * CELLS]
        grid = functional.affine_grid(theta, shape, align_corners=False)
        fine = functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)
        cells = functional.avg_pool2d(fine, 4).flatten(1)
        even = cells - cells.mean(1, keepdim=True)
        # Less than a grey level is noise.
        even = torch.where(even.std(1, keepdim=True) > 1, even, torch.zeros_like(even))
        found.append(functional.normalize(even @ directions(), dim=1))
    return torch.stack(found, 1)


def nearest_copy(images: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The largest cosine `[N]` of pictures `[N, 3, S, S]` with those of the signatures `known`, and which that is."""
    if not len(known) or not len(images):
        return torch.zeros(len(images)), torch.zeros(len(images), dtype=torch.long)
    flat = functional.normalize(known.flatten(0, 1).float(), dim=1)
    values, places = [], []
    for part in images.split(CHUNK):
        seen = torch.cat([in_parts(part, CENTRES), in_parts(part.flip(3), CENTRES)], 1)
        best = (seen @ flat.T).amax(1).max(1)
        values.append(best.values)
        places.append(best.indices // known.shape[1])
    return torch.cat(values), torch.cat(places)


def copies(images: Tensor, known: Tensor) -> Tensor:
    """Which pictures `[N]` are copies of those with the signatures `known`."""
    return nearest_copy(images, known)[0] >= COPY
