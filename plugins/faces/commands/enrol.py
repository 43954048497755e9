"""diffobj enrol: add a person who consented: diffobj enrol run=RUN gallery=FILE consent="..." NAME a.jpg b.jpg

    diffobj enrol run=RUN_FOLDER gallery=FILE consent=NOTE [expires=YYYY-MM-DD] NAME PICTURE [PICTURE ...]

The gallery is a JSON file that only its owner may read: embeddings, the note of consent (who agreed to what, and when)
and the last day on which the person is recognised by them, by default a year from now. The pictures themselves are not
stored. Under another note than before, embeddings stand beside the earlier ones, which expire when they would have.
Pictures without a face, with several, or with one of which too little can be seen are refused.
In Python: `plugins.faces.gallery.Gallery.enrol`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from plugins.faces.commands.face_run import face_run, words_of


def run(arguments: Sequence[str]) -> int:
    """Embed the pictures and write the gallery."""
    words = words_of(arguments)
    if len(words) < 2:
        raise UserError(
            "who, and which pictures? diffobj enrol run=RUN gallery=FILE consent=NOTE NAME a.jpg"
        )
    if Path(words[0]).is_file():
        raise UserError(f"NAME = '{words[0]}' is a picture; expected the person's name")
    with face_run("enrol", arguments, ("gallery", "consent", "expires")) as used:
        from plugins.faces.gallery import Gallery

        gallery = Gallery(used.option("gallery"), used.faces)
        count = gallery.enrol(
            words[0],
            words[1:],
            consent=used.option("consent", ""),
            expires=used.options.get("expires"),
        )
        people = len(gallery.people())
    print(f"{words[0]}: {count} pictures; {people} people in {gallery.path}")
    return 0
