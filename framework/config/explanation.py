"""How a mistake in a configuration is explained: the key, the value, what was expected, the nearest valid key."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from framework.errors import initials, suggestion


def explain(
    error: ValidationError,
    schema: type[BaseModel],
    prefix: str = "",
    known: Sequence[str] = (),
) -> str:
    """One line per mistake: the key, its value, what was expected, the nearest valid key.

    Args:
        schema: what was validated against; `prefix` is its place in the configuration.
        known: all keys of the configuration, for a key that was written into the wrong section or abbreviated.
    """
    lines = []
    for mistake in error.errors():
        path = [str(part) for part in mistake["loc"]]
        key = ".".join([prefix, *path] if prefix else path)
        if mistake["type"] == "extra_forbidden":
            near = same_key_in_other_section(key, known) or suggestion(
                path[-1], fields_at(schema, path[:-1])
            )
            lines.append(f"unknown key '{key}'; {near}")
        elif mistake["type"] == "missing":
            lines.append(f"'{key}' is missing")
        else:
            expected = (
                mistake["msg"].replace("Input should be", "expected").replace("Value", "value")
            )
            lines.append(f"{key} = {mistake['input']!r}: {expected}")
    return "\n".join(dict.fromkeys(lines))


def same_key_in_other_section(key: str, known: Sequence[str]) -> str:
    """Where a key would be right: another section's key with its name, or with its letters as initials (lr)."""
    leaf = key.rpartition(".")[2]
    for other in known:
        name = other.rpartition(".")[2]
        if other != key and (name == leaf or (len(leaf) > 1 and initials(name) == leaf)):
            return f"did you mean '{other}'?"
    return ""


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys of nested mappings, as `a.b.c`."""
    if not isinstance(node, dict):
        return [prefix]
    return [
        key for name, value in node.items() for key in dotted(value, f"{prefix}.{name}".lstrip("."))
    ]


def fields_at(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The valid keys of the section that `path` leads to."""
    for part in path:
        annotation = schema.model_fields[part].annotation if part in schema.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return []
        schema = annotation
    return list(schema.model_fields)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, and the second where the first one ends with a colon."""
    first, _, rest = str(error).strip().partition("\n")
    return (
        f"{first} {rest.partition(chr(10))[0].strip()}" if first.endswith(":") and rest else first
    )


def told_in_one_line(error: BaseException) -> str:
    """An error of Hydra's or OmegaConf's with its advice; a missing value by the key to give it."""
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue) and key:
        return f"'{key}' is missing: give {key}=VALUE"
    lines = [line.strip() for line in str(error).splitlines()]
    # OmegaConf adds where in its own structures it was.
    told = [line for line in lines if line and not line.startswith(("full_key:", "object_type="))]
    return " ".join(told)
