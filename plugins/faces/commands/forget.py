"""diffobj forget: remove a person from a gallery: diffobj forget gallery=FILE NAME

The file is rewritten without the person's embeddings, note and days. It needs no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework import UserError
from framework.commands.main import keyed


def run(arguments: Sequence[str]) -> int:
    """Remove and save."""
    words = [a for a in arguments if "=" not in a]
    options = keyed([a for a in arguments if "=" in a], ("gallery",))
    if len(words) != 1 or "gallery" not in options:
        raise UserError("whom, and where? diffobj forget gallery=FILE NAME")
    from plugins.faces.evaluation.gallery import Gallery

    path = Path(options["gallery"]).expanduser()
    gallery = Gallery.load(path)
    gallery.forget(words[0])
    gallery.save(path)
    print(f"{words[0]} is forgotten; {len(gallery.people)} people in {path}")
    return 0
