"""XML of plain elements: a file with a document type is refused, as its entities could expand without bound."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

MAX_BYTES = 100_000_000


class Refused(Exception):
    """A file that is not read, and the reason."""


class WithoutEntities(ElementTree.TreeBuilder):
    """Builds a tree of plain elements."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise Refused("has a document type")


def parse(path: Path) -> ElementTree.Element:
    """A file's root element.

    Raises:
        Refused: too large, a document type, or no XML.
    """
    if path.stat().st_size > MAX_BYTES:
        raise Refused(f"has more than {MAX_BYTES:,} bytes")
    parser = ElementTree.XMLParser(target=WithoutEntities())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Refused(str(error)) from None


def begins_with(path: Path, element: str) -> bool:
    """Whether an element's name is at a file's beginning; also in UTF-16."""
    head = path.open("rb").read(4000).replace(b"\0", b"")
    return any(f"<{element}{end}".encode() in head for end in "> \t\r\n/")


def text(element: ElementTree.Element, name: str) -> str:
    """The text of a child, without space around it; nothing where there is none."""
    return (element.findtext(name) or "").strip()
