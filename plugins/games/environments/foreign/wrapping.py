"""Wrappers by name: gymnasium's, or `module:Class` where code may be imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
from gymnasium import wrappers as known

from framework.errors import UserError
from plugins.games.environments.arguments import checked_arguments
from plugins.games.environments.naming import nearest, of_module

Wrapper = Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]]


def wrappers_of(given: Sequence[Any], *, trust: bool) -> list[Wrapper]:
    """Functions from an environment to a wrapped one.

    Args:
        given: for each wrapper, innermost first, its name, a mapping of `name` and its arguments, or in Python a class
            or function of an environment: `["FlattenObservation", {"name": "FrameStackObservation", "stack_size": 4}]`.

    Raises:
        UserError: an unknown wrapper, or an argument that it does not take.
    """
    return [wrapper_of(one, trust=trust) for one in given]


def wrapper_of(given: Any, *, trust: bool) -> Wrapper:
    if callable(given):
        return given  # type: ignore[no-any-return]
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise UserError(
            f"task.wrappers: {given!r}; expected a name such as FlattenObservation, or "
            "{name: FrameStackObservation, stack_size: 4}"
        )
    if ":" in name:
        module, _, attribute = name.rpartition(":")
        made = of_module(module, attribute, name, trust=trust)
    else:
        classes = {n: c for n, c in vars(known).items() if isinstance(c, type)}
        if name not in classes:
            raise UserError(f"task.wrappers: unknown '{name}'; {nearest(name, classes)}")
        made = classes[name]
    return partial(
        made, **checked_arguments(made, options, f"task.wrappers.{name}", reserved=("env", "self"))
    )
