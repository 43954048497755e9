"""Scenes in which a detector learns to find people in photographs without having seen one.

A scene is a collage: a photograph without people at the back; in front of it synthetic people with bodies
(`portraits.py`), and what is easily taken for a face (`distractors.py`), heads from behind, heads whose features stand
elsewhere, and faces so close that only a nose or an eye of them is seen. Then it is photographed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from framework.randomness import generator
from plugins.faces.synthetic.camera import photographed
from plugins.faces.synthetic.distractors import distractor
from plugins.faces.synthetic.portraits import Portraits
from plugins.faces.synthetic.scenes import Scenes
from plugins.faces.synthetic.textures import texture

# Pixels of a face's height.
SMALLEST, LARGEST = 11.0, 95.0
# The part of a face that others may hide until it is ignored, and until it is no face.
HALF_HIDDEN, HIDDEN = 0.35, 0.7
# Faces below this height in pixels are ignored.
TOO_SMALL = 12.0
# Faces beyond this height in pixels are ignored, and beyond the second one they count as background: a detector that
# looks at a photograph in several sizes sees noses and eyes as large as it knows faces.
LARGEST_SURE, TOO_CLOSE, LARGEST_CLOSE = 110.0, 140.0, 500.0
# The part of scenes without people, of those that are close-ups, and of those with rows of people; and the probability
# of something in front of a person.
EMPTY, CLOSE, IN_ROWS = 0.12, 0.12, 0.3
IN_FRONT = 0.15
# The part of people of whom only a picture hangs there, cut close to the face, and what it shows around the face in
# parts of the face: without hair and neck, what is inside a face has to do.
FRAMED, FRAME = 0.15, 0.06


@dataclass
class Face:
    """A face in a scene: box `[4]`, landmarks `[5, 2]`, whether it is unclear, and the part of it that is hidden."""

    box: Tensor
    landmarks: Tensor
    unclear: bool
    hidden: float = 0.0


def group_scenes(
    seed: int,
    first: int,
    count: int,
    side: int,
    people: Portraits,
    photographs: Sequence[Tensor],
    max_faces: int,
) -> Scenes:
    """Scenes `first` to `first + count - 1` of a seed; their people have no numbers (-1)."""
    images, faces, index = [], [], []
    for number in range(count):
        random = generator(seed, "group", first + number)
        image, found = group_scene(side, people, photographs, max_faces, random)
        images.append(image)
        faces += found
        index += [number] * len(found)
    return Scenes(
        torch.stack(images),
        torch.stack([face.box for face in faces]) if faces else torch.zeros(0, 4),
        torch.stack([face.landmarks for face in faces]) if faces else torch.zeros(0, 5, 2),
        torch.full((len(faces),), -1),
        torch.tensor(index, dtype=torch.long),
        torch.tensor([face.unclear for face in faces], dtype=torch.bool),
    )


def group_scene(
    side: int,
    people: Portraits,
    photographs: Sequence[Tensor],
    max_faces: int,
    random: torch.Generator,
) -> tuple[Tensor, list[Face]]:
    """One scene `[3, side, side]` uint8 and the faces in it."""
    scene = backdrop(photographs, side, random)
    faces: list[Face] = []
    for _ in range(int(torch.randint(0, 7, (), generator=random))):
        add_distractor(scene, faces, photographs, random)
    for height, x, y in positions(side, max_faces, random):
        who = int(torch.randint(len(people.layers), (), generator=random))
        framed = None
        if float(torch.rand((), generator=random)) < FRAMED:
            down, across = people.layers.shape[2:]
            framed = texture(photographs, down, across, random)
        add_person(scene, faces, people, who, height, x, y, framed)
        if float(torch.rand((), generator=random)) < IN_FRONT:
            add_distractor(scene, faces, photographs, random, 0.12)
    kept = [seen(face, side) for face in faces if face.hidden < HIDDEN]
    return photographed(scene, random), [face for face in kept if face is not None]


def positions(
    side: int, max_faces: int, random: torch.Generator
) -> list[tuple[float, float, float]]:
    """(height, x, y) of the people's faces, those behind first: alone, anywhere, or in rows of about one size."""
    kind, size, x, y = torch.rand(4, generator=random).tolist()
    if kind < EMPTY:
        return []
    if kind < EMPTY + CLOSE:
        return [(TOO_CLOSE * (LARGEST_CLOSE / TOO_CLOSE) ** size, side * x, side * y)]
    kind -= EMPTY + CLOSE
    count = int(torch.randint(1, max_faces + 1, (), generator=random))
    largest = LARGEST if count < 4 else LARGEST * (4 / count) ** 0.5
    if kind < IN_ROWS:
        typical = SMALLEST * (largest / SMALLEST) ** size
        heights = typical * (0.12 * torch.randn(count, generator=random)).exp()
        x = (torch.arange(count) * 1.35 * typical) % (1.1 * side)
        row = torch.div(torch.arange(count) * 1.35 * typical, 1.1 * side, rounding_mode="floor")
        start = 0.6 * float(torch.rand((), generator=random)) * side
        y = start + row * 1.1 * typical + 0.25 * typical * torch.randn(count, generator=random)
        x = x + 0.15 * typical * torch.randn(count, generator=random)
        places = torch.stack([heights, x, y], 1)
    else:
        heights = SMALLEST * (largest / SMALLEST) ** torch.rand(count, generator=random)
        places = torch.cat([heights[:, None], side * torch.rand(count, 2, generator=random)], 1)
    # People farther up stand farther away.
    order = (places[:, 2] + places[:, 0]).argsort()
    return [(h, x, y) for h, x, y in places[order].tolist() if h >= SMALLEST]


