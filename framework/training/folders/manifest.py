"""`manifest.jsonl`: a line for each session of a run, only ever added to: what a reader needs to judge or repeat it."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from framework import __version__
from framework.atomic import LineFile
from framework.plugin import ROOT, registry
from framework.training.folders.records import lines_of

# What a session's results depend on besides the configuration.
ENVIRONMENT = ("diffobj", "plugins", "packages", "python", "platform", "git", "device", "threads")


def session(seed: int, device: str, step: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The record of a session that begins now.

    Args:
        step: the steps done before it.
        changes: keys of the configuration that differ from the session before, each with the old and the new value.
    """
    import torch

    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "step": step,
        "changes": changes,
        "command": sys.argv,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "seed": seed,
        "diffobj": __version__,
        "plugins": plugin_versions(),
        "packages": {
            name: installed(name) for name in ("torch", "torchvision", "gymnasium", "numpy")
        },
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": git_state(),
        "device": device,
        "threads": torch.get_num_threads(),
    }


def add_session(path: Path, record: dict[str, Any]) -> None:
    """Add a session's line.

    Raises:
        UserError: the disk is full or refuses.
    """
    file = LineFile(path)
    try:
        file.append(json.dumps(record), flush=True)
    finally:
        file.close()


def last_session(path: Path) -> dict[str, Any]:
    """The newest record that is whole; empty where there is none.

    Raises:
        UserError: the file has more than `LINES` bytes or cannot be read.
    """
    for line in reversed(lines_of(path)):
        # A line that a kill has cut.
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                return record
    return {}


def environment_changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a session runs on that the one before did not, as "packages.torch: 2.10.0 -> 2.11.0"."""
    found = []
    for name in ENVIRONMENT:
        if name not in before:
            continue
        was, is_now = before[name], now[name]
        if isinstance(was, dict) and isinstance(is_now, dict):
            found += [
                f"{name}.{part}: {was.get(part)} -> {is_now.get(part)}"
                for part in {**was, **is_now}
                if was.get(part) != is_now.get(part)
            ]
        elif was != is_now:
            found.append(f"{name}: {was} -> {is_now}")
    return found


def plugin_versions() -> dict[str, str]:
    """Each plugin that is installed and where it came from; those of the house share the framework's version."""
    versions = {}
    for found in registry().found:
        package = found.origin.partition(".")[0]
        own = package in {"framework", "plugins"}
        versions[found.name] = __version__ if own else installed(package)
    return versions


def missing_plugins(path: Path) -> list[str]:
    """The plugins that a run's last session had and that are not there now, by name."""
    had = last_session(path).get("plugins")
    names = [name for name in had if isinstance(name, str)] if isinstance(had, dict) else []
    return sorted(set(names) - {found.name for found in registry().found})


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_state() -> dict[str, Any] | None:
    """The commit of the code and whether files were changed since; None outside a checkout."""
    if not (ROOT / ".git").exists():
        return None
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, check=True, timeout=10
        ).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
