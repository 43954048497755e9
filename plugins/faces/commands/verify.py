"""diffobj verify: whether two pictures show one person: diffobj verify run=RUN a.jpg b.jpg

    diffobj verify run=RUN_FOLDER FIRST SECOND [checkpoint=best|last]

Prints the cosine of the two faces' features, from -1 to 1, which is no probability. Whether that is near enough is
only said where the run was calibrated (diffobj calibrate), with the share of false acceptances that it was calibrated
for. Exits with 0 for one person or where nothing can be said, with 1 for two people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework import UserError
from plugins.faces.commands.using import face_of, use, words_of


def run(arguments: Sequence[str]) -> int:
    """Compare two pictures."""
    words = words_of(arguments)
    if len(words) != 2:
        raise UserError(f"{len(words)} pictures; expected two: diffobj verify run=RUN a.jpg b.jpg")
    given = use("verify", arguments)
    from plugins.faces.evaluation.calibration import load_calibration

    with given.run.in_use():
        first, second = (face_of(given.task, word) for word in words)
    cosine = float(first @ second)
    known = load_calibration(given.run.folder, given.task.fingerprint())
    told: dict[str, object] = {"cosine": round(cosine, 4), "same_person": None}
    if known is None:
        told["note"] = "no threshold: diffobj calibrate run=RUN input=FOLDER far=0.01"
    else:
        told["same_person"] = cosine >= known.threshold
        told |= {"threshold": known.threshold, "far": known.far, "calibrated_on": known.data}
    print(json.dumps(told))
    return 1 if told["same_person"] is False else 0
