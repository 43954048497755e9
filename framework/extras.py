"""Optional dependencies: which command installs an extra such as `detection`, for messages that name it."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from framework.errors import UserError


class Need(NamedTuple):
    """A package that comes with an extra, and what needs it: "COCO's metrics need faster-coco-eval"."""

    module: str
    extra: str
    purpose: str


PACKAGE = "diffobj"
CHECKOUT = Path(__file__).resolve().parents[1]


def import_extra(module: str, extra: str, purpose: str) -> ModuleType | Any:
    """Import a module that comes with an extra.

    Args:
        module: such as "scipy.optimize".
        purpose: what needs it, for the message: "COCO's metrics need faster-coco-eval".

    Raises:
        UserError: its package is not installed; the message is `purpose` and the command that installs the extra.
    """
    try:
        importlib.import_module(module.partition(".")[0])
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise missing(extra, purpose) from None


def missing(extra: str, purpose: str) -> UserError:
    """The error for a package that is not installed: `purpose`, then the command that installs the extra."""
    return UserError(f"{purpose}: {command(extra)}")


def command(extra: str) -> str:
    """The command that installs an extra here: make's in a checkout, else pip's with the extra's own packages.

    The project is on no package index, so that its extras cannot be asked of one.
    """
    if (CHECKOUT / "pyproject.toml").exists():
        return f"make install EXTRAS={extra}"
    return "pip install " + " ".join(f"'{package}'" for package in packages(extra))


def require(needs: Iterable[Need]) -> None:
    """Refuse the first package that is not installed, without importing any.

    Raises:
        UserError: names what needs it and the command that installs its extra.
    """
    for need in needs:
        if find_spec(need.module) is None:
            raise missing(need.extra, need.purpose)


@cache
def packages(extra: str) -> tuple[str, ...]:
    """The packages of an extra with their versions, as the installed project states them."""
    try:
        required = metadata.requires(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return ()
    marked = [line.partition(";") for line in required]
    return tuple(
        requirement.strip()
        for requirement, _, marker in marked
        if marker.split("extra ==")[-1].strip().strip("'\"") == extra
    )
