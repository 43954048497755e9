"""diffobj identify: who of a gallery is in a picture: diffobj identify run=RUN gallery=FILE photo.jpg

    diffobj identify run=RUN_FOLDER gallery=FILE PICTURE

Prints for each face the most similar person, or "unknown" where no cosine reaches the threshold of the run's
calibration (diffobj calibrate); with several pictures of a person the mean cosine counts. People whose consent has
expired are not recognised. Wrong names are more frequent than the calibration's FAR, as each face is compared with
everyone.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.enrol import refuse_other_model
from plugins.faces.commands.face_run import load_face_run, words_of


def run(arguments: Sequence[str]) -> int:
    """Compare each face with everyone in the gallery."""
    words = words_of(arguments)
    if len(words) != 1:
        raise UserError(
            f"{len(words)} pictures; expected one: diffobj identify run=RUN gallery=FILE photo.jpg"
        )
    used = load_face_run("identify", arguments, ("gallery",))
    import torch

    from plugins.faces.data.photographs import read_photograph
    from plugins.faces.evaluation.calibration import need_calibration
    from plugins.faces.evaluation.gallery import Gallery

    model = used.task.fingerprint()
    path = Path(used.option("gallery")).expanduser()
    gallery = Gallery.load(path)
    refuse_other_model(gallery, path, model)
    known = gallery.known(datetime.date.today())
    if not known:
        raise UserError(f"gallery = '{path}': it has no people whose consent has not expired")
    limit = need_calibration(used.run.folder, model)
    with used.run.in_use():
        detections = used.task.faces_in(read_photograph(Path(words[0])))
    names, means = list(known), torch.stack(list(known.values()))
    for box, embedding in zip(detections["boxes"], detections["embeddings"], strict=True):
        cosine, best = (means @ embedding).max(0)
        accepted = float(cosine) >= limit.threshold
        answer = {
            "person": names[int(best)] if accepted else "unknown",
            "cosine": round(float(cosine), 4),
            "threshold": limit.threshold,
            "far": limit.far,
            "box": [round(n, 1) for n in box.tolist()],
        }
        print(json.dumps(answer, ensure_ascii=False))
    return 0
