"""What every face task offers the commands and Python: the faces in a photograph, and which model described them."""

from __future__ import annotations

import hashlib
import sys
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import Task
from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE


class FaceTask(Task):
    """A task whose model detects faces or embeds them."""

    # Whether its embeddings distinguish people.
    has_identity_embeddings: ClassVar[bool] = True

    @property
    @abstractmethod
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic faces, and so must not be used on people."""

    @abstractmethod
    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The faces of an RGB photograph; call it in evaluation mode and without gradients.

        Returns:
            boxes `[K, 4]` xyxy in the photograph's pixels, scores `[K]` falling, landmarks `[K, 5, 2]` and embeddings
            `[K, D]` of norm 1; always tensors, K may be 0.
        """

    def has_seen(self, photograph: Pillow.Image) -> bool:
        """Whether this very photograph was trained on."""
        return False

    def warn(self) -> None:
        """Print on stderr what a network that was trained on synthetic faces must not be used for."""
        if self.synthetic:
            print(SYNTHETIC_NOTICE, file=sys.stderr)

    def fingerprint(self) -> str:
        """A hash of the parameters: embeddings of two models cannot be compared."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]

    @contextmanager
    def inference(self) -> Iterator[None]:
        """The model in evaluation mode and no gradients; afterwards the mode it was in."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.model.train(training)
