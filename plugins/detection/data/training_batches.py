"""Training images in batches: augmented, with mosaic and mixup until the last part, at changing sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from framework.data import batches
from framework.randomness import generator
from plugins.detection.data.augmentation import Augmentation, Augmented
from plugins.detection.data.resizing import resize_batch
from plugins.detection.sample import Batch, Source, collate


@dataclass(frozen=True)
class TrainingBatches:
    """Batches of a source's images without end; number k is the same wherever a run starts.

    Args:
        size: the longer side of the images; size_divisor: what their sides are padded to a multiple of.
        batch_size: at most as many as there are images.
        multi_scale: sizes are drawn from 1 - multi_scale to 1 + multi_scale times the images' own.
        plain_from: the number of the first batch without mosaic and mixup.
        workers, timeout: as in `framework.data.batches`.
    """

    source: Source
    augmentation: Augmentation
    size: int
    batch_size: int
    size_divisor: int
    multi_scale: float = 0.0
    plain_from: int = 0
    workers: int = 0
    timeout: float = 600.0

    def start(self, seed: int, number: int) -> Iterator[Batch]:
        """Batches from `number` on."""
        for place, batch in enumerate(self.at_one_size(seed, number), number):
            yield self.at_random_scale(batch, seed, place)

    def at_one_size(self, seed: int, start: int) -> Iterator[Batch]:
        """Batches before multi-scale resizing: with mosaic and mixup first, without from `plain_from` on."""
        strong = self.augmentation.mosaic + self.augmentation.mixup > 0
        plain_from = self.plain_from if strong else 0
        if start < plain_from:
            augmented = self.stream(seed, start, plain=False)
            for _ in range(start, plain_from):
                yield next(augmented)
        yield from self.stream(seed, max(start, plain_from), plain=True)

    def stream(self, seed: int, start: int, *, plain: bool) -> Iterator[Batch]:
        source = Augmented(self.source, self.augmentation, self.size, plain=plain)
        return batches(
            source,
            min(self.batch_size, len(source)),
            seed,
            start,
            workers=self.workers,
            collate=partial(collate, size_divisor=self.size_divisor),
            timeout=self.timeout,
        )

    def at_random_scale(self, batch: Batch, seed: int, number: int) -> Batch:
        """Batch `number` at a random size."""
        if not self.multi_scale:
            return batch
        draw = 2 * float(torch.rand((), generator=generator(seed, "scale", number))) - 1
        height, width = (
            max(
                self.size_divisor,
                self.size_divisor * round(side * (1 + self.multi_scale * draw) / self.size_divisor),
            )
            for side in batch.images.shape[-2:]
        )
        return resize_batch(batch, height, width)
