"""The interface of a detector: a loss for each image of a batch, and the detections in images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fnmatch import fnmatch
from typing import NamedTuple

from torch import Tensor, nn

from framework import UserError
from plugins.detection.sample import Batch, Detections


class Candidates(NamedTuple):
    """Candidate detections, best first: boxes `[B, k, 4]`, scores from 0 to 1 and labels `[B, k]`."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module, ABC):
    """A network that detects objects.

    Attributes:
        classes: the number of labels.
        size_divisor: the sides of its images are multiples of this.
        class_head_prefixes: prefixes of the names of the parameters that belong to single classes.
        max_objects: the largest number of objects that it can detect in an image; None: any.
        mean_objects_per_image: of the training data. Losses are divided by it and not by the batch's count, so that an
            image's loss does not depend on its batch: 4 batches of 8 equal one of 32.
    """

    size_divisor: int = 32
    max_objects: int | None = None
    class_head_prefixes: tuple[str, ...] = ("score.",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.mean_objects_per_image = 1.0
        self.frozen: list[nn.Module] = []

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss by name, `[B]` each, or scalars where they are means over the batch."""

    @abstractmethod
    def detect(
        self, images: Tensor, max_detections: int = 100, score_threshold: float = 0.0
    ) -> list[Detections]:
        """Up to `max_detections` objects in each image of `[B, 3, H, W]`, best first, without those of lower scores."""

    def candidates(self, images: Tensor, count: int) -> Candidates:
        """The `count` best candidates of each image, with gradients, for the task reward to sample from.

        Raises:
            UserError: the model has no candidates (the default).
        """
        raise UserError(
            f"{type(self).__name__} is trained by its own losses only (task.criterion=losses); "
            "models that a reward can tune: nano, tiny, small, aligned_*, set_*"
        )

    @property
    def normalises_batches(self) -> bool:
        """Whether a layer of batch normalisation is trained."""
        norms = (m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        return any(norm not in self.frozen for norm in norms)

    def freeze_batch_norm(self) -> None:
        """Batch normalisation uses its running statistics in training, too: an image does not depend on its batch."""
        self.frozen += [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.train(self.training)

    def freeze(self, patterns: list[str]) -> None:
        """Freeze the modules that match: their parameters are not trained, their running statistics stay.

        Raises:
            UserError: a pattern that matches no module.
        """
        for pattern in patterns:
            found = [m for name, m in self.named_modules() if name and fnmatch(name, pattern)]
            if not found:
                parts = ", ".join(name for name, _ in self.named_children())
                raise UserError(f"task.freeze = '{pattern}': matches no module; modules: {parts}")
            self.frozen += found
            for module in found:
                module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self
