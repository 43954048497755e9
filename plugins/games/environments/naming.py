"""From `task.environment` to what makes games: a name is looked up, or its module imported where that is permitted."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

from framework.errors import UserError, suggestion
from framework.plugin import registry

ATARI = "ALE/"
VERSIONED = re.compile(r"[\w./-]+-v\d+")
NEAREST = 5
OWN = "your own: task.environment=module:name task.trust=true"


def named(environment: str, *, trust: bool) -> Any:
    """What a name stands for: a class of games in torch, an Atari game's name, gymnasium's specification of an
    environment, or what a trusted module calls so.

    Raises:
        UserError: an unknown name, with the nearest ones, or a name that imports code without `trust`.
    """
    if environment in registry().names("games.environments"):
        return registry().component("games.environments", environment).load()
    if environment.startswith(ATARI):
        return environment
    module, colon, name = environment.rpartition(":")
    if colon:
        return of_module(module, name, environment, trust=trust)
    if environment not in gymnasium.registry:
        known = [*registry().names("games.environments"), *gymnasium.registry]
        raise UserError(
            f"task.environment = '{environment}': unknown; {nearest(environment, known)}; {OWN}"
        )
    return gymnasium.spec(environment)


def nearest(name: str, known: Iterable[str]) -> str:
    """The names that are most like `name`, whatever their case."""
    by_case = {choice.lower(): choice for choice in known}
    near = difflib.get_close_matches(name.lower(), by_case, n=NEAREST, cutoff=0.0)
    return f"nearest: {', '.join(by_case[choice] for choice in near)}"


def of_module(module: str, name: str, environment: str, *, trust: bool) -> Any:
    """What `module:name` stands for: gymnasium's `Name-v0`, which importing the module registers, or an attribute.

    Raises:
        UserError: not permitted, or there is none of that name.
    """
    label = f"task.environment = '{environment}'"
    if not trust:
        raise UserError(f"{label} imports code; task.trust=true permits it")
    if not module or not name:
        raise UserError(f"{label}: expected module:name, such as mypackage:Bandit-v0")
    found = imported(module, label)
    if VERSIONED.fullmatch(name):
        if name not in gymnasium.registry:
            raise UserError(
                f"{label}: importing '{module}' registers no '{name}'; {nearest(name, gymnasium.registry)}"
            )
        return gymnasium.spec(name)
    if not hasattr(found, name):
        names = [n for n, value in vars(found).items() if callable(value) and n[0] != "_"]
        raise UserError(f"{label}: there is no '{name}'; {suggestion(name, names)}")
    return getattr(found, name)


def imported(module: str, label: str) -> ModuleType:
    """A module by name, of the working directory as well, or by its file's path.

    Raises:
        UserError: it cannot be imported.
    """
    here = os.getcwd()
    sys.path.append(here)
    # Code of somebody else's may raise anything.
    try:
        return of_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{label}: {type(error).__name__}: {reason}") from error
    finally:
        sys.path.remove(here)


def of_file(file: Path) -> ModuleType:
    """Run a file as a module, once."""
    loaded = sys.modules.get(file.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(file.resolve()):
        return loaded
    spec = importlib.util.spec_from_file_location(file.stem, file.resolve())
    if spec is None or spec.loader is None:
        raise ImportError("no file of Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[file.stem] = module
    return module
