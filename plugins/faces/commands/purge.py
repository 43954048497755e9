"""diffobj purge: delete all embeddings of a gallery whose consent has expired: diffobj purge gallery=FILE

It needs no run. Every enrolment and every forgetting does it, too.
In Python: `plugins.faces.gallery.Gallery.purge`.
"""

from __future__ import annotations

from collections.abc import Sequence

from plugins.faces.commands.gallery_file import gallery_of


def run(arguments: Sequence[str]) -> int:
    """Delete and save."""
    gallery, _ = gallery_of("purge", arguments, ())
    changed = gallery.purge()
    names = f": {', '.join(changed)}" if changed else ""
    print(
        f"{len(changed)} people had expired embeddings{names}; {len(gallery.people())} people in {gallery.path}"
    )
    return 0
