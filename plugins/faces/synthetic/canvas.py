"""What a face is painted on: every pixel's place on the picture and on the head, an ellipsoid with a relief.

A pixel's ray (u, v, t) meets the head, turned by R, where  |S^-1 R' (u, v, t)| = 1 + h,  S the radii and h the relief
of nose, sockets, cheeks, lips and chin: a quadratic in t, solved again as h becomes known. Everything is one expression
over all pixels of all faces, `[N, H, W]`, and shapes end softly over one pixel. Lengths are half heights of the head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.faces.synthetic.people import Numbers

# Points on a head's outline, from which its box is computed.
OUTLINE = 64


class Canvas:
    """What is painted on: colours `[N, 3, H, W]`, and the coordinates of every pixel on the picture and on the head."""

    def __init__(self, look: Numbers, side: int, centre: Tensor, scale: Tensor) -> None:
        self.look = {name: value[:, None, None] for name, value in look.items()}
        self.centre, self.scale = centre, scale[:, None, None]
        self.softness = 1.2 / self.scale
        # [N, 3, 3]: head -> picture
        self.turn = rotation(look["yaw"], look["pitch"])
        self.radii = torch.stack(
            [look["head_width"], torch.ones_like(scale), look["head_depth"]], -1
        )
        pixel = torch.arange(side) + 0.5
        across = (pixel[None, None, :] - centre[:, 0, None, None]) / self.scale
        up = (centre[:, 1, None, None] - pixel[None, :, None]) / self.scale
        cosine, sine = self.look["roll"].cos(), self.look["roll"].sin()
        # [N, H, W], upright with the head
        self.u = across * cosine + up * sine
        self.v = up * cosine - across * sine
        self.meet()
        self.colours = torch.zeros(len(scale), 3, side, side)
        self.person = torch.zeros(len(scale), side, side)

    def __getitem__(self, name: str) -> Tensor:
        """A trait or circumstance, `[N, 1, 1]`."""
        return self.look[name]

    def taper(self, v: Tensor) -> Tensor:
        """How wide the head is at height v: the chin is narrower than the temples."""
        below = (0.15 - v).clamp(0, 1.3)
        shape = self["jaw_shape"].reshape(-1, *[1] * (v.dim() - 1))
        return 1 - self["jaw"].reshape(-1, *[1] * (v.dim() - 1)) * below**shape

    def meet(self) -> None:
        """Where the rays meet the head: `x, y, z` on it, `depth` towards us, and `face`, the share of each pixel."""
        u = self.u / self.taper(self.v)
        # Picture -> head.
        inverse = self.turn.transpose(1, 2)
        # [N, 2, H, W]
        flat = torch.stack([u, self.v], 1)
        base = torch.einsum("nij,njhw->nihw", inverse[:, :, :2], flat)
        ray = inverse[:, :, 2, None, None]
        radii = self.radii[:, :, None, None]
        base_r, ray_r = base / radii, ray / radii
        a, b = (ray_r**2).sum(1), (base_r * ray_r).sum(1)
        c = (base_r**2).sum(1)
        # Of each ray to the middle: 1 on the outline.
        nearest = (c - b**2 / a).clamp(min=0).sqrt()
        self.face = soft((nearest - 1) * 0.8, self.softness)
        self.depth = (-b + (b**2 - a * (c - 1)).clamp(min=1e-6).sqrt()) / a
        for _ in range(2):
            x, y, z = (base + self.depth[:, None] * ray).unbind(1)
            grown = (1 + self.relief(x, y) * (z > 0)) ** 2
            self.depth = (-b + (b**2 - a * (c - grown)).clamp(min=1e-6).sqrt()) / a
        self.x, self.y, self.z = (base + self.depth[:, None] * ray).unbind(1)

    def relief(self, x: Tensor, y: Tensor) -> Tensor:
        """How far the face stands out of the ellipsoid."""
        # 0 between the eyes, 1 at the tip.
        down = (self["eye_height"] - y) / self["nose_length"]
        width = self["nose_width"] * (0.5 + 0.5 * down.clamp(0, 1))
        nose = down.clamp(0, 1) * torch.sigmoid((1.1 - down) * 22) * bell(x / width)
        eye = bell((x.abs() - self["eye_distance"]) / 0.15, (y - self["eye_height"]) / 0.11)
        cheek = bell((x.abs() - 0.40) / 0.18, (y + 0.22) / 0.18)
        lips = bell(x / self["mouth_width"], (y - self["mouth_height"]) / 0.09)
        chin = bell(x / 0.22, (y + 0.86) / 0.13)
        return self["nose_height"] * nose - 0.06 * eye + 0.03 * cheek + 0.035 * lips + 0.05 * chin

    def paint(self, colour: Tensor, share: Tensor) -> None:
        """Colour `[N, 3]` or `[N, 3, H, W]` over what is there, by a share `[N, H, W]` of each pixel."""
        full = colour if colour.dim() == 4 else colour[:, :, None, None]
        self.colours = torch.lerp(self.colours, full.expand_as(self.colours), share[:, None])

    def dress(self, colour: Tensor, share: Tensor) -> None:
        """Paint something that belongs to the person."""
        self.paint(colour, share)
        self.person = torch.maximum(self.person, share)

    def to_picture(self, points: Tensor) -> Tensor:
        """Pixels `[N, K, 2]` of points `[N, K, 2]` of the upright picture."""
        u, v = points.unbind(-1)
        u = u * self.taper(v)
        roll = self["roll"][:, 0]
        across = u * roll.cos() - v * roll.sin()
        up = u * roll.sin() + v * roll.cos()
        return self.centre[:, None] + self.scale * torch.stack([across, -up], -1)

    def boxes(self) -> Tensor:
        """The outline of the turned ellipsoid, M^(1/2) times the circle with M = R S^2 R', and what encloses it."""
        spread = torch.einsum("nij,nj,nkj->nik", self.turn, self.radii**2, self.turn)[:, :2, :2]
        angle = torch.linspace(0, 2 * torch.pi, OUTLINE)
        circle = torch.stack([angle.cos(), angle.sin()])
        outline = (torch.linalg.cholesky(spread) @ circle).transpose(1, 2)
        pixels = self.to_picture(outline)
        return torch.cat([pixels.amin(1), pixels.amax(1)], -1)

    def landmarks(self) -> Tensor:
        """The five points on the head, turned into the picture."""
        one = torch.ones_like(self.scale[:, 0, 0])
        trait = {name: value[:, 0, 0] for name, value in self.look.items()}
        eye_x, eye_y = trait["eye_distance"], trait["eye_height"]
        tip = eye_y - 0.95 * trait["nose_length"]
        mouth_x, mouth_y = (
            0.95 * trait["mouth_width"],
            trait["mouth_height"] + 0.06 * trait["smile"],
        )
        x = torch.stack([-eye_x, eye_x, 0 * one, -mouth_x, mouth_x], 1)
        y = torch.stack([eye_y, eye_y, tip, mouth_y, mouth_y], 1)
        width, depth = trait["head_width"][:, None], trait["head_depth"][:, None]
        grown = (1 + self.relief(x[:, :, None], y[:, :, None])[:, :, 0]) ** 2
        z = depth * (grown - (x / width) ** 2 - y**2).clamp(min=0).sqrt()
        points = torch.einsum("nij,nkj->nki", self.turn, torch.stack([x, y, z], -1))
        return self.to_picture(points[..., :2])


def soft(distance: Tensor, softness: Tensor) -> Tensor:
    """1 inside a shape, 0 outside, over `softness` between; `distance` is negative inside."""
    return (0.5 - distance / softness).clamp(0, 1)


def bell(*distances: Tensor) -> Tensor:
    """exp(-sum of squares)."""
    return torch.exp(-sum((d**2 for d in distances[1:]), distances[0] ** 2))


def tilted(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def rotation(yaw: Tensor, pitch: Tensor) -> Tensor:
    """`[N, 3, 3]`: first nod by the pitch, then turn by the yaw."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    turn = torch.stack(
        [yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos()], -1
    )
    nod = torch.stack(
        [one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos()], -1
    )
    return turn.reshape(-1, 3, 3) @ nod.reshape(-1, 3, 3)
