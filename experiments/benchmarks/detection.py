"""Training throughput of the nano detector against torchvision's ssdlite320 on the same images.

Run: python -m experiments.benchmarks.detection [BATCH]
     python -m experiments.benchmarks.detection peers DATA_FOLDER    # other detectors; `detection_peers.py`

Forward, losses, backward and an optimiser's step on images of 320 x 320 with 6 objects each, both with AdamW, on one
thread, timed in turn within one run by CPU time. The bar: nano needs at most a third of ssdlite320's time an image. The
ratio counts; the numbers themselves belong to the machine. Both learn all their parameters from random weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from experiments.benchmarks.pairs import ratio, report
from experiments.command import given_arguments
from plugins.detection.models.anchor_free import nano
from plugins.detection.sample import Batch

SIDE, OBJECTS, CLASSES = 320, 6, 7


def images(count: int) -> Batch:
    """Noise with boxes: what is in the pictures takes no time."""
    draw = torch.Generator().manual_seed(0)
    low = 200 * torch.rand(count * OBJECTS, 2, generator=draw)
    size = 16 + 100 * torch.rand(count * OBJECTS, 2, generator=draw)
    return Batch(
        torch.randint(0, 256, (count, 3, SIDE, SIDE), generator=draw, dtype=torch.uint8),
        torch.cat([low, low + size], 1),
        torch.randint(0, CLASSES, (count * OBJECTS,), generator=draw),
        torch.arange(count).repeat_interleave(OBJECTS),
    )


def training_step(
    model: torch.nn.Module, losses: Callable[[], dict[str, Tensor]]
) -> Callable[[], None]:
    """One optimiser step."""
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        torch.stack([loss.mean() for loss in losses().values()]).sum().backward()
        optimizer.step()

    return step


def main(count: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batch = images(count)
    own = nano(CLASSES)
    own.mean_objects_per_image = float(OBJECTS)
    theirs = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1
    )
    pictures = list(batch.images.float() / 255)
    targets = [
        {"boxes": boxes, "labels": labels + 1}
        for boxes, labels in (batch.objects_of(image) for image in range(count))
    ]
    found = ratio(
        training_step(own, lambda: own.losses(batch)),
        training_step(theirs, lambda: theirs(pictures, targets)),
        rounds=5,
        seconds=0.1,
    )
    report(f"nano / ssdlite320, a training step of {count} images", found, 1 / 3)
    print(f"  {1000 * found[1] / count:.0f} ms an image against {1000 * found[2] / count:.0f} ms")


if __name__ == "__main__":
    given = given_arguments(__doc__)
    if given[:1] == ["peers"]:
        from experiments.benchmarks import detection_peers

        detection_peers.main(given[1:])
    else:
        main(int((given_arguments(__doc__, most=1) or ["4"])[0]))
