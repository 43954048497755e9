"""What every face task offers the commands and Python: the faces in a photograph, and which model described them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import torch

from framework import Task
from plugins.faces.analysis.analysis import FaceAnalysis
from plugins.faces.evaluation.calibration import FILE


class FaceTask(FaceAnalysis, Task):
    """A task whose model detects faces or embeds them."""

    # Whether its embeddings distinguish people.
    has_identity_embeddings: ClassVar[bool] = True
    # The folder of the run that it is used from.
    _folder: Path | None = None

    def loaded(self, folder: Path) -> None:
        """Remember where the run's calibration lies."""
        self._folder = folder

    @property
    def embeds_identity(self) -> bool:
        return self.has_identity_embeddings

    @property
    def calibration_file(self) -> Path | None:
        return None if self._folder is None else self._folder / FILE

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
