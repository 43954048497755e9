"""Keyword arguments for somebody else's constructor, checked before it is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from framework.errors import UserError, suggestion

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def checked_arguments(
    constructor: Callable[..., Any],
    given: Mapping[str, Any],
    key: str,
    *,
    reserved: Collection[str] = (),
) -> dict[str, Any]:
    """The arguments with the types that the constructor's annotations ask for, as far as they can be checked.

    Args:
        key: what the user calls them.
        reserved: parameters that are not the user's to give.

    Raises:
        UserError: a name that the constructor does not take, or a value that its annotation refuses.
    """
    if not given:
        return {}
    taken = parameters(constructor)
    free = any(p.kind == p.VAR_KEYWORD for p in taken.values())
    names = [n for n, p in taken.items() if p.kind in NAMED and n not in reserved]
    checked = {}
    for name, value in given.items():
        if name in reserved or not (free or name in names):
            hint = suggestion(name, names) if names else "it has no options"
            raise UserError(f"unknown key '{key}.{name}'; {hint}")
        checked[name] = converted(value, hints(constructor).get(name, Any), f"{key}.{name}")
    return checked


def takes(constructor: Callable[..., Any], name: str) -> bool:
    """Whether a constructor can be given an argument of that name."""
    taken = parameters(constructor)
    return any(p.kind == p.VAR_KEYWORD for p in taken.values()) or (
        name in taken and taken[name].kind in NAMED
    )


def parameters(constructor: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """What a constructor takes; anything, where its signature cannot be read."""
    try:
        return inspect.signature(constructor).parameters
    except (TypeError, ValueError):
        return {"options": inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)}


def hints(constructor: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of a constructor; none where they cannot be resolved."""
    function = getattr(constructor, "func", constructor)
    try:
        return get_type_hints(function.__init__ if isinstance(function, type) else function)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def converted(value: Any, hint: Any, key: str) -> Any:
    """A value of YAML's as the annotation has it: a tuple for a list, say."""
    try:
        adapter = TypeAdapter(hint)
    except (PydanticSchemaGenerationError, PydanticUserError):
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UserError(f"{key} = {value!r}: {reason[:1].lower()}{reason[1:]}") from None
