"""What a YAML file says about each of its keys: the comment beside a key, below its value, or above it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml


def comments(file: Path) -> dict[str, str]:
    """The comment of each key, by its dotted path; empty where there is none.

    A comment belongs to the key on whose line it stands. Lines below that are indented deeper than the key go on with
    it; lines right above a key, indented like it, come first. The lines above the file's first key are its title.
    """
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = {}
    taken = title_length(lines)
    for path, key, value in entries(yaml.compose(text)):
        nested = on_lines_below(value)
        last = key.end_mark if nested else value.end_mark
        above = upwards(lines, key.start_mark.line, key.start_mark.column, taken)
        beside = remark(lines[last.line][last.column :])
        below = [] if nested else downwards(lines, last.line, key.start_mark.column)
        found[path] = " ".join([*above, *beside, *below])
        taken = last.line + 1 + len(below)
    return found


def title(file: Path) -> str:
    """The lines above a file's first key, as one."""
    lines = file.read_text(encoding="utf-8").splitlines()
    written = [line.lstrip("# ") for line in lines[: title_length(lines)]]
    return " ".join(line for line in written if not line.startswith("@package"))


def entries(node: yaml.Node | None, prefix: str = "") -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Each key with its dotted path and its value, in the file's order."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        path = f"{prefix}.{key.value}".lstrip(".")
        yield path, key, value
        yield from entries(value, path)


def on_lines_below(value: yaml.Node) -> bool:
    """Whether a value begins on the line after its key: a nested section, a list with dashes, a block of text."""
    if isinstance(value, yaml.CollectionNode):
        return not value.flow_style
    return isinstance(value, yaml.ScalarNode) and value.style in {"|", ">"}


def title_length(lines: list[str]) -> int:
    return next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))


def remark(rest: str) -> list[str]:
    """The comment in what follows a value on its line."""
    match = re.match(r"\s*:?\s*#\s*(.*)", rest)
    return [match[1].strip()] if match else []


def upwards(lines: list[str], line: int, indentation: int, taken: int) -> list[str]:
    """The comment lines right above a key, down from line number `taken`."""
    first = line
    while first > taken and comment_at(lines, first - 1) == indentation:
        first -= 1
    return [lines[n].strip("# ") for n in range(first, line)]


def downwards(lines: list[str], line: int, indentation: int) -> list[str]:
    """The comment lines below a value that are indented deeper than its key."""
    last = line + 1
    while last < len(lines) and comment_at(lines, last) > indentation:
        last += 1
    return [lines[n].strip("# ") for n in range(line + 1, last)]


def comment_at(lines: list[str], number: int) -> int:
    """How far a line that is a comment is indented; -1: it is none."""
    stripped = lines[number].lstrip()
    return len(lines[number]) - len(stripped) if stripped.startswith("#") else -1