def backdrop(photographs: Sequence[Tensor], side: int, random: torch.Generator) -> Tensor:
    """What is behind everybody, `[3, side, side]`: a photograph, two beside each other, out of focus, or a wall."""
    kind, where, strength = torch.rand(3, generator=random).tolist()
    scene = texture(photographs, side, side, random)
    if kind < 0.2:
        edge = round(side * (0.2 + 0.6 * where))
        scene[:, edge:] = texture(photographs, side - edge, side, random)
    elif kind < 0.35:
        width = 2 * round(2 + 10 * strength) + 1
        scene = functional.avg_pool2d(scene[None], width, 1, width // 2, count_include_pad=False)[0]
    elif kind < 0.5:
        ends = torch.rand(2, 3, 1, 1, generator=random)
        slope = torch.linspace(0, 1, side)[None, :, None]
        scene = (ends[0] * slope + ends[1] * (1 - slope)) * (1 + 0.3 * strength * (scene - 0.5))
    return scene.clamp(0, 1)


def add_person(
    scene: Tensor,
    faces: list[Face],
    people: Portraits,
    who: int,
    height: float,
    x: float,
    y: float,
    framed: Tensor | None = None,
) -> None:
    """Paste a person so that the face has this height and its middle lies at (x, y).

    Args:
        framed: the wall of a picture of the face alone, `[3, h, w]`; None: the person, with a body.
    """
    box = people.boxes[who]
    factor = height / float(box[3] - box[1])
    layers = people.layers[who].float() / 255
    if framed is not None:
        layers = picture_of(layers, box, framed)
    size = tuple(max(2, round(n * factor)) for n in layers.shape[1:])
    small = functional.interpolate(
        layers[None], size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    across, down = size[1] / layers.shape[2], size[0] / layers.shape[1]
    factors = torch.tensor([across, down])
    corners = box.reshape(2, 2) * factors
    shift = (torch.tensor([x, y]) - corners.mean(0)).round()
    paste(scene, faces, small, int(shift[0]), int(shift[1]))
    if bool(people.face[who]) or bool(people.unclear[who]):
        if height >= TOO_CLOSE:
            return
        landmarks = people.landmarks[who] * factors + shift
        unclear = bool(people.unclear[who]) or not TOO_SMALL <= height <= LARGEST_SURE
        faces.append(Face((corners + shift).flatten(), landmarks, unclear))


def add_distractor(
    scene: Tensor,
    faces: Sequence[Face],
    photographs: Sequence[Tensor],
    random: torch.Generator,
    largest: float = 0.6,
) -> None:
    """Paste something that is no face, up to `largest` parts of the scene's side."""
    side = scene.shape[-1]
    size, x, y = torch.rand(3, generator=random).tolist()
    pixels = max(8, round(side * (0.06 + largest * size**2)))
    layers = distractor(photographs, pixels, random)
    half = [n // 2 for n in layers.shape[1:]]
    paste(scene, faces, layers, round(x * side) - half[1], round(y * side) - half[0])


def picture_of(layers: Tensor, box: Tensor, wall: Tensor) -> Tensor:
    """Layers of a person as those of a rectangular picture of the face `box` alone, in front of a wall `[3, h, w]`."""
    left, top, right, bottom = box.tolist()
    across, down = FRAME * (right - left), FRAME * (bottom - top)
    inside = torch.zeros(layers.shape[1:])
    inside[
        int(max(0, top - down)) : round(bottom + down),
        int(max(0, left - across)) : round(right + across),
    ] = 1
    colours = layers[:3] + wall * (1 - layers[3])
    return torch.cat([colours * inside, inside[None]])


def paste(scene: Tensor, faces: Sequence[Face], layers: Tensor, left: int, top: int) -> None:
    """Paste layers `[4, h, w]`, colours times coverage and coverage, and note which faces they hide."""
    height, width = scene.shape[1:]
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + layers.shape[2]), min(height, top + layers.shape[1])
    if x1 <= x0 or y1 <= y0:
        return
    cut = layers[:, y0 - top : y1 - top, x0 - left : x1 - left]
    scene[:, y0:y1, x0:x1] = scene[:, y0:y1, x0:x1] * (1 - cut[3]) + cut[:3]
    for face in faces:
        a, b, c, d = face.box.tolist()
        u0, v0, u1, v1 = (int(max(x0, a)), int(max(y0, b)), int(min(x1, c)), int(min(y1, d)))
        if u1 > u0 and v1 > v0:
            part = cut[3, v0 - y0 : v1 - y0, u0 - x0 : u1 - x0].sum()
            face.hidden += float(part) / max(1.0, (c - a) * (d - b))


def seen(face: Face, side: int) -> Face | None:
    """A face as far as it is inside the picture; None where too little of it is."""
    inside = face.box.clamp(0, side)
    whole = (face.box[2:] - face.box[:2]).prod()
    part = float((inside[2:] - inside[:2]).prod() / whole) * (1 - face.hidden)
    if part < 1 - HIDDEN:
        return None
    return Face(inside, face.landmarks, face.unclear or part < 1 - HALF_HIDDEN, face.hidden)
