"""Synthetic scenes: faces of 10 to 60 pixels among clutter and distractors that look a little like faces.

Scene k of a seed shows people drawn from the stream (seed, "scene", k), each in a new picture. Where two people
overlap, the one with the larger face is in front, and no face is hidden beyond `MAX_OVERLAP`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from framework.randomness import generator
from plugins.detection.boxes import area, overlap, pairwise_iou
from plugins.detection.sample import Sample
from plugins.faces.synthetic.colours import HAIR, SKIN
from plugins.faces.synthetic.crops import as_bytes
from plugins.faces.synthetic.people import circumstances, traits
from plugins.faces.synthetic.rendering import RenderedFaces, render

# Pixels of the square in which a person is rendered before being pasted into a scene.
PATCH = 64
# Pixels of a head's height.
SMALLEST, LARGEST = 10.0, 60.0
# The part of a face's box that another's may cover.
MAX_OVERLAP = 0.35
# Scenes whose people are rendered together.
AT_ONCE = 16
# Positions that are tried for a person, each with a smaller size.
TRIES = 12


@dataclass(frozen=True)
class Scenes:
    """Scenes with the faces in them.

    Attributes:
        images: `[N, 3, S, S]` uint8.
        boxes: `[M, 4]`, landmarks: `[M, 5, 2]`, in pixels of the scene.
        people: `[M]`, counted from the first of the people that may appear; -1: unknown.
        image_index: `[M]`, rising, the scene that a face is in.
        ignored: `[M]` bool, faces whose detection is neither required nor an error.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    people: Tensor
    image_index: Tensor
    ignored: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def chosen(self, which: Tensor) -> Scenes:
        """Some scenes `[K]`, in that order."""
        place = torch.full((len(self.images),), -1)
        place[which] = torch.arange(len(which))
        mine = place[self.image_index]
        kept = mine.argsort(stable=True)[int((mine < 0).sum()) :]
        return Scenes(
            self.images[which],
            self.boxes[kept],
            self.landmarks[kept],
            self.people[kept],
            mine[kept],
            self.ignored[kept],
        )

    def sample(self, index: int) -> Sample:
        """One scene in the detection plugin's form."""
        mine = self.image_index == index
        boxes = self.boxes[mine]
        labels = torch.zeros(len(boxes), dtype=torch.long)
        size = (self.images.shape[-2], self.images.shape[-1])
        ignored = self.ignored[mine]
        return Sample(self.images[index], boxes, labels, ignored, area(boxes), index, size)


@dataclass(frozen=True)
class Place:
    """Where a person stands: the scene, who and which picture, the head's height and its middle in pixels."""

    scene: int
    person: int
    picture: int
    height: float
    x: float
    y: float


# A study renders its scenes once.
@lru_cache(maxsize=4)
def synthetic_scenes(
    seed: int, first: int, count: int, side: int, first_person: int, people: int, max_faces: int
) -> Scenes:
    """Scenes `first` to `first + count - 1`, with up to `max_faces` of the people from `first_person` on."""
    images: list[Tensor] = []
    # Box, landmarks, person, scene.
    faces: list[tuple[Tensor, Tensor, int, int]] = []
    for begin in range(0, count, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, count))
        places = [p for n in numbers for p in arranged(seed, first + n, n, side, people, max_faces)]
        canvases = [background(seed, first + n, side) for n in numbers]
        rendered = portraits(seed, first_person, places) if places else None
        for number, place in enumerate(places):
            assert rendered is not None
            box, landmarks = paste(canvases[place.scene - begin], rendered, number, place)
            faces.append((box, landmarks, place.person, place.scene))
        images += [as_bytes(canvas) for canvas in canvases]
    return Scenes(
        torch.stack(images),
        torch.stack([f[0] for f in faces]) if faces else torch.zeros(0, 4),
        torch.stack([f[1] for f in faces]) if faces else torch.zeros(0, 5, 2),
        torch.tensor([f[2] for f in faces], dtype=torch.long),
        torch.tensor([f[3] for f in faces], dtype=torch.long),
        torch.zeros(len(faces), dtype=torch.bool),
    )


def arranged(
    seed: int, scene: int, index: int, side: int, people: int, max_faces: int
) -> list[Place]:
    """Who stands where, small faces first; a scene may be empty."""
    random = generator(seed, "scene", scene)
    count = int(torch.randint(0, max_faces + 1, (), generator=random))
    who = torch.randperm(people, generator=random)[:count].tolist()
    taken: list[Place] = []
    for number, person in enumerate(who):
        largest = LARGEST
        for _ in range(TRIES):
            share, x, y = torch.rand(3, generator=random).tolist()
            height = SMALLEST * (largest / SMALLEST) ** (share**0.7)
            margin = 0.6 * height
            x, y = (margin + part * (side - 2 * margin) for part in (x, y))
            candidate = Place(index, person, scene * 100 + number, height, x, y)
            if fits(candidate, taken):
                taken.append(candidate)
                break
            largest = max(SMALLEST * 1.5, largest * 0.9)
    return sorted(taken, key=lambda place: place.height)


