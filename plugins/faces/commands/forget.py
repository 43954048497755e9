"""diffobj forget: remove a person from a gallery: diffobj forget gallery=FILE NAME

The file is rewritten without the person's embeddings, notes and days, under every name that it has (links). It needs no
run.
In Python: `plugins.faces.gallery.Gallery.forget`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plugins.faces.commands.gallery_file import gallery_of


def run(arguments: Sequence[str]) -> int:
    """Remove and save."""
    gallery, words = gallery_of("forget", arguments, ("NAME",))
    count = gallery.forget(words[0])
    print(f"{words[0]} is forgotten; {count} people in {gallery.path}")
    return 0
