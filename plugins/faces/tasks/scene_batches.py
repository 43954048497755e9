"""Training batches of scenes: mirrored, with other light, and with boxes and landmarks jittered as a detector's are."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from framework import ranks
from framework.data import Order
from framework.randomness import generator
from plugins.faces.models.alignment import mirrored
from plugins.faces.models.face_finder import Located, SceneBatch
from plugins.faces.synthetic.scenes import Scenes


def scene_batches(
    scenes: Scenes, batch_size: int, box_jitter: float, seed: int, start: int
) -> Iterator[SceneBatch]:
    """Augmented batches from number `start` on; batch number k depends on the seed and k only.

    Of several processes each augments all of it and keeps its part: the same pictures as those of one process.
    """
    size = min(batch_size, len(scenes))
    for number, places in enumerate(Order(len(scenes), size, seed, start, divided=False), start):
        chosen = scenes.chosen(torch.tensor([index for _, index in places]))
        batch = augmented(chosen, number, box_jitter, generator(seed, "augmentation", number))
        yield batch if ranks.size() == 1 else batch.part(ranks.part(size))


def augmented(
    scenes: Scenes, number: int, box_jitter: float, random: torch.Generator
) -> SceneBatch:
    """A batch of scenes, half of them mirrored, with other colour gains.

    Args:
        number: the number of the batch.
        box_jitter: standard deviation of the jittered edges and landmarks, in heights of a face.
    """
    count, side = len(scenes), scenes.images.shape[-1]
    flip = torch.rand(count, generator=random) < 0.5
    x = torch.where(flip[:, None, None, None], scenes.images.flip(3), scenes.images).float()
    gain = (0.12 * torch.randn(count, 3, 1, 1, generator=random).clamp(-2, 2)).exp()
    images = (x * gain).clamp(0, 255)
    flipped = flip[scenes.image_index]
    left, top, right, bottom = scenes.boxes.unbind(1)
    mirror_boxes = torch.stack([side - right, top, side - left, bottom], 1)
    boxes = torch.where(flipped[:, None], mirror_boxes, scenes.boxes)
    landmarks = torch.where(
        flipped[:, None, None], mirrored(scenes.landmarks, side), scenes.landmarks
    )
    kept, ignored = ~scenes.ignored, scenes.ignored
    ignored_boxes = boxes[ignored]
    boxes, landmarks, index = boxes[kept], landmarks[kept], scenes.image_index[kept]
    deviation = box_jitter * (bottom - top)[kept][:, None]
    jittered = Located(
        boxes + deviation * torch.randn(boxes.shape, generator=random),
        landmarks + deviation[..., None] * torch.randn(landmarks.shape, generator=random),
        index,
    )
    return SceneBatch(
        images=images,
        boxes=boxes,
        landmarks=landmarks,
        people=scenes.people[kept],
        image_index=index,
        jittered=jittered,
        number=number,
        ignored=ignored_boxes,
        ignored_image_index=scenes.image_index[ignored],
    )
