"""The trained module of the tasks on whole images: the network that finds faces, and its identity loss."""

from __future__ import annotations

from PIL import Image as Pillow
from torch import Tensor, nn

from plugins.faces.data.photographs import as_pixels
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.face_finder import FaceFinder
from plugins.faces.models.in_several_sizes import Look, agreed, sides_of, together

DISPLAY_THRESHOLD = 0.3
# The score from which on a detection may be confirmed by another size.
LEAST = 0.1


def detector() -> FaceFinder:
    """The network that detects faces in photographs without embedding them, with random weights."""
    return FaceFinder(
        "two_stage", embedding_size=0, widths=(16, 32, 48, 96, 96), blocks=(0, 1, 1, 2, 1)
    )


class FaceModel(nn.Module):
    """`model(images)`, from images to faces, and the identity loss that it is trained with, if any."""

    identity: IdentityLoss | None

    def __init__(self, finder: FaceFinder, identity: IdentityLoss | None = None) -> None:
        super().__init__()
        self.finder, self.identity = finder, identity

    def forward(
        self,
        images: Tensor,
        max_detections: int = 50,
        score_threshold: float = DISPLAY_THRESHOLD,
        mirrored: bool = False,
    ) -> list[dict[str, Tensor]]:
        """See `FaceFinder.forward`."""
        faces: list[dict[str, Tensor]] = self.finder(
            images, max_detections, score_threshold, mirrored
        )
        return faces

    def faces_in(
        self, photograph: Pillow.Image, side: int, thorough: bool = False
    ) -> dict[str, Tensor]:
        """The faces of an RGB photograph, looked at in several sizes (see `in_several_sizes.py`).

        Of several detections of one face that with the highest score counts. Embeddings are read where it is detected,
        from the photograph's own pixels as far as the network sees them.

        Args:
            side: pixels of the longer side in training.
            thorough: a score is the mean over the image and its mirror image, and over the sizes that should show the
                face: fewer false detections, for twice the time.

        Returns:
            as `FaceFinder.forward`, for one image and on the CPU; boxes and landmarks in the photograph's own pixels.
        """
        longest = max(photograph.size)
        factors = [at / longest for at in sides_of(longest, side)]
        looks = [Look(factor, self.faces_at(photograph, factor, thorough)) for factor in factors]
        faces = together(looks, side / longest)
        return agreed(faces, looks, DISPLAY_THRESHOLD) if thorough else faces

    def faces_at(
        self, photograph: Pillow.Image, factor: float, thorough: bool
    ) -> dict[str, Tensor]:
        """The faces at one size, in the photograph's own pixels; thoroughly: from `LEAST` on."""
        width, height = (max(1, round(n * factor)) for n in photograph.size)
        small = as_pixels(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
        device = next(self.parameters()).device
        least = LEAST if thorough else DISPLAY_THRESHOLD
        (found,) = self(small[None].to(device), score_threshold=least, mirrored=thorough)
        faces = {name: value.cpu() for name, value in found.items()}
        return faces | {name: faces[name] / factor for name in ("boxes", "landmarks")}
