"""torchvision's detectors, adapted to this plugin's conventions.

These networks resize images themselves (switched off here: the data's `size` is what the network gets), some count the
background as class 0, none accepts a box without an area, and their losses are means over a batch. Weights come from a
file or from torch's folder of downloads; nothing is ever downloaded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import detection as zoo
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from framework import UserError
from framework.tensor_files import read_tensors
from plugins.detection.models.detector import Detector
from plugins.detection.models.weights import BEFORE, fitting, stripped, take
from plugins.detection.sample import Batch, Detections

# The name of the published weights, where torch has downloaded them before.
CACHED = "coco"
# Where torchvision's detectors keep a classifier's layers.
BACKBONES = ("backbone.body.", "backbone.", "backbone.features.")


@dataclass(frozen=True)
class Architecture:
    """One of torchvision's detectors.

    Attributes:
        build: builds the network.
        weights: torchvision's description of its published weights.
        background: how many classes come before label 0: 1 where the background is a class.
        class_head_prefixes: prefixes of the parameters whose shapes depend on the number of classes.
    """

    build: Callable[..., nn.Module]
    weights: Any
    background: int
    class_head_prefixes: tuple[str, ...]


class Unresized(GeneralizedRCNNTransform):  # type: ignore[misc]
    """torchvision's transform without resizing: images are only normalised."""

    def __init__(self, mean: list[float], deviation: list[float]) -> None:
        super().__init__(0, 0, mean, deviation, size_divisible=1)

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


class TorchvisionDetector(Detector):
    """A detector from torchvision.

    Args:
        architecture: which.
        weights: a file with its parameters, or with those of its backbone alone; "coco": the published ones, where
            torch has downloaded them; None: random. The class heads are loaded only where the number of classes is the
            same. Batch normalisation is then frozen.

    Raises:
        UserError: no such file, or one for another network.
    """

    def __init__(self, classes: int, architecture: Architecture, weights: str | None) -> None:
        super().__init__(classes)
        self.background = architecture.background
        self.class_head_prefixes = tuple(
            f"network.{part}" for part in architecture.class_head_prefixes
        )
        self.network = architecture.build(
            weights=None, weights_backbone=None, num_classes=classes + architecture.background
        )
        built: Any = self.network.transform
        self.network.transform = Unresized(built.image_mean, built.image_std)
        if weights is not None:
            given = read_weights(weights, architecture)
            if is_backbone(given, self.network):
                taken = take(self.network, given, places=BACKBONES)
                print(f"task.model_options.weights: {taken.line(Path(weights))}", file=sys.stderr)
            else:
                load_weights(self.network, given, architecture.class_head_prefixes)
            self.freeze_batch_norm()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The network's own terms, scalars: means over the batch."""
        targets = [self.target(*batch.objects_of(i)) for i in range(len(batch.images))]
        found: dict[str, Tensor] = self.network(list(batch.images / 255), targets)
        return found

    def target(self, boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The objects of an image in torchvision's form; boxes without an area are left out."""
        whole = (boxes[:, 2:] > boxes[:, :2]).all(1)
        return {"boxes": boxes[whole], "labels": labels[whole] + self.background}

    def detect(
        self, images: Tensor, max_detections: int = 100, score_threshold: float = 0.0
    ) -> list[Detections]:
        head: Any = getattr(self.network, "roi_heads", self.network)
        head.score_thresh, head.detections_per_img = score_threshold, max_detections
        training = self.network.training
        found = self.network.eval()(list(images / 255))
        self.train(training)
        return [
            Detections(one["boxes"], one["scores"], one["labels"] - self.background)
            for one in found
        ]


def read_weights(weights: str, architecture: Architecture) -> Mapping[str, Tensor]:
    """The parameters of a file.

    Raises:
        UserError: it does not exist (the message names the file that would be used), or holds no parameters.
    """
    url = architecture.weights.url
    path = Path(weights).expanduser()
    if weights == CACHED:
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    if not path.is_file():
        fetch = f"; download {url} to there" if weights == CACHED else ""
        raise UserError(f"task.model_options.weights = '{weights}': no file {path}{fetch}")
    return read_tensors(path, "task.model_options.weights")


def is_backbone(given: Mapping[str, Tensor], network: nn.Module) -> bool:
    """Whether a file holds a classifier's parameters, whose layers are this network's backbone, by other names."""
    own = network.state_dict()
    backbone = sum(name.startswith("backbone.") for name in own)
    direct = sum(name in own for name in given)
    return direct == 0 and fit_count(network, given) >= backbone / 4


def fit_count(network: nn.Module, given: Mapping[str, Tensor]) -> int:
    """How many of a file's tensors fit the backbone."""
    own = network.state_dict()
    return max(
        fitting(own, given, {f"{place}{stripped(name, before)}": name for name in given})
        for place in BACKBONES
        for before in ("", *BEFORE)
    )


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], class_head_prefixes: tuple[str, ...]
) -> None:
    """Load parameters into a network; the class heads only where all of them fit.

    Raises:
        UserError: names or shapes that are not the network's.
    """
    own = {n: v for n, v in network.state_dict().items() if not n.endswith("num_batches_tracked")}
    given = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    fits = {n for n, v in given.items() if n in own and v.shape == own[n].shape}
    for name in sorted({*own, *given} - fits):
        if not name.startswith(class_head_prefixes):
            have = list(given[name].shape) if name in given else "missing"
            want = list(own[name].shape) if name in own else "no such part"
            raise UserError(
                f"task.model_options.weights: '{name}' is {have}, the model expects {want}"
            )
    whole = all(n in fits for n in own if n.startswith(class_head_prefixes))
    taken = {n: given[n] for n in fits if whole or not n.startswith(class_head_prefixes)}
    network.load_state_dict(taken, strict=False)


