"""diffobj verify: whether two pictures show one person: diffobj verify run=RUN a.jpg b.jpg

    diffobj verify run=RUN_FOLDER FIRST SECOND [checkpoint=best|last]

Prints the cosine of the two faces' embeddings, from -1 to 1, which is not a probability. Whether they count as one
person is reported only where the run was calibrated (diffobj calibrate), with the FAR of that threshold. Exits with 0
for one person or without a calibration, with 1 for two people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework import UserError
from plugins.faces.commands.face_run import embedding_of, load_face_run, words_of


def run(arguments: Sequence[str]) -> int:
    """Compare two pictures."""
    words = words_of(arguments)
    if len(words) != 2:
        raise UserError(f"{len(words)} pictures; expected two: diffobj verify run=RUN a.jpg b.jpg")
    used = load_face_run("verify", arguments)
    from plugins.faces.evaluation.calibration import load_calibration

    with used.run.in_use():
        first, second = (embedding_of(used.task, word) for word in words)
    cosine = float(first @ second)
    calibration = load_calibration(used.run.folder, used.task.fingerprint())
    answer: dict[str, object] = {"cosine": round(cosine, 4), "same_person": None}
    if calibration is None:
        answer["note"] = "no threshold: diffobj calibrate run=RUN input=FOLDER far=0.01"
    else:
        answer["same_person"] = cosine >= calibration.threshold
        answer |= {
            "threshold": calibration.threshold,
            "far": calibration.far,
            "calibrated_on": calibration.data,
        }
    print(json.dumps(answer))
    return 1 if answer["same_person"] is False else 0
