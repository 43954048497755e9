"""Rendered faces: a head as an ellipsoid seen from the front, features painted on it, lit and photographed.

Background, hair and clothes lie behind the head, glasses, hats and what is held in front of it; the light falls on the
slope of the head's depth. Where a pixel lies on the head is worked out in `canvas.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from plugins.faces.synthetic.canvas import Canvas, bell, soft
from plugins.faces.synthetic.colours import hair_colour, mixed, skin_colour, tone
from plugins.faces.synthetic.features import beard, brows, eyes, mouth
from plugins.faces.synthetic.people import GLASSES, HATS, OCCLUDED, SUNGLASSES, Numbers


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
