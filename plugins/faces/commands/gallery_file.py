"""The arguments of commands that need a gallery and no run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework import UserError
from framework.commands.main import keyed

if TYPE_CHECKING:
    from plugins.faces.gallery import Gallery


def gallery_of(
    verb: str, arguments: Sequence[str], expected: Sequence[str]
) -> tuple[Gallery, list[str]]:
    """The gallery of `gallery=FILE`, and the words beside it.

    Args:
        expected: what the words are, for messages.

    Raises:
        UserError: no gallery, or another number of words.
    """
    words = [a for a in arguments if "=" not in a]
    options = keyed([a for a in arguments if "=" in a], ("gallery",))
    if len(words) != len(expected) or not options.get("gallery"):
        raise UserError(f"expected: diffobj {' '.join([verb, 'gallery=FILE', *expected])}")
    from plugins.faces.gallery import Gallery

    return Gallery(options["gallery"]), words
