"""diffobj verify: whether two pictures show one person: diffobj verify run=RUN a.jpg b.jpg

    diffobj verify run=RUN_FOLDER FIRST SECOND [checkpoint=best|last]

Prints the cosine of the two faces' embeddings, from -1 to 1, which is not a probability, and where the compared faces
are: of several in a picture the one with the highest score. Whether they count as one person is reported only where the
run was calibrated (diffobj calibrate), with the FAR of that threshold. Exits with 0 for one person or without a
calibration, with 1 for two people.
In Python: `plugins.faces.analysis.analysis.FaceAnalysis.verify`, a method of the task that `framework.load` returns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from framework import UserError
from plugins.faces.commands.face_run import face_run, words_of

if TYPE_CHECKING:
    from plugins.faces.analysis.detected import Face


def run(arguments: Sequence[str]) -> int:
    """Compare two pictures."""
    words = words_of(arguments)
    if len(words) != 2:
        raise UserError(f"{len(words)} pictures; expected two: diffobj verify run=RUN a.jpg b.jpg")
    with face_run("verify", arguments) as used:
        result = used.faces.verify(words[0], words[1])
        calibration = used.faces.calibration
    answer: dict[str, Any] = {
        "cosine": round(result.cosine, 4),
        "same_person": result.same_person,
        "faces": [compared(result.first), compared(result.second)],
    }
    if calibration is None:
        answer["note"] = "no threshold: diffobj calibrate run=RUN input=FOLDER far=0.01"
    else:
        answer |= {
            "threshold": calibration.threshold,
            "far": calibration.far,
            "calibrated_on": calibration.data,
        }
    print(json.dumps(answer))
    return 1 if result.same_person is False else 0


def compared(face: Face) -> dict[str, Any]:
    """Which face of a picture was compared."""
    box = [round(n, 1) for n in face.box.tolist()]
    return {"box": box, "of": face.faces, "quality": round(face.quality, 2)}
