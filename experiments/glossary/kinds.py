"""What an option may be, in words: its type and its range."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

KINDS: dict[Any, str] = {
    bool: "true, false",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    Any: "anything",
}


def kind(annotation: Any, limits: tuple[Any, ...] = ()) -> str:
    """What an annotation allows: `integer ≥ 1 or null`.

    Args:
        limits: the annotation's own, where it was taken apart already.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        given = (*limits, *(m for p in parts[1:] for m in getattr(p, "metadata", [p])))
        return kind(parts[0], given)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(kind(part, limits) for part in parts))
    if origin is Literal:
        return ", ".join(str(part) for part in parts)
    if origin is tuple and Ellipsis not in parts:
        return f"[{', '.join(kind(part) for part in parts)}]"
    if origin is not None and issubclass(origin, Mapping):
        return "mapping"
    if origin is not None:
        return f"list of {kind(parts[0])}" if parts else "list"
    if annotation in (None, types.NoneType):
        return "null"
    named = KINDS.get(annotation) or getattr(annotation, "__name__", str(annotation))
    return f"{named} {limit(limits)}".strip()


def limit(limits: tuple[Any, ...]) -> str:
    """A range in words: `≥ 1`, `from 0 to below 1`."""
    low, high = "", ""
    for bound in limits:
        match bound:
            case Ge(ge=least):
                low = f"≥ {least:g}" if isinstance(least, float) else f"≥ {least}"
            case Gt(gt=least):
                low = f"> {least}"
            case Le(le=most):
                high = f"≤ {most}"
            case Lt(lt=most):
                high = f"< {most}"
    return ", ".join(text for text in (low, high) if text)
