"""diffobj list: who is in a gallery, under which consents: diffobj list gallery=FILE

Prints for each person, as JSON, how many embeddings are kept under which note, since when, and until which day they
count. Those that have expired are marked: diffobj purge deletes them. It needs no run.
In Python: `plugins.faces.gallery.Gallery.people`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence

from plugins.faces.commands.gallery_file import gallery_of


def run(arguments: Sequence[str]) -> int:
    """Print the people."""
    gallery, _ = gallery_of("list", arguments, ())
    today = datetime.date.today()
    for name, consents in gallery.people().items():
        kept = [
            {
                "consent": consent.note,
                "enrolled": consent.enrolled.isoformat(),
                "expires": consent.expires.isoformat(),
                "expired": consent.expires < today,
                "embeddings": len(consent.embeddings),
            }
            for consent in consents
        ]
        print(json.dumps({"person": name, "consents": kept}, ensure_ascii=False))
    return 0
