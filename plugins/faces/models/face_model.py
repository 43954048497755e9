"""The trained module of the tasks on whole images: the network that finds faces, and its identity loss."""

from __future__ import annotations

from PIL import Image as Pillow
from torch import Tensor, nn

from plugins.faces.data.photographs import as_pixels
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.face_finder import FaceFinder

DISPLAY_THRESHOLD = 0.3


class FaceModel(nn.Module):
    """`model(images)`, from images to faces, and the identity loss that it is trained with."""

    def __init__(self, finder: FaceFinder, identity: IdentityLoss) -> None:
        super().__init__()
        self.finder, self.identity = finder, identity

    def forward(
        self, images: Tensor, max_detections: int = 50, score_threshold: float = DISPLAY_THRESHOLD
    ) -> list[dict[str, Tensor]]:
        """See `FaceFinder.forward`."""
        faces: list[dict[str, Tensor]] = self.finder(images, max_detections, score_threshold)
        return faces

    def faces_in(self, photograph: Pillow.Image, side: int) -> dict[str, Tensor]:
        """The faces of an RGB photograph, whose longer side is resized to `side` pixels for the network.

        Returns:
            as `FaceFinder.forward`, for one image and on the CPU; boxes and landmarks in the photograph's own pixels.
        """
        factor = side / max(photograph.size)
        width, height = (max(1, round(n * factor)) for n in photograph.size)
        small = as_pixels(photograph.resize((width, height), Pillow.Resampling.BILINEAR))
        device = next(self.parameters()).device
        faces = {name: value.cpu() for name, value in self(small[None].to(device))[0].items()}
        return faces | {name: faces[name] / factor for name in ("boxes", "landmarks")}
