"""Faces as they are found in an image, and what a comparison of two of them says."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class DetectedFaces:
    """The K faces of an image, in order of falling score; K may be 0. Tensors on the CPU.

    Attributes:
        boxes: `[K, 4]` xyxy (left, top, right, bottom) in the image's own pixels.
        scores: `[K]` in 0..1.
        landmarks: `[K, 5, 2]`, (x, y) in pixels of the eye to the left in the image, the eye to the right, the tip of
            the nose, and the left and right corners of the mouth; NaN where they are not known.
        embeddings: `[K, D]` of norm 1, close for the same person; None where none were trained. The similarity of two
            faces is their cosine, which is the dot product `a @ b`; it is not a probability.
        qualities: `[K]` in 0..1, how much of each face can be seen; see `quality.py`.
    """

    boxes: Tensor
    scores: Tensor
    landmarks: Tensor
    embeddings: Tensor | None
    qualities: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def above(self, score: float) -> DetectedFaces:
        """The faces of at least this score."""
        kept = self.scores >= score
        return DetectedFaces(
            self.boxes[kept],
            self.scores[kept],
            self.landmarks[kept],
            None if self.embeddings is None else self.embeddings[kept],
            self.qualities[kept],
        )


@dataclass(frozen=True)
class Face:
    """One face of an image: box `[4]`, score, landmarks `[5, 2]`, embedding `[D]` of norm 1, quality.

    `faces` is how many the image has.
    """

    box: Tensor
    score: float
    landmarks: Tensor
    embedding: Tensor
    quality: float
    faces: int


@dataclass(frozen=True)
class Verification:
    """Whether two pictures show one person.

    Attributes:
        cosine: of the two faces' embeddings, -1 to 1; not a probability.
        same_person: whether it reaches the calibration's threshold; None where there is no calibration.
        threshold, far: of the calibration, or None.
        first, second: the two faces that were compared: of several in a picture those with the highest score.
    """

    cosine: float
    same_person: bool | None
    threshold: float | None
    far: float | None
    first: Face
    second: Face
