"""Limits of a configuration: a few bytes of interpolations or brackets could otherwise fill memory or hours.

A run's configuration has hundreds of values, little nesting and a handful of interpolations; the limits are a hundred
times that. They hold when a run starts and when its folder is read, so that every run that starts can be resumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from framework.errors import UserError

BYTES = 64 * 1024
DEPTH = 32
VALUES = 5_000
# Characters of all values together, interpolations resolved.
CHARACTERS = 1_000_000
# Resolvers that take a key, whose value is then part of the result.
KEY_RESOLVERS = re.compile(r"oc\.(select|dict\.keys|dict\.values|deprecated)\s*:")
REFERENCE = re.compile(r"\.*[\w\-./\[\]]+")


def refuse_excess(node: Any) -> None:
    """Refuse an unresolved configuration that is too deep, too large, or would be once it is resolved.

    Raises:
        UserError: names the key, what it has and the limit.
    """
    leaves: dict[str, str] = {}
    stack: list[tuple[str, Any, int]] = [("", node, 0)]
    values = 0
    while stack:
        path, value, depth = stack.pop()
        values += 1
        if depth > DEPTH:
            raise UserError(f"'{shortened(path)}': more than {DEPTH} levels of nesting")
        if values > VALUES:
            raise UserError(f"the configuration has more than {VALUES:,} values")
        if isinstance(value, Mapping | list):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            stack += [(f"{path}.{key}".lstrip("."), item, depth + 1) for key, item in items]
        else:
            leaves[path] = str(value)
    if sum(map(len, leaves.values())) > CHARACTERS:
        raise UserError(f"the configuration has more than {CHARACTERS:,} characters")
    if any("${" in text for text in leaves.values()):
        Expansion(leaves).refuse_excess()


class Expansion:
    """Upper bounds on how long the values of a configuration are once their interpolations are resolved.

    Args:
        leaves: the text of each value by its dotted key, unresolved.
    """

    def __init__(self, leaves: Mapping[str, str]) -> None:
        self.leaves = leaves
        # None while a key's own bound is being computed: to meet it again is a circle.
        self.bounds: dict[str, int | None] = {}

    def refuse_excess(self) -> None:
        """Refuse values that refer to themselves or would be too long.

        Raises:
            UserError: names the key.
        """
        total = 0
        for path in self.leaves:
            total += self.bound(path)
            if total > CHARACTERS:
                raise UserError(
                    f"'{shortened(path)}': with its interpolations resolved the configuration has more than "
                    f"{CHARACTERS:,} characters"
                )

    def bound(self, path: str) -> int:
        """At most so many characters has the value of a key; the bound stops growing above the limit."""
        if path in self.bounds:
            if (known := self.bounds[path]) is None:
                raise UserError(f"'{shortened(path)}' refers to itself")
            return known
        self.bounds[path] = None
        text = self.leaves[path]
        size = len(text)
        for reference in references(text):
            for place in self.places(reference, path):
                size = min(size + self.bound(place), CHARACTERS + 1)
        self.bounds[path] = size
        return size

    def places(self, reference: str, path: str) -> list[str]:
        """The values that a reference from `path` stands for: one, or all of a mapping; "" is the whole."""
        dots = len(reference) - len(reference.lstrip("."))
        name = reference.lstrip(".").replace("[", ".").replace("]", "").strip(".")
        if dots:
            parent = ".".join(path.split(".")[: max(0, len(path.split(".")) - dots)])
            name = f"{parent}.{name}".strip(".")
        if name in self.leaves:
            return [name]
        return [place for place in self.leaves if not name or place.startswith(f"{name}.")]


def references(text: str) -> Iterator[str]:
    """What the interpolations of a text may refer to: keys, and arguments of resolvers that could be keys.

    A key that is put together from others stands for all that begins as it does.
    """
    for start in re.finditer(r"\$\{", text):
        rest = text[start.end() :].lstrip()
        resolver = re.match(r"[\w.]+\s*:", rest)
        if resolver and not KEY_RESOLVERS.match(rest):
            continue
        rest = rest[resolver.end() :].lstrip().lstrip("'\"") if resolver else rest
        name = REFERENCE.match(rest)
        found = name[0] if name else ""
        if rest[len(found) :].startswith("${"):
            found = found.rpartition(".")[0] if "." in found else ""
        yield found


def shortened(path: str) -> str:
    """A key as a message names it."""
    return path if len(path) <= 80 else f"{path[:40]}...{path[-20:]}"
