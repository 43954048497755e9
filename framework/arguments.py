"""What a caller in Python hands over, checked at the door: a line with argument, value and what was expected."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from framework.errors import UserError


def as_path(name: str, value: Any) -> Path:
    """A path that is given as text or as a `Path`; `~` is the caller's home."""
    if not isinstance(value, (str, PathLike)):
        raise UserError(f"{name} = {value!r}: expected a path, such as 'outputs/mine'")
    return Path(value).expanduser()


def as_list(name: str, value: Any, example: Any) -> list[Any]:
    """A list, a tuple or another collection; a text would be read as its letters."""
    if not isinstance(value, Collection) or isinstance(value, (str, bytes, Mapping)):
        raise UserError(f"{name} = {value!r}: expected a list such as {[example]}")
    return list(value)


def as_names(name: str, value: Any, example: str) -> list[str]:
    """A list of texts."""
    listed = as_list(name, value, example)
    if not all(isinstance(item, str) for item in listed):
        raise UserError(f"{name} = {value!r}: expected a list such as {[example]}")
    return listed


def as_distinct(name: str, value: Any, example: Any) -> list[Any]:
    """A list with something in it, and nothing twice: what is counted twice is no second measurement."""
    listed = as_list(name, value, example)
    texts = [str(item) for item in listed]
    if not listed or len(set(texts)) < len(texts):
        raise UserError(f"{name} = {value!r}: expected one or more, none of them twice")
    return listed


def as_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if value not in choices:
        raise UserError(f"{name} = {value!r}: expected {' or '.join(choices)}")
    return str(value)


def as_count(name: str, value: Any, least: int) -> int:
    """A whole number that is large enough."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise UserError(f"{name} = {value!r}: expected a whole number, {least} or more")
    return value
