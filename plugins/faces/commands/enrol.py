"""diffobj enrol: make a person who agreed known: diffobj enrol run=RUN gallery=FILE consent="..." NAME a.jpg b.jpg

    diffobj enrol run=RUN_FOLDER gallery=FILE consent=NOTE [expires=YYYY-MM-DD] NAME PICTURE [PICTURE ...]

The gallery is a JSON file: features, the note of consent (who agreed to what, and when) and the day after which the
person is not recognised any more; a year from now where no day is given. The pictures themselves are not kept.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.using import face_of, use, words_of


def run(arguments: Sequence[str]) -> int:
    """Describe the pictures and write the gallery."""
    words = words_of(arguments)
    if len(words) < 2:
        raise UserError(
            "who, and which pictures? diffobj enrol run=RUN gallery=FILE consent=NOTE NAME a.jpg"
        )
    if Path(words[0]).is_file():
        raise UserError(f"NAME = '{words[0]}' is a picture; expected what the person is called")
    given = use("enrol", arguments, ("gallery", "consent", "expires"))
    import torch

    from plugins.faces.evaluation.gallery import Gallery

    path, today = Path(given.option("gallery")).expanduser(), datetime.date.today()
    if not path.parent.is_dir():
        raise UserError(f"gallery = '{path}': expected a file in a folder that is there")
    name, consent = words[0], given.option("consent", "")
    until = day(given.option("expires", (today + datetime.timedelta(days=365)).isoformat()))
    model = given.task.fingerprint()
    gallery = Gallery.load(path) if path.exists() else Gallery(model)
    refuse_other_model(gallery, path, model)
    with given.run.in_use():
        found = torch.stack([face_of(given.task, word, only=True) for word in words[1:]])
    gallery.enrol(name, found, consent, today, until)
    gallery.save(path)
    count = len(gallery.people[name].embeddings)
    print(f"{name}: {count} pictures, until {until}; {len(gallery.people)} people in {path}")
    return 0


def day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"expires = '{text}': expected a day such as 2027-12-31") from None


def refuse_other_model(gallery: object, path: Path, model: str) -> None:
    """Refuse features of two models in one gallery."""
    if getattr(gallery, "model", model) != model:
        raise UserError(f"gallery = '{path}': its features are of another model than this run's")
