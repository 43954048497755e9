"""Synthetic people for realistic scenes: wider poses and light than in `people.py`, real textures, a body, and cut out.

Rendered faces are smooth. Where real ones have pores, cloth and strands, the detail of photographs is laid over them,
so that a detector learns what faces have in common, not what the renderer draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from framework.randomness import generator
from plugins.faces.synthetic.people import circumstances, traits
from plugins.faces.synthetic.rendering import RenderedFaces, render
from plugins.faces.synthetic.textures import texture

# Pixels of the square with head and shoulders, of half a head's height in it, and of the body below.
SQUARE, HALF_HEAD, BODY = 112, 30.0, 88
# The middle of the head, in parts of the square.
MIDDLE = (0.5, 0.43)
# People rendered at once.
CHUNK = 32
# How much wider than in `people.py` circumstances spread.
WIDER = {
    "yaw": 1.7,
    "pitch": 1.6,
    "roll": 1.7,
    "smile": 1.6,
    "light_x": 1.6,
    "light_y": 1.4,
    "gaze_x": 1.4,
    "mouth_open": 1.5,
}
# People smile at cameras.
SMILE, TEETH = 0.35, 0.03
# The part of people who show the back of their head, and of those with shuffled features.
AWAY, SHUFFLED = 0.08, 0.06
# The turn of a head in radians up to which it shows a face, and from which it does not.
FACING, TURNED = 1.1, 1.5
# The part of a rendered head, from its top, that is above the hairline: the box of a face begins below.
FOREHEAD = 0.16


@dataclass(frozen=True)
class Portraits:
    """N people with head, shoulders and body.

    Attributes:
        layers: `[N, 4, SQUARE + BODY, SQUARE]` uint8: colours times coverage, and coverage.
        boxes: `[N, 4]` of the faces, from hairline to chin; landmarks: `[N, 5, 2]`; both in pixels of the layers.
        face: `[N]` bool, whether a face is seen; unclear: `[N]` bool, whether that is a matter of opinion.
    """

    layers: Tensor
    boxes: Tensor
    landmarks: Tensor
    face: Tensor
    unclear: Tensor


def portraits(seed: int, count: int, photographs: Sequence[Tensor]) -> Portraits:
    """People number 0 to `count - 1` of a seed."""
    parts = [
        some_portraits(seed, range(begin, min(begin + CHUNK, count)), photographs)
        for begin in range(0, count, CHUNK)
    ]
    return Portraits(
        torch.cat([part.layers for part in parts]),
        torch.cat([part.boxes for part in parts]),
        torch.cat([part.landmarks for part in parts]),
        torch.cat([part.face for part in parts]),
        torch.cat([part.unclear for part in parts]),
    )


def some_portraits(seed: int, numbers: range, photographs: Sequence[Tensor]) -> Portraits:
    """These people, rendered together."""
    look = traits(seed, numbers) | circumstances(seed, numbers, [0] * len(numbers))
    look |= {name: look[name] * factor for name, factor in WIDER.items()}
    look["hat"] = look["hat"].sqrt()
    look["smile"] = look["smile"] + SMILE
    look["mouth_open"] = look["mouth_open"] + TEETH
    random = generator(seed, "portraits", numbers.start)
    away = torch.rand(len(numbers), generator=random) < AWAY
    shuffled = (torch.rand(len(numbers), generator=random) < SHUFFLED) & ~away
    look["yaw"] = look["yaw"] + math.pi * away
    centre = SQUARE * torch.tensor(MIDDLE).expand(len(numbers), 2)
    rendered = render(look, SQUARE, centre, torch.full((len(numbers),), HALF_HEAD))
    layers = [
        textured(rendered, k, bool(shuffled[k]), photographs, generator(seed, "cloth", number))
        for k, number in enumerate(numbers)
    ]
    turn = look["yaw"].abs()
    boxes = rendered.boxes.clone()
    boxes[:, 1] += FOREHEAD * (boxes[:, 3] - boxes[:, 1])
    return Portraits(
        torch.stack(layers),
        boxes,
        rendered.landmarks,
        (turn < FACING) & ~shuffled,
        (turn >= FACING) & (turn < TURNED),
    )


def textured(
    rendered: RenderedFaces,
    k: int,
    shuffled: bool,
    photographs: Sequence[Tensor],
    random: torch.Generator,
) -> Tensor:
    """One person's layers `[4, SQUARE + BODY, SQUARE]` uint8."""
    colours, person, face = rendered.colours[k], rendered.person[k], rendered.face[k]
    if shuffled:
        colours = with_shuffled_features(colours, rendered.boxes[k], random)
    fine = texture(photographs, SQUARE, SQUARE, random).mean(0)
    detail = fine - functional.avg_pool2d(fine[None], 9, 1, 4, count_include_pad=False)[0]
    rough = torch.randn(1, 1, 5, 5, generator=random)
    slow = functional.interpolate(rough, (SQUARE, SQUARE), mode="bicubic", align_corners=False)
    skin, elsewhere, shade = torch.rand(3, generator=random).tolist()
    strength = 0.25 * skin * face + 0.9 * elsewhere * (1 - face)
    colours = colours * (1 + strength * detail) * (0.3 * shade * slow[0, 0]).exp()
    cloth = texture(photographs, SQUARE + BODY, SQUARE, random)
    box = rendered.boxes[k]
    chin = int((box[3] + 0.12 * (box[3] - box[1])).clamp(0, SQUARE - 1))
    worn = person[chin:] * (1 - face[chin:])
    plain = float(torch.rand((), generator=random)) < 0.4
    if not plain:
        colours[:, chin:] = torch.lerp(colours[:, chin:], cloth[:, chin:SQUARE], worn)
    colours = (colours.clamp(0, 1)) * person
    below = person[-1].expand(BODY, SQUARE)
    lower = (cloth[:, SQUARE:] if not plain else colours[:, -1:].expand(3, BODY, SQUARE)) * below
    layers = torch.cat([torch.cat([colours, lower], 1), torch.cat([person, below])[None]])
    return (255 * layers).round().to(torch.uint8)


def with_shuffled_features(colours: Tensor, box: Tensor, random: torch.Generator) -> Tensor:
    """A head whose features stand elsewhere: upside down, or quarters exchanged. No face."""
    left, top, right, bottom = (int(n) for n in box)
    width, height = (right - left) // 8, (bottom - top) // 8
    area = (slice(top + 2 * height, bottom - height), slice(left + width, right - width))
    inner = colours[:, area[0], area[1]]
    kind = float(torch.rand((), generator=random))
    if kind < 0.4:
        inner = inner.flip(1)
    elif kind < 0.7:
        inner = inner.roll(inner.shape[1] // 2, 1)
    else:
        inner = inner.roll((inner.shape[1] // 3, inner.shape[2] // 2), (1, 2))
    changed = colours.clone()
    changed[:, area[0], area[1]] = inner
    return changed
