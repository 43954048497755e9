"""Rendered faces: a head as an ellipsoid seen from the front, features painted on it, lit and photographed.

A pixel's ray (u, v, t) meets the head, turned by R, where  |S^-1 R' (u, v, t)| = 1 + h,  S the radii and h the relief
of nose, sockets, cheeks, lips and chin: a quadratic in t, solved again as h becomes known. Features are soft shapes in
the coordinates of the head, so that they turn with it; the light falls on the slope of t. Everything is one expression
over all pixels of all faces, `[N, H, W]`, and shapes end softly over one pixel. Lengths are half heights of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.faces.synthetic.people import GLASSES, HATS, OCCLUDED, SUNGLASSES, Numbers

SKIN = (
    (0.97, 0.82, 0.73),
    (0.91, 0.72, 0.58),
    (0.77, 0.56, 0.40),
    (0.56, 0.37, 0.26),
    (0.35, 0.22, 0.16),
)
HAIR = ((0.07, 0.05, 0.05), (0.22, 0.14, 0.09), (0.42, 0.28, 0.16), (0.86, 0.72, 0.45))
IRIS = ((0.28, 0.16, 0.08), (0.42, 0.33, 0.14), (0.27, 0.45, 0.30), (0.28, 0.48, 0.74))
RED_HAIR, GREY_HAIR = (0.58, 0.25, 0.10), (0.76, 0.76, 0.77)
# Points on a head's outline, from which its box is computed.
OUTLINE = 64


@dataclass(frozen=True)
class RenderedFaces:
    """N rendered faces.

    Attributes:
        colours: `[N, 3, H, W]` in 0..1, with a background.
        person: `[N, H, W]`, how much of each pixel is the person (head, hair, neck and clothes), 0..1.
        face: `[N, H, W]`, how much of it is the head's.
        boxes: `[N, 4]`, the heads without hair as (left, top, right, bottom) in pixels.
        landmarks: `[N, 5, 2]`, (x, y) of the eye to the left in the picture, the right one, nose, mouth's corners.
    """

    colours: Tensor
    person: Tensor
    face: Tensor
    boxes: Tensor
    landmarks: Tensor


def render(look: Numbers, side: int, centre: Tensor, scale: Tensor) -> RenderedFaces:
    """Render faces.

    Args:
        look: the traits and circumstances, `[N]` each.
        centre: `[N, 2]`, where the middle of the head is, in pixels.
        scale: `[N]`, half a head's height in pixels.
    """
    canvas = Canvas(look, side, centre, scale)
    behind(canvas)
    head(canvas)
    in_front(canvas)
    colours = photographed(canvas)
    return RenderedFaces(colours, canvas.person, canvas.face, canvas.boxes(), canvas.landmarks())


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


def behind(canvas: Canvas) -> None:
    """Background, clothes, neck, the hair at the back and the ears."""
    u, v, e = canvas.u, canvas.v, canvas.softness
    angle = canvas["behind_angle"]
    beyond = u * angle.cos() + v * angle.sin() - canvas["behind_offset"]
    canvas.paint(mixed(canvas, "background"), torch.ones_like(u))
    canvas.paint(mixed(canvas, "behind"), torch.sigmoid(beyond * 5))
    skin, hair = skin_colour(canvas), hair_colour(canvas)
    width = canvas["head_width"]
    lean = -0.15 * canvas["yaw"].sin()
    bulk = canvas["hair_volume"]
    top = (((u - lean) / (width * bulk)) ** 2 + (v / bulk) ** 2).sqrt() - 1
    beside = torch.maximum(
        (u - lean).abs() - width * bulk * (1 - 0.12 * v), canvas["hair_length"] - v
    )
    hair_behind = soft(torch.where(v > 0, top * 0.8, beside), e * 2)
    canvas.dress(hair * 0.72, hair_behind)
    canvas.dress(skin * 0.72, soft(torch.maximum(u.abs() - 0.55 * width, v + 0.55), e * 2))
    shoulders = ((u / 1.45) ** 2 + ((v + 2.05) / 0.85) ** 2).sqrt() - 1
    canvas.dress(mixed(canvas, "clothes"), soft(shoulders, e * 2))
    for sign in (-1.0, 1.0):
        place = canvas.turn[:, :, 0] * (sign * canvas.radii[:, :1]) - 0.1 * canvas.turn[:, :, 2]
        du, dv = u - place[:, 0, None, None], v - place[:, 1, None, None]
        size = canvas["ear_size"]
        ear = ((du / (0.75 * size)) ** 2 + (dv / (1.35 * size)) ** 2).sqrt() - 1
        # Long hair covers the ears.
        shown = torch.sigmoid((canvas["hair_length"] + 0.1) * 30)
        canvas.dress(skin * 0.82, soft(ear * size, e) * shown)


def head(canvas: Canvas) -> None:
    """The head: skin, features and front hair, in the light."""
    x, y, z, e = canvas.x, canvas.y, canvas.z, canvas.softness
    under = canvas.colours
    # Nothing is painted on the back of the head.
    front = torch.sigmoid(z * 12)
    skin, hair = skin_colour(canvas), hair_colour(canvas)
    canvas.colours = skin[:, :, None, None].expand_as(under)
    blush = bell((x.abs() - 0.42) / 0.2, (y + 0.25) / 0.2)
    canvas.paint(skin * tone(1.0, 0.62, 0.6), front * blush * canvas["blush"])
    mole = ((x - canvas["mole_x"]) ** 2 + (y - canvas["mole_y"]) ** 2).sqrt() - canvas["mole_size"]
    canvas.paint(skin * 0.3, front * soft(mole, e) * (canvas["mole_size"] > 0))
    beard(canvas, hair, front)
    mouth(canvas, skin, front)
    nostrils = bell(
        (x.abs() - 0.5 * canvas["nose_width"]) / 0.035,
        (y - canvas["eye_height"] + 1.05 * canvas["nose_length"]) / 0.025,
    )
    canvas.paint(skin * 0.35, front * nostrils * 0.8)
    eyes(canvas, skin, front)
    brows(canvas, hair, front)
    peak = canvas["widows_peak"] * 0.15 * bell(x / 0.2)
    line = canvas["hairline"] + canvas["parting"] * x * 0.5 - peak - 0.5 * x**2
    edge = torch.maximum(z / canvas["head_depth"] - 0.30, canvas["hair_length"].clamp(max=0.05) - y)
    hair_share = soft(torch.minimum(line - y, edge), e * 2)
    strands = 1 + 0.06 * torch.sin(x * 40 + y * 6)
    canvas.paint(hair[:, :, None, None] * strands[:, None], hair_share)
    shaded = canvas.colours * light(canvas)[:, None]
    canvas.colours = torch.lerp(under, shaded, canvas.face[:, None])
    canvas.person = torch.maximum(canvas.person, canvas.face)


def eyes(canvas: Canvas, skin: Tensor, front: Tensor) -> None:
    """Almonds with an iris that looks somewhere, and lids that may be shut."""
    x, y, e = canvas.x, canvas.y, canvas.softness
    side = torch.sign(x)
    dx, dy = tilted(x.abs() - canvas["eye_distance"], y - canvas["eye_height"], canvas["eye_tilt"])
    width = canvas["eye_width"]
    open_share = (1 - canvas["lids"].clamp(0, 1)) * canvas["squint"]
    height = width * canvas["eye_opening"]
    curve = (1 - (dx / width) ** 2).clamp(min=-0.5)
    upper, lower = height * curve * open_share, -0.6 * height * curve
    almond = soft(torch.maximum(dy - upper, lower - dy), e) * front
    socket = bell(dx / (1.5 * width), dy / (2.2 * height))
    canvas.paint(skin * tone(0.72, 0.66, 0.66), front * socket * 0.55)
    canvas.paint(torch.full_like(skin, 0.93), almond)
    radius = 0.085
    gaze_x, gaze_y = 0.08 * canvas["gaze_x"] * side, 0.05 * canvas["gaze_y"]
    distance = ((dx - gaze_x) ** 2 + (dy - 0.1 * height - gaze_y) ** 2).sqrt()
    iris = along(IRIS, canvas["iris_hue"]) * canvas["iris_lightness"][:, :, 0]
    canvas.paint(iris.clamp(0, 1), almond * soft(distance - radius, e))
    canvas.paint(iris * 0.1, almond * soft(distance - 0.4 * radius, e))
    within = torch.sigmoid((width * 1.05 - dx.abs()) * 60)
    canvas.paint(skin * 0.18, front * within * bell((dy - upper) / 0.02) * 0.9)
    canvas.paint(skin * 0.45, front * within * bell((dy - lower) / 0.014) * 0.4)
    crease = upper + 0.045 + 0.3 * height
    canvas.paint(skin * 0.5, front * within * bell((dy - crease) / 0.014) * 0.4)


def brows(canvas: Canvas, hair: Tensor, front: Tensor) -> None:
    """Arched strips above the eyes."""
    height = canvas["eye_height"] + canvas["brow_height"] + canvas["brow_raise"]
    dx = canvas.x.abs() - canvas["eye_distance"] - 0.01
    curve = canvas["brow_tilt"] * dx - canvas["brow_arch"] * 2.2 * dx**2
    taper = canvas["brow_thickness"] * (1 - (dx / 0.20) ** 2).clamp(min=-1)
    strip = (canvas.y - height - curve).abs() - taper
    canvas.paint(hair * 0.65, front * soft(strip, canvas.softness) * 0.85)


def mouth(canvas: Canvas, skin: Tensor, front: Tensor) -> None:
    """Two lips about a line that smiles, or about an open mouth with teeth."""
    across = canvas.x / canvas["mouth_width"]
    bow = canvas["smile"] * 0.13 * (across**2 - 0.5)
    dy = canvas.y - canvas["mouth_height"] - bow
    round_ = (1 - across**2).clamp(min=-1)
    gap = canvas["mouth_open"].clamp(min=0)
    upper = canvas["upper_lip"] * round_ * (1 - 0.45 * bell(across / 0.2)) + gap * 0.3 * round_
    lower = -canvas["lower_lip"] * round_ - gap * round_
    lips = soft(torch.maximum(dy - upper, lower - dy), canvas.softness)
    full_red = skin * 0.35 + tone(0.50, 0.12, 0.16)
    red = torch.lerp(skin * tone(0.85, 0.66, 0.64), full_red, canvas["lip_red"][:, :, 0])
    canvas.paint(red, front * lips)
    inside = soft(torch.maximum(dy - 0.3 * gap * round_, -gap * round_ - dy), canvas.softness)
    canvas.paint(skin * tone(0.25, 0.08, 0.08), front * inside * (gap > 0.01))
    teeth = bell((dy - 0.1 * gap) / (0.35 * gap + 1e-3)) * (gap > 0.02)
    canvas.paint(torch.full_like(skin, 0.9), front * inside * teeth * 0.85)
    line = bell(dy / 0.018) * torch.sigmoid((1.08 - across.abs()) * 25) * (gap <= 0.01)
    canvas.paint(skin * tone(0.32, 0.14, 0.14), front * line * 0.85)


def beard(canvas: Canvas, hair: Tensor, front: Tensor) -> None:
    """Hair on the lower face and above the lip, or stubble."""
    x, y = canvas.x, canvas.y
    rim = canvas["mouth_height"] + 0.16 + 0.9 * (x.abs() - 0.28).clamp(min=0)
    cheeks = torch.sigmoid((rim - y) * 16) * torch.sigmoid((x.abs() - 0.22) * 16 + 4 * (y < -0.62))
    lip_top = canvas["mouth_height"] + 0.10
    moustache = bell(x / (0.9 * canvas["mouth_width"]), (y - lip_top) / 0.055)
    strength = canvas["beard"].clamp(min=0) + canvas["stubble"] * (canvas["beard"] > -0.5)
    canvas.paint(hair * 0.9, front * (cheeks + moustache).clamp(0, 1) * strength.clamp(0, 0.92))


def in_front(canvas: Canvas) -> None:
    """Glasses, hats and whatever is held in front of the face."""
    x, y, u, v, e = canvas.x, canvas.y, canvas.u, canvas.v, canvas.softness
    front = torch.sigmoid(canvas.z * 12) * canvas.face
    worn = (canvas["glasses"] > GLASSES).float()
    frame = canvas["glasses_shade"][:, :, 0].expand(-1, 3)
    size = canvas["glasses_size"]
    dx, dy = x.abs() - canvas["eye_distance"] - 0.02, y - canvas["eye_height"] + 0.02
    lens = (dx**2 + (dy * 1.15) ** 2).sqrt() - size
    dark = 0.08 + 0.84 * (canvas["glasses"] > SUNGLASSES)
    canvas.paint(frame * 0.3, front * worn * soft(lens, e) * dark)
    arms = torch.maximum((dy - 0.06).abs() - 0.018, dx.abs() * 0 + size - dx)
    bridge = torch.maximum((dy - 0.05).abs() - 0.018, x.abs() - canvas["eye_distance"] + size)
    rims = torch.minimum(torch.minimum(lens.abs() - 0.02, bridge), arms)
    canvas.paint(frame, front * worn * soft(rims, e))
    brim = 0.42 + 0.1 * u**2
    cap = torch.maximum(brim - v, ((u / 0.92) ** 2 + (v / 1.18) ** 2).sqrt() - 1)
    canvas.dress(mixed(canvas, "clothes") * 0.8, soft(cap, e) * (canvas["hat"] > HATS))
    angle = canvas["occluder_angle"]
    du, dv = u - canvas["occluder_x"], v - canvas["occluder_y"]
    along_it, across_it = du * angle.cos() + dv * angle.sin(), dv * angle.cos() - du * angle.sin()
    thing = ((along_it / 2.2) ** 2 + across_it**2).sqrt() - canvas["occluder_size"]
    held = soft(thing, e) * (canvas["occlusion"] > OCCLUDED)
    canvas.dress(mixed(canvas, "occluder"), held)
    canvas.face = canvas.face * (1 - held)


def light(canvas: Canvas) -> Tensor:
    """How much light the slope of the depth sends to us, `[N, H, W]`."""
    across, up = torch.gradient(canvas.depth, dim=(2, 1))
    normal = torch.stack([-across * canvas.scale, up * canvas.scale, torch.ones_like(across)], 1)
    normal = torch.nn.functional.normalize(normal, dim=1)
    towards = torch.stack(
        [canvas["light_x"], canvas["light_y"], torch.ones_like(canvas["light_x"])], 1
    )
    towards = torch.nn.functional.normalize(towards, dim=1)
    facing = (normal * towards).sum(1).clamp(min=0)
    return canvas["ambient"] + (1.08 - canvas["ambient"]) * facing


def photographed(canvas: Canvas) -> Tensor:
    """White balance, exposure, gamma and grain; colours in 0..1."""
    warmth, tint = canvas["warmth"], canvas["tint"]
    gains = torch.stack([warmth, tint, -warmth], 1) + canvas["brightness"][:, None]
    colours = (canvas.colours * gains.exp()).clamp(1e-3, 1) ** canvas["gamma"].exp()[:, None]
    grain = torch.stack(
        [
            torch.randn(colours.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in (canvas["noise"].flatten().double() * 2**40).long().tolist()
        ]
    )
    return (colours + canvas["noise"][:, None] * grain).clamp(0, 1)


def skin_colour(canvas: Canvas) -> Tensor:
    shift = (canvas["skin_hue"][:, :, 0] - 0.5) * torch.tensor([-0.02, 0.05, -0.06])
    return (along(SKIN, canvas["skin_lightness"]) + shift).clamp(0, 1)


def hair_colour(canvas: Canvas) -> Tensor:
    plain = along(HAIR, canvas["hair_lightness"])
    red = torch.lerp(plain, tone(*RED_HAIR), (canvas["hair_red"][:, :, 0] - 0.6).clamp(0, 1))
    return torch.lerp(red, tone(*GREY_HAIR), canvas["hair_grey"][:, :, 0].clamp(0, 1))


def mixed(canvas: Canvas, thing: str) -> Tensor:
    """A thing's own colour `[N, 3]`."""
    return torch.cat([canvas[f"{thing}_{c}"][:, :, 0] for c in ("red", "green", "blue")], 1)


def tone(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([[red, green, blue]])


def along(palette: tuple[tuple[float, float, float], ...], share: Tensor) -> Tensor:
    """The colour `[N, 3]` a share `[N, 1, 1]` of the way along a palette."""
    colours = torch.tensor(palette)
    place = share.flatten().clamp(0, 1) * (len(palette) - 1)
    lower = place.long().clamp(max=len(palette) - 2)
    return torch.lerp(colours[lower], colours[lower + 1], (place - lower)[:, None])


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
