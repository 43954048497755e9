"""An SVG's bytes as a tree of elements.

A file is not trusted: it is bounded while it is parsed, and nothing is fetched.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from framework.errors import UserError

MAX_BYTES = 20_000_000
MAX_ELEMENTS = 200_000
MAX_DEPTH = 64
GZIP = b"\x1f\x8b"


def bytes_of(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UserError: there is no such file, or it is too large.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such SVG")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    return path.read_bytes()


def tree(data: bytes) -> Element:
    """The root of a document, compressed (.svgz) or not; a DOCTYPE is passed over.

    Raises:
        UserError: no XML, an entity of its own, or too deep or too large.
    """
    source = Source()
    try:
        source.parser.Parse(unzipped(data), True)
        return source.builder.close()
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise UserError(f"no XML ({error})") from None


class Source:
    """expat's events as elements, counted."""

    def __init__(self) -> None:
        self.builder = TreeBuilder()
        self.depth = self.elements = 0
        self.parser = expat.ParserCreate(namespace_separator="}")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.builder.data
        self.parser.EntityDeclHandler = self.entity

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth, self.elements = self.depth + 1, self.elements + 1
        if self.depth > MAX_DEPTH:
            raise UserError(f"elements lie more than {MAX_DEPTH} deep")
        if self.elements > MAX_ELEMENTS:
            raise UserError(f"more than {MAX_ELEMENTS:,} elements")
        named = {qualified(key): value for key, value in attributes.items()}
        self.builder.start(qualified(name), named)

    def end(self, name: str) -> None:
        self.depth -= 1
        self.builder.end(qualified(name))

    def entity(self, *declared: object) -> None:
        raise UserError(f"ENTITY is refused ('{str(declared[0])[:40]}')")


def qualified(name: str) -> str:
    """expat's `space}name` as ElementTree writes it, `{space}name`."""
    return "{" + name if "}" in name else name


def local_name(element: Element) -> str:
    """An element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def unzipped(data: bytes) -> bytes:
    """The bytes, decompressed where they are gzip's.

    Raises:
        UserError: damaged, or more than `MAX_BYTES` when decompressed.
    """
    if not data.startswith(GZIP):
        return data
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(data, MAX_BYTES + 1)
    except zlib.error as error:
        raise UserError(f"no readable gzip ({error})") from None
    if len(plain) > MAX_BYTES:
        raise UserError(f"more than {MAX_BYTES:,} bytes when decompressed")
    if not stream.eof:
        raise UserError("no readable gzip (it ends too early)")
    return plain
