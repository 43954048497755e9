"""What a protocol is measured with in tests: faces that are known by the colour of their picture."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from plugins.faces.analysis.analysis import FaceAnalysis


class ColourFaces(FaceAnalysis):
    """Finds `boxes` with falling scores in every photograph that is not black; embeds a face as its mean colour.

    What was seen in training is white.
    """

    def __init__(self, boxes: list[list[float]] | None = None) -> None:
        self.boxes = boxes

    embeds_identity = True
    synthetic = False
    calibration_file = None
    embedding_size = 3

    def faces_in(self, photograph: Image.Image) -> dict[str, Tensor]:
        width, height = photograph.size
        colour = torch.tensor(photograph.resize((1, 1)).getpixel((0, 0))).float() - 100
        boxes = [[0.0, 0.0, width, height]] if self.boxes is None else self.boxes
        boxes = [] if photograph.getpixel((0, 0)) == (0, 0, 0) else boxes
        count = len(boxes)
        return {
            "boxes": torch.tensor(boxes).reshape(-1, 4),
            "scores": torch.linspace(0.9, 0.5, count),
            "landmarks": torch.full((count, 5, 2), torch.nan),
            "embeddings": (colour / colour.norm()).expand(count, 3),
        }

    def fingerprint(self) -> str:
        return "colours"

    def has_seen(self, photograph: Image.Image) -> bool:
        return photograph.getpixel((0, 0)) == (255, 255, 255)


def paint(file: Path, colour: tuple[int, int, int], size: tuple[int, int] = (8, 8)) -> None:
    """A picture of one colour."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(file)


RED, ROSE, GREEN, BLUE, BLACK = (
    (250, 90, 90),
    (240, 110, 110),
    (90, 250, 90),
    (90, 90, 250),
    (0, 0, 0),
)
