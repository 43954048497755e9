"""What a detector is to the rest of the plugin: a loss for each image of a batch, and what it finds in images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fnmatch import fnmatch
from typing import NamedTuple

from torch import Tensor, nn

from framework import UserError
from plugins.detection.sample import Batch, Detections


class Candidates(NamedTuple):
    """What may be objects, best first: boxes `[B, k, 4]`, scores from 0 to 1 and labels `[B, k]`."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module, ABC):
    """A network that finds objects.

    Attributes:
        classes: how many labels there are.
        multiple: the sides of its images are multiples of this.
        class_parts: how the names of the parameters begin that are about single classes.
        usual_objects: how many objects an image has in the mean of the training data. Losses are divided by it and
            not by the batch's own count, so that an image's loss is its own: 4 batches of 8 equal one of 32.
    """

    multiple: int = 32
    class_parts: tuple[str, ...] = ("score.",)

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.usual_objects = 1.0
        self.frozen: list[nn.Module] = []

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss, `[B]` each, or a scalar where the images cannot be told apart."""

    @abstractmethod
    def detect(self, images: Tensor, most: int = 100, floor: float = 0.0) -> list[Detections]:
        """Up to `most` objects with a score of at least `floor` in each image of `[B, 3, H, W]`, best first."""

    def candidates(self, images: Tensor, most: int) -> Candidates:
        """The `most` likeliest objects of each image, as many for each, with gradients: what a reward is drawn from.

        Raises:
            UserError: the model cannot tell (the default).
        """
        raise UserError(
            f"{type(self).__name__} is learned by its own losses only (task.criterion=losses); "
            "models that a reward can teach: nano, tiny, small, aligned_*, set_*"
        )

    def hold_statistics(self) -> None:
        """Let batch normalisation go by its running means in training, too: as in use, an image is then on its own."""
        self.frozen += [m for m in self.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.train(self.training)

    def freeze(self, patterns: list[str]) -> None:
        """Keep what matches as it is: parameters are not learned, running means do not move.

        Raises:
            UserError: a pattern that matches no module.
        """
        for pattern in patterns:
            found = [m for name, m in self.named_modules() if name and fnmatch(name, pattern)]
            if not found:
                parts = ", ".join(name for name, _ in self.named_children())
                raise UserError(f"task.freeze = '{pattern}': matches no part; parts: {parts}")
            self.frozen += found
            for module in found:
                module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Detector:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self
