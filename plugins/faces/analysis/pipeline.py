"""A detector and an embedder put together: `faces.find`, `verify`, `calibrate` and a gallery work on whole photographs.

faces = framework.load(recognition_run).task.with_detector("mtcnn")
faces = FacePipeline.of(detector="detector.onnx", embedder="embedder.onnx")
faces = FacePipeline.of(detector="bundled")     # finds faces and does not distinguish people
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image as Pillow
from torch import Tensor

from plugins.faces.analysis.analysis import FaceAnalysis
from plugins.faces.analysis.detectors import Detector, make_detector
from plugins.faces.analysis.embedders import Embedder, FileEmbedder
from plugins.faces.data.photographs import given_path


class FacePipeline(FaceAnalysis):
    """Faces that a detector finds and another network embeds, cut from the photograph in its own resolution.

    Args:
        embedder: None: faces are found, and `embed`, `verify` and the like are refused.
    """

    def __init__(self, detector: Detector, embedder: Embedder | None = None) -> None:
        self.detector, self.embedder = detector, embedder

    @classmethod
    def of(cls, *, detector: str | Path, embedder: str | Path | None = None) -> FacePipeline:
        """From names: a detector as `make_detector` takes it, and an embedder's file.

        Raises:
            UserError: one of them cannot be loaded.
        """
        file = None if embedder is None else FileEmbedder(given_path("embedder", embedder))
        return cls(make_detector(detector), file)

    @property
    def embeds_identity(self) -> bool:
        return self.embedder is not None

    @property
    def synthetic(self) -> bool:
        return self.embedder is not None and self.embedder.synthetic

    @cached_property
    def embedding_size(self) -> int:
        return 0 if self.embedder is None else self.embedder.size()

    @property
    def calibration_file(self) -> Path | None:
        """Beside the embedder, with a name of its own: another detector's crops need another threshold."""
        home = None if self.embedder is None else self.embedder.home
        return None if home is None else home / f"calibration_{self.fingerprint()}.json"

    def fingerprint(self) -> str:
        embedder = "" if self.embedder is None else self.embedder.fingerprint()
        both = f"{self.detector.fingerprint()} {embedder}"
        return hashlib.sha256(both.encode()).hexdigest()[:16]

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        places = self.detector.places(photograph)
        if self.embedder is None:
            return {**places._asdict(), "embeddings": torch.zeros(len(places.boxes), 0)}
        embeddings = self.embedder.embed(photograph, places)
        return {**places._asdict(), "embeddings": embeddings}

    def has_seen(self, photograph: Pillow.Image) -> bool:
        if self.embedder is None:
            return False
        return self.embedder.has_seen(photograph, self.detector.places(photograph))
