"""The run folder: the files of one run, and who may write them.

config.yaml  manifest.json  metrics.jsonl  result.json  log.txt  checkpoints/  media/  TensorBoard events
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

from framework import __version__
from framework.config.schema import Settings
from framework.errors import UserError
from framework.plugin import ROOT, registry
from framework.training.untrusted import refuse_links


class RunFolder:
    """A run folder held by this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.made = [p for p in (path, *path.parents) if not os.path.exists(p)]
        self._lock: IO[str] | None = None

    @property
    def holds_run(self) -> bool:
        # False also where the path is too long.
        return os.path.exists(self.path / "config.yaml")

    def refuse_second_run(self) -> None:
        """Refuse to train where a run is already.

        Raises:
            UserError: the folder holds a run.
        """
        if self.holds_run:
            raise UserError(f"{self.path} holds a run already; resume={self.path} continues it")

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def media(self) -> Path:
        return self.path / "media"

    def open(self) -> None:
        """Make the folder and hold it.

        Raises:
            UserError: it cannot be written, something in it is a link, or another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_links(self.path)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise UserError(f"run folder {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"run folder {self.path} is in use by another process") from None

    def close(self) -> None:
        """Let go of the folder. The lock's file stays: who deletes it may delete one that another holds."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Remove a folder in which nothing was trained, and the parents that were made for it."""
        if self.path not in self.made:
            return
        shutil.rmtree(self.path)
        # Another run may have moved in meanwhile.
        with suppress(OSError):
            for parent in self.made[1:]:
                parent.rmdir()

    def write_config(self, config: Any) -> None:
        """The configuration as composed: interpolations unresolved, so that no secret is written."""
        from omegaconf import OmegaConf

        text = OmegaConf.to_yaml(config, resolve=False)
        (self.path / "config.yaml").write_text(text, encoding="utf-8")

    def write_manifest(self, settings: Settings, device: str) -> None:
        """Versions, code state, threads and device: what a reader needs to judge or repeat the run."""
        import torch

        manifest = {
            "diffobj": __version__,
            "plugins": plugin_versions(),
            "packages": {
                name: installed(name) for name in ("torch", "torchvision", "gymnasium", "numpy")
            },
            "python": platform.python_version(),
            "platform": platform.platform(),
            "git": git_state(),
            "command": sys.argv,
            "device": device,
            "threads": torch.get_num_threads(),
            "seed": settings.seed,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        (self.path / "manifest.json").write_text(json.dumps(manifest, indent=2))

    def write_result(self, result: dict[str, Any]) -> None:
        """The run's outcome, also when it was stopped early; JSON has no NaN, so it becomes null."""
        temporary = self.path / ".result.json.partial"
        temporary.write_text(json.dumps(finite(result), indent=2, allow_nan=False))
        temporary.replace(self.path / "result.json")


def finite(node: Any) -> Any:
    """Nested mappings with None where a number is not finite."""
    if isinstance(node, dict):
        return {name: finite(value) for name, value in node.items()}
    return None if isinstance(node, float) and not math.isfinite(node) else node


def plugin_versions() -> dict[str, str]:
    """Each plugin that is installed and where it came from; those of the house share the framework's version."""
    versions = {}
    for found in registry().found:
        package = found.origin.partition(".")[0]
        own = package in {"framework", "plugins"}
        versions[found.name] = __version__ if own else installed(package)
    return versions


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
