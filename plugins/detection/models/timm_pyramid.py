"""A feature pyramid and the anchor-free head on a backbone of timm's: `task.model=timm`.

    task.model_options.backbone=resnet18 [task.model_options.weights=FILE]

Any of timm's backbones that gives maps of strides 8, 16 and 32. Nothing is downloaded: parameters are random, or those
of a file, matched by name and shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from framework import UserError
from framework.config.types import Positive
from framework.extras import import_extra
from plugins.detection.models.anchor_free import AnchorFree, IouType
from plugins.detection.models.weights import start_from_file

STRIDES = (8, 16, 32)
# What timm's published parameters expect.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NECK, HEAD = 96, 128


class TimmPyramid(nn.Module):
    """Images to maps of strides 8, 16 and 32 of `neck` channels each, on a backbone of timm's."""

    network: nn.Module
    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: str, neck: int) -> None:
        super().__init__()
        timm: Any = import_extra("timm", "timm", "task.model=timm needs the package timm")
        try:
            network: Any = timm.create_model(backbone, pretrained=False, features_only=True)
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise UserError(f"task.model_options.backbone = '{backbone}': {reason}") from None
        strides = list(network.feature_info.reduction())
        if not set(STRIDES) <= set(strides):
            raise UserError(
                f"task.model_options.backbone = '{backbone}': maps of strides {strides}; expected 8, 16 and 32"
            )
        self.places = [strides.index(stride) for stride in STRIDES]
        self.network = network
        channels = network.feature_info.channels()
        self.lateral = nn.ModuleList(nn.Conv2d(channels[i], neck, 1) for i in self.places)
        for name, values in (("mean", MEAN), ("deviation", DEVIATION)):
            self.register_buffer(name, 255 * torch.tensor(values).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        found = self.network((images.float() - self.mean) / self.deviation)
        maps = [side(found[i]) for i, side in zip(self.places, self.lateral, strict=True)]
        for fine in reversed(range(len(maps) - 1)):
            above = functional.interpolate(maps[fine + 1], scale_factor=2.0, mode="nearest")
            maps[fine] = maps[fine] + above
        return maps


class TimmDetector(AnchorFree):
    """The anchor-free head on a backbone of timm's."""

    def __init__(
        self, classes: int, backbone: str, weights: str | None, iou_type: IouType, box_weight: float
    ) -> None:
        super().__init__(
            classes, (8,) * 5, (0,) * 5, 3, NECK, HEAD, iou_type=iou_type, box_weight=box_weight
        )
        pyramid = TimmPyramid(backbone, NECK)
        self.pyramid = pyramid
        if weights is not None:
            path = Path(weights).expanduser()
            start_from_file(pyramid.network, path, "task.model_options.weights")
            self.freeze_batch_norm()


def timm(
    classes: int,
    *,
    backbone: str,
    weights: str | None = None,
    iou_type: IouType = "giou",
    box_weight: Positive = 5.0,
) -> TimmDetector:
    """timm's backbone `backbone` with maps of stride 8, 16 and 32; `weights`: a file with its parameters."""
    return TimmDetector(classes, backbone, weights, iou_type, box_weight)