def fits(place: Place, taken: Sequence[Place]) -> bool:
    """Whether no face would be hidden too far."""
    if not taken:
        return True
    own, others = rough_box(place)[None], torch.stack([rough_box(other) for other in taken])
    both, _ = overlap(own, others)
    hidden = both / torch.minimum(area(own), area(others))
    return bool((hidden < MAX_OVERLAP).all() and (pairwise_iou(own, others) < MAX_OVERLAP).all())


def rough_box(place: Place) -> Tensor:
    """A head's approximate box before it is rendered; it is larger below, where shoulders hide others."""
    half = place.height / 2
    return torch.tensor(
        [place.x - half, place.y - 1.1 * half, place.x + half, place.y + 1.3 * half]
    )


def portraits(seed: int, first_person: int, places: Sequence[Place]) -> RenderedFaces:
    """Each person in a square of its own, with the head a little above its middle."""
    who = [first_person + place.person for place in places]
    which = [place.picture for place in places]
    look = traits(seed, who) | circumstances(seed, who, which)
    centre = torch.tensor([[PATCH / 2, PATCH * 0.46]]).expand(len(who), 2)
    return render(look, PATCH, centre, torch.full((len(who),), PATCH * 0.36))


def paste(
    scene: Tensor, rendered: RenderedFaces, number: int, place: Place
) -> tuple[Tensor, Tensor]:
    """Paste a rendered person into a scene `[3, S, S]`; returns the box `[4]` and the landmarks `[5, 2]` there."""
    box, side = rendered.boxes[number], scene.shape[-1]
    factor = place.height / float(box[3] - box[1])
    size = max(4, round(PATCH * factor))
    factor = size / PATCH
    share = rendered.person[number]
    layers = torch.cat([rendered.colours[number] * share, share[None]])[None]
    small = functional.interpolate(
        layers, (size, size), mode="bilinear", antialias=True, align_corners=False
    )[0]
    left = round(place.x - factor * float(box[0] + box[2]) / 2)
    top = round(place.y - factor * float(box[1] + box[3]) / 2)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(side, left + size), min(side, top + size)
    cut = small[:, y0 - top : y1 - top, x0 - left : x1 - left]
    scene[:, y0:y1, x0:x1] = scene[:, y0:y1, x0:x1] * (1 - cut[3]) + cut[:3]
    shift = torch.tensor([left, top])
    moved = (box.reshape(2, 2) * factor + shift).flatten().clamp(0, side)
    return moved, rendered.landmarks[number] * factor + shift


def background(seed: int, scene: int, side: int) -> Tensor:
    """A wall with light from somewhere, clutter, and things in the colours and shapes of heads: `[3, S, S]`."""
    random = generator(seed, "background", scene)
    y, x = torch.meshgrid(torch.linspace(-1, 1, side), torch.linspace(-1, 1, side), indexing="ij")
    ends = torch.rand(4, 3, 1, 1, generator=random)
    angle = float(torch.rand((), generator=random)) * 2 * math.pi
    along = 0.5 + 0.35 * (x * math.cos(angle) + y * math.sin(angle))
    image = ends[0] * along + ends[1] * (1 - along)
    waves = torch.rand(3, generator=random).tolist()
    texture = torch.sin((x * waves[0] + y * (1 - waves[0])) * (8 + 60 * waves[1]))
    image = image + 0.12 * waves[2] * texture
    for _ in range(int(torch.randint(3, 10, (), generator=random))):
        image = with_thing(image, x, y, random)
    coarse = torch.randn(1, 3, side // 4, side // 4, generator=random)
    grain = functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)[0]
    return (image + 0.03 * grain).clamp(0, 1)


def with_thing(image: Tensor, x: Tensor, y: Tensor, random: torch.Generator) -> Tensor:
    """A box, a bar, a ball, a head without a face, or a ball with two dots."""
    kind, cx, cy, size, slim, turn, shade = torch.rand(7, generator=random).tolist()
    colour = torch.rand(3, 1, 1, generator=random)
    # The colours of skin or hair.
    if kind > 0.5:
        palette = torch.tensor(SKIN if kind > 0.65 else HAIR)
        colour = palette[int(shade * len(palette))][:, None, None]
    dx, dy = x - (2 * cx - 1), y - (2 * cy - 1)
    angle = (turn - 0.5) * (math.pi if kind < 0.5 else 0.6)
    u = dx * math.cos(angle) + dy * math.sin(angle)
    v = dy * math.cos(angle) - dx * math.sin(angle)
    radius = 0.06 + 0.3 * size**2
    pixel = 2 / x.shape[-1]
    if kind < 0.3:
        distance = torch.maximum(u.abs() - radius, v.abs() - radius * (0.15 + slim))
    else:
        distance = ((u / radius) ** 2 + (v / (radius * (1.1 + 0.3 * slim))) ** 2).sqrt() - 1
        distance = distance * radius
    inside = (0.5 - distance / pixel).clamp(0, 1)
    lit = colour * (0.75 + 0.35 * (1 - (u + v) / radius).clamp(0, 2) / 2)
    # Buttons and sockets have two holes as well.
    if kind > 0.85:
        holes = ((u.abs() - 0.35 * radius) ** 2 + (v - (slim - 0.5) * radius) ** 2).sqrt()
        dark = (0.5 - (holes - 0.14 * radius) / pixel).clamp(0, 1)
        lit = lit * (1 - 0.85 * dark)
    changed: Tensor = image * (1 - inside) + lit * inside
    return changed
