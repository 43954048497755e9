"""The detector that comes with this plugin: it was trained on synthetic people alone and is meant for photographs.

Its weights are a run of `experiment=face_detection_generated`, stored by

    python -m plugins.faces.analysis.bundled RUN

in half precision, in a format that holds numbers and no code. `weights/MODEL_CARD.md` says how it was made and what it
was measured to do.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path

import numpy
import torch
from PIL import Image as Pillow

from framework import UserError
from plugins.faces.analysis.cutting import Places
from plugins.faces.models.face_model import FaceModel, detector

BUNDLED = "bundled"
WEIGHTS = Path(__file__).parents[1] / "weights" / "detector.npz"
# The side of the scenes that it was trained on.
SIDE = 160


class BundledDetector:
    """The detector whose weights come with this plugin."""

    def __init__(self) -> None:
        self.model = bundled_model()

    def places(self, photograph: Pillow.Image) -> Places:
        with torch.no_grad():
            faces = self.model.faces_in(photograph, SIDE, thorough=True)
        return Places(faces["boxes"], faces["scores"], faces["landmarks"])

    def fingerprint(self) -> str:
        return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]


@cache
def bundled_model() -> FaceModel:
    """The network with its weights, in evaluation mode.

    Raises:
        UserError: the file is not there.
    """
    if not WEIGHTS.is_file():
        raise UserError(
            f"detector = bundled: {WEIGHTS} is missing; expected it in this installation"
        )
    model = FaceModel(detector()).eval()
    with numpy.load(WEIGHTS, allow_pickle=False) as stored:
        model.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files})
    return model


def pack(run: str) -> None:
    """Store the weights of a run of `face_detection_generated` as those of the bundled detector."""
    from framework import load

    state = load(run).task.model.state_dict()
    halves = {
        name: value.half().numpy() if value.is_floating_point() else value.numpy()
        for name, value in state.items()
    }
    WEIGHTS.parent.mkdir(exist_ok=True)
    numpy.savez_compressed(WEIGHTS, **halves)
    print(f"{WEIGHTS}: {WEIGHTS.stat().st_size:,} bytes")


if __name__ == "__main__":
    pack(sys.argv[1])
