"""What a trained face task, or a detector and an embedder put together, does with photographs.

    faces = framework.load("outputs/faces/<time>").task
    found = faces.find("photo.jpg")
    faces.verify("a.jpg", "b.jpg").same_person
    faces.calibrate("people/", far=0.01)

An image is a path, a PIL image of any mode, an array `[H, W, 3]` or `[H, W]`, or a tensor `[3, H, W]`, of integers from
0 to 255 or floats from 0 to 1. Lists and batches of them are taken, too.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import torch
from PIL import Image as Pillow
from torch import Tensor

from framework import UserError
from plugins.faces.analysis.detected import DetectedFaces, Face, Verification
from plugins.faces.analysis.quality import LEAST, quality_of
from plugins.faces.data.photographs import (
    AnyImage,
    as_photograph,
    given_path,
    is_several,
    pictures_in,
    read_photograph,
    refuse_several,
    within,
)
from plugins.faces.evaluation.calibration import (
    Calibration,
    is_between,
    load_calibration,
    no_calibration,
)
from plugins.faces.evaluation.clustering import clusters
from plugins.faces.evaluation.model_card import SYNTHETIC_NOTICE


class FaceAnalysis(ABC):
    """Faces found, embedded, verified, calibrated and clustered, by what a subclass says of a photograph."""

    @property
    @abstractmethod
    def embeds_identity(self) -> bool:
        """Whether its embeddings distinguish people."""

    @property
    @abstractmethod
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic faces, and so must not be used on people."""

    @property
    @abstractmethod
    def calibration_file(self) -> Path | None:
        """Where its calibration is kept; None: nowhere, since it is not of a run's folder."""

    @abstractmethod
    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The faces of an RGB photograph; called inside `inference`.

        Returns:
            boxes `[K, 4]` xyxy in the photograph's pixels, scores `[K]` falling, landmarks `[K, 5, 2]` and embeddings
            `[K, D]` of norm 1; always tensors, K may be 0.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what embeds: embeddings of two models cannot be compared."""

    def has_seen(self, photograph: Pillow.Image) -> bool:
        """Whether this photograph, or a copy of it, was trained on."""
        return False

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Everything ready to be used, and no gradients."""
        with torch.no_grad():
            yield

    def warn(self) -> None:
        """Print on stderr what a network that was trained on synthetic faces must not be used for."""
        if self.synthetic:
            print(SYNTHETIC_NOTICE, file=sys.stderr)

    def need_embeddings(self) -> None:
        """Refuse to compare people by embeddings that do not distinguish them.

        Raises:
            UserError: none were trained.
        """
        if not self.embeds_identity:
            raise UserError(
                "faces are detected here and people are not distinguished; expected a run of faces or "
                "faces_recognition, or an embedder"
            )

    @overload
    def find(self, image: AnyImage) -> DetectedFaces: ...  # type: ignore[overload-overlap]
    @overload
    def find(self, image: Sequence[AnyImage]) -> list[DetectedFaces]: ...
    def find(self, image: Any) -> DetectedFaces | list[DetectedFaces]:
        """The faces of an image, or of each of several, of any sizes.

        Raises:
            UserError: a file that cannot be read, or an object of another kind.
        """
        if is_several(image):
            return [self.find(one) for one in image]
        photograph = as_photograph(image)
        with self.inference():
            faces = self.faces_in(photograph)
        qualities = [quality_of(photograph, box) for box in faces["boxes"]]
        return DetectedFaces(
            faces["boxes"],
            faces["scores"],
            faces["landmarks"],
            faces["embeddings"] if self.embeds_identity else None,
            torch.tensor(qualities, dtype=torch.float32),
        )

    def best_face(self, image: AnyImage) -> Face:
        """The face with the highest score in an image.

        Raises:
            UserError: no face, several images, or embeddings that do not distinguish people.
        """
        self.need_embeddings()
        refuse_several(image)
        found = self.find(image)
        if not len(found):
            raise UserError(f"{name_of(image)}: no face was detected")
        assert found.embeddings is not None
        return Face(
            found.boxes[0],
            float(found.scores[0]),
            found.landmarks[0],
            found.embeddings[0],
            float(found.qualities[0]),
            len(found),
        )

    def only_face(self, image: AnyImage) -> Face:
        """The face of an image of one person alone, fit to be enrolled.

        Raises:
            UserError: no face, several, or one of which too little can be seen.
        """
        face = self.best_face(image)
        if face.faces > 1:
            raise UserError(
                f"{name_of(image)}: {face.faces} faces; expected a picture of one person alone"
            )
        if face.quality < LEAST:
            raise UserError(
                f"{name_of(image)}: quality {face.quality:.2f}, expected {LEAST:g} or more: "
                "a larger, sharper, better lit picture of the face"
            )
        return face

    def embed(self, image: AnyImage | Sequence[AnyImage]) -> Tensor:
        """The embedding of the face in a picture, or of each of several.

        Returns:
            `[D]` with norm 1, for a list `[N, D]`; on the CPU. The similarity of two faces is their cosine, which is
            the dot product `a @ b`, -1 to 1; it is not a probability.

        Raises:
            UserError: no face in a picture, a file that cannot be read, or an object of another kind.
        """
        if is_several(image):
            self.need_embeddings()
            images: Any = image
            several = [self.best_face(one).embedding for one in images]
            return torch.stack(several) if several else torch.zeros(0, self.embedding_size)
        one: Any = image
        return self.best_face(one).embedding

    @property
    @abstractmethod
    def embedding_size(self) -> int:
        """D."""

    def verify(self, first: AnyImage, second: AnyImage) -> Verification:
        """Whether two pictures show one person, by the calibration's threshold where there is one."""
        one, other = self.best_face(first), self.best_face(second)
        cosine, calibration = float(one.embedding @ other.embedding), self.calibration
        if calibration is None:
            return Verification(cosine, None, None, None, one, other)
        same = cosine >= calibration.threshold
        return Verification(cosine, same, calibration.threshold, calibration.far, one, other)

    @property
    def calibration(self) -> Calibration | None:
        """The calibration of these very parameters, or None.

        Raises:
            UserError: it is damaged, or of other parameters.
        """
        if self.calibration_file is None:
            return None
        return load_calibration(self.calibration_file, self.fingerprint())

    def need_calibration(self) -> Calibration:
        """The calibration.

        Raises:
            UserError: there is none, and therefore no threshold.
        """
        calibration = self.calibration
        if calibration is None:
            raise no_calibration(self.calibration_file and self.calibration_file.parent)
        return calibration

    def calibrate(
        self, people: str | Path, *, far: float = 0.01, pairs: str | Path | None = None
    ) -> Calibration:
        """Measure a threshold on pictures of people who were not trained on, and keep it.

        Args:
            people: a folder with a folder of pictures for each person.
            far: the false acceptance rate that the threshold is to have at most, on other people.
            pairs: a list in the format of LFW's pairs.txt; None: all pairs.

        Raises:
            UserError: too few people for this rate (a rate needs 1 / far pairs of people).
        """
        from plugins.faces.analysis.calibrating import calibrated

        self.need_embeddings()
        calibration = calibrated(self, given_path("people", people), far, pairs)
        if self.calibration_file is not None:
            calibration.save(self.calibration_file)
        return calibration

    def protocol(self, name: str, folder: str | Path) -> dict[str, float]:
        """The numbers of a published data set's protocol on your own copy of it; see `evaluation/protocols`.

        Args:
            name: lfw, cfp, ijb or wider.
            folder: the data set's, in its own layout.

        Raises:
            UserError: no such protocol, a folder of another layout, or pictures that were trained on.
        """
        from plugins.faces.evaluation.protocols import measured

        return measured(self, name, given_path("input", folder))

    def cluster(self, source: str | Path, *, threshold: float | None = None) -> list[list[str]]:
        """The pictures of a folder by person, the largest group first; a picture is named once for each face in it.

        Args:
            threshold: of the mean cosine between two groups, -1 to 1; None: the calibration's.

        Raises:
            UserError: no calibration, a threshold that is no cosine, or a folder without faces.
        """
        self.need_embeddings()
        if threshold is not None and not is_between(threshold, -1, 1):
            raise UserError(f"threshold = {threshold!r}: expected a cosine from -1 to 1")
        folder = given_path("input", source)
        if not folder.is_dir():
            raise UserError(f"input = '{folder}': expected a folder of pictures")
        limit = self.need_calibration().threshold if threshold is None else threshold
        names: list[str] = []
        parts: list[Tensor] = []
        for file, _ in pictures_in(folder):
            try:
                found = self.find(read_photograph(file)).embeddings
            except UserError as error:
                print(f"left out: {error}", file=sys.stderr)
                continue
            assert found is not None
            names += [within(file, folder)] * len(found)
            parts.append(found)
        if not names:
            raise UserError(f"input = '{folder}': no face in any picture of it")
        return [[names[k] for k in group] for group in clusters(torch.cat(parts), limit)]


def name_of(image: AnyImage) -> str:
    """What a message calls an image."""
    return str(image) if isinstance(image, str | Path) else "image"
