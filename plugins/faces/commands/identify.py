"""diffobj identify: who of a gallery is in a picture: diffobj identify run=RUN gallery=FILE photo.jpg

    diffobj identify run=RUN_FOLDER gallery=FILE [fpir=RATE] PICTURE

Prints for each face the most similar person, "unknown" where no cosine reaches the threshold, or "no face" where there
is none; with several pictures of a person the mean cosine counts. People whose consent has expired are not recognised.
The threshold is of a stated rate (fpir, by default the calibration's FAR) at which somebody who is not in the gallery
is taken for anyone of it: each face is compared with everyone, so it is stricter than that of verify, and the more so
the larger the gallery. A gallery that is too large for the calibration's people is refused.
In Python: `plugins.faces.gallery.Gallery.identify`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from framework import UserError
from plugins.faces.commands.face_run import face_run, number, words_of


def run(arguments: Sequence[str]) -> int:
    """Compare each face with everyone in the gallery."""
    words = words_of(arguments)
    if len(words) != 1:
        raise UserError(
            f"{len(words)} pictures; expected one: diffobj identify run=RUN gallery=FILE photo.jpg"
        )
    with face_run("identify", arguments, ("gallery", "fpir")) as used:
        from plugins.faces.gallery import Gallery

        rate = number(used.options, "fpir", -1.0)
        gallery = Gallery(used.option("gallery"), used.faces)
        answers = gallery.identify(words[0], fpir=None if rate < 0 else rate)
    if not answers:
        print(json.dumps({"person": "no face"}))
    for answer in answers:
        record = {
            "person": answer.person or "unknown",
            "cosine": round(answer.cosine, 4),
            "threshold": answer.threshold,
            "fpir": answer.fpir,
            "box": [round(n, 1) for n in answer.box.tolist()],
            "quality": round(answer.quality, 2),
        }
        print(json.dumps(record, ensure_ascii=False))
    return 0