FCOS = Architecture(
    zoo.fcos_resnet50_fpn,
    zoo.FCOS_ResNet50_FPN_Weights.DEFAULT,
    0,
    ("head.classification_head.cls_logits",),
)
RETINANET = Architecture(
    zoo.retinanet_resnet50_fpn_v2,
    zoo.RetinaNet_ResNet50_FPN_V2_Weights.DEFAULT,
    0,
    ("head.classification_head.cls_logits",),
)
FASTER_RCNN = Architecture(
    zoo.fasterrcnn_resnet50_fpn_v2,
    zoo.FasterRCNN_ResNet50_FPN_V2_Weights.DEFAULT,
    1,
    ("roi_heads.box_predictor",),
)
FASTER_RCNN_MOBILE = Architecture(
    zoo.fasterrcnn_mobilenet_v3_large_320_fpn,
    zoo.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT,
    1,
    ("roi_heads.box_predictor",),
)
SSDLITE = Architecture(
    zoo.ssdlite320_mobilenet_v3_large,
    zoo.SSDLite320_MobileNet_V3_Large_Weights.DEFAULT,
    1,
    ("head.classification_head",),
)


def fcos(classes: int, *, weights: str | None = None) -> TorchvisionDetector:
    """torchvision's FCOS with a ResNet-50 pyramid, 32 M parameters (Tian et al. 2019)."""
    return TorchvisionDetector(classes, FCOS, weights)


def retinanet(classes: int, *, weights: str | None = None) -> TorchvisionDetector:
    """torchvision's RetinaNet v2 with a ResNet-50 pyramid, 36 M parameters (Lin et al. 2017)."""
    return TorchvisionDetector(classes, RETINANET, weights)


def faster_rcnn(classes: int, *, weights: str | None = None) -> TorchvisionDetector:
    """torchvision's Faster R-CNN v2 with a ResNet-50 pyramid, 43 M parameters (Ren et al. 2015)."""
    return TorchvisionDetector(classes, FASTER_RCNN, weights)


def faster_rcnn_mobile(classes: int, *, weights: str | None = None) -> TorchvisionDetector:
    """torchvision's Faster R-CNN with a MobileNetV3 pyramid, 19 M parameters: the one for small machines."""
    return TorchvisionDetector(classes, FASTER_RCNN_MOBILE, weights)


def ssdlite(classes: int, *, weights: str | None = None) -> TorchvisionDetector:
    """torchvision's SSDlite with MobileNetV3, 2.3 M parameters and more with the classes (Sandler et al. 2018)."""
    return TorchvisionDetector(classes, SSDLITE, weights)
