"""The features of a head, painted in its own coordinates so that they turn with it: eyes, brows, mouth, beard."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.faces.synthetic.canvas import Canvas, bell, soft, tilted
from plugins.faces.synthetic.colours import IRIS, along, tone


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
