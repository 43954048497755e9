"""diffobj identify: who of a gallery is in a picture: diffobj identify run=RUN gallery=FILE photo.jpg

    diffobj identify run=RUN_FOLDER gallery=FILE PICTURE

For each face the most similar person, or "unknown" where nobody is as near as the run's calibration (diffobj calibrate)
asks for; who has several pictures is as near as these are on average. People whose day is over are not recognised. A
person is named wrongly more often than the calibration's FAR says, as each face is compared with everybody.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.enrol import refuse_other_model
from plugins.faces.commands.using import use, words_of


def run(arguments: Sequence[str]) -> int:
    """Compare each face with everybody who is known."""
    words = words_of(arguments)
    if len(words) != 1:
        raise UserError(
            f"{len(words)} pictures; expected one: diffobj identify run=RUN gallery=FILE photo.jpg"
        )
    given = use("identify", arguments, ("gallery",))
    import torch

    from plugins.faces.data.photographs import read_photograph
    from plugins.faces.evaluation.calibration import need_calibration
    from plugins.faces.evaluation.gallery import Gallery

    model = given.task.fingerprint()
    path = Path(given.option("gallery")).expanduser()
    gallery = Gallery.load(path)
    refuse_other_model(gallery, path, model)
    known = gallery.known(datetime.date.today())
    if not known:
        raise UserError(f"gallery = '{path}': nobody whose day is not over")
    limit = need_calibration(given.run.folder, model)
    with given.run.in_use():
        found = given.task.faces_in(read_photograph(Path(words[0])))
    names, features = list(known), torch.stack(list(known.values()))
    for box, embedding in zip(found["boxes"], found["embeddings"], strict=True):
        cosine, best = (features @ embedding).max(0)
        near = float(cosine) >= limit.threshold
        told = {
            "person": names[int(best)] if near else "unknown",
            "cosine": round(float(cosine), 4),
            "threshold": limit.threshold,
            "far": limit.far,
            "box": [round(n, 1) for n in box.tolist()],
        }
        print(json.dumps(told, ensure_ascii=False))
    return 0
