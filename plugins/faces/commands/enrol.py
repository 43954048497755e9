"""diffobj enrol: add a person who consented: diffobj enrol run=RUN gallery=FILE consent="..." NAME a.jpg b.jpg

    diffobj enrol run=RUN_FOLDER gallery=FILE consent=NOTE [expires=YYYY-MM-DD] NAME PICTURE [PICTURE ...]

The gallery is a JSON file: embeddings, the note of consent (who agreed to what, and when) and the last day on which the
person is recognised, by default a year from now. The pictures themselves are not stored.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.face_run import embedding_of, load_face_run, words_of


def run(arguments: Sequence[str]) -> int:
    """Embed the pictures and write the gallery."""
    words = words_of(arguments)
    if len(words) < 2:
        raise UserError(
            "who, and which pictures? diffobj enrol run=RUN gallery=FILE consent=NOTE NAME a.jpg"
        )
    if Path(words[0]).is_file():
        raise UserError(f"NAME = '{words[0]}' is a picture; expected the person's name")
    used = load_face_run("enrol", arguments, ("gallery", "consent", "expires"))
    import torch

    from plugins.faces.evaluation.gallery import Gallery

    path, today = Path(used.option("gallery")).expanduser(), datetime.date.today()
    if not path.parent.is_dir():
        raise UserError(f"gallery = '{path}': expected a file in a folder that exists")
    name, consent = words[0], used.option("consent", "")
    until = day(used.option("expires", (today + datetime.timedelta(days=365)).isoformat()))
    model = used.task.fingerprint()
    gallery = Gallery.load(path) if path.exists() else Gallery(model)
    refuse_other_model(gallery, path, model)
    with used.run.in_use():
        embeddings = torch.stack([embedding_of(used.task, word, only=True) for word in words[1:]])
    gallery.enrol(name, embeddings, consent, today, until)
    gallery.save(path)
    count = len(gallery.people[name].embeddings)
    print(f"{name}: {count} pictures, until {until}; {len(gallery.people)} people in {path}")
    return 0


def day(text: str) -> datetime.date:
    """A day from the command line."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"expires = '{text}': expected a day such as 2027-12-31") from None


def refuse_other_model(gallery: object, path: Path, model: str) -> None:
    """Refuse embeddings of two models in one gallery."""
    if getattr(gallery, "model", model) != model:
        raise UserError(f"gallery = '{path}': its embeddings are of another model than this run's")
