"""What the commands verify, enrol, identify and cluster ask of a task: the faces in a photograph."""

from __future__ import annotations

import hashlib
import sys
from abc import abstractmethod
from typing import ClassVar

from PIL import Image as Pillow
from torch import Tensor

from framework import Task
from plugins.faces.evaluation.model_card import DRAWINGS


class FaceTask(Task):
    """A task whose model finds or describes faces."""

    tells_people: ClassVar[bool] = True  # whether its embeddings mean anything

    @property
    @abstractmethod
    def drawn(self) -> bool:
        """Whether it learns from drawings, and so is not to be used on people."""

    @abstractmethod
    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """boxes `[K, 4]` in the photograph's pixels, scores `[K]` falling, landmarks `[K, 5, 2]`, embeddings `[K, D]`.

        Always tensors; K may be 0. Embeddings have norm 1.
        """

    def has_seen(self, photograph: Pillow.Image) -> bool:
        """Whether this very photograph, and who it shows, was learned from."""
        return False

    def warn(self) -> None:
        """Say on stderr what a network that learned from drawings is not for."""
        if self.drawn:
            print(DRAWINGS, file=sys.stderr)

    def fingerprint(self) -> str:
        """A name for these very parameters: embeddings of two models cannot be compared."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]
