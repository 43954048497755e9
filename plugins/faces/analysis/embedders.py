"""Embedders of faces that a detector found: a trained run of recognition, or a network's file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError
from plugins.faces.analysis.cutting import Places, cut_faces
from plugins.faces.analysis.network_files import (
    EmbedderStatement,
    file_fingerprint,
    load_network,
    statement_of,
)
from plugins.faces.models.networks import unit

if TYPE_CHECKING:
    from plugins.faces.tasks.recognition import Recognition


class Embedder(Protocol):
    """The embeddings `[K, D]` of norm 1 of the faces at some places of an RGB photograph."""

    synthetic: bool
    # Where its calibrations are kept.
    home: Path | None

    def embed(self, photograph: Pillow.Image, places: Places) -> Tensor: ...

    def size(self) -> int: ...

    def fingerprint(self) -> str: ...

    def has_seen(self, photograph: Pillow.Image, places: Places) -> bool: ...


class RunEmbedder:
    """The embedder of a trained run of `faces_recognition`."""

    def __init__(self, task: Recognition, home: Path | None) -> None:
        self.task, self.home = task, home
        self.synthetic = task.synthetic

    def embed(self, photograph: Pillow.Image, places: Places) -> Tensor:
        with self.task.inference():
            return self.task.model.embed(cut_faces(photograph, places, self.task.side))

    def size(self) -> int:
        return self.task.embedding_size

    def fingerprint(self) -> str:
        return self.task.fingerprint()

    def has_seen(self, photograph: Pillow.Image, places: Places) -> bool:
        cut = cut_faces(photograph, places, self.task.side)
        return self.task.has_seen(photograph) or self.task.have_seen(cut)


class FileEmbedder:
    """An embedder from a file; see `network_files`. What it was trained on is not known here."""

    synthetic = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.home: Path | None = path.parent
        self.statement = statement_of(EmbedderStatement, path)
        self.network = load_network(path)

    def embed(self, photograph: Pillow.Image, places: Places) -> Tensor:
        if not len(places.boxes):
            return torch.zeros(0, self.size())
        cut = cut_faces(photograph, places, self.statement.side, self.statement.framing)
        return unit(torch.cat([self.features(one[None]) for one in cut]))

    def features(self, images: Tensor) -> Tensor:
        """Features `[1, D]` of one face: a file may take one at a time only.

        Raises:
            UserError: other shapes, or numbers that are not finite.
        """
        first = self.network(self.statement.prepared(images))[0].float()
        if first.dim() != 2 or len(first) != len(images) or not bool(first.isfinite().all()):
            raise UserError(
                f"{self.path}: it returned {list(first.shape)}; expected finite features [{len(images)}, D]"
            )
        return first

    def size(self) -> int:
        side = self.statement.side
        return self.features(torch.zeros(1, 3, side, side, dtype=torch.uint8)).shape[1]

    def fingerprint(self) -> str:
        return file_fingerprint(self.path, self.statement)

    def has_seen(self, photograph: Pillow.Image, places: Places) -> bool:
        return False
