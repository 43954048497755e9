"""Running `diffobj` from tests: what a command printed, a process of its own, and reading a run folder."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from framework.config.composition import config_options
from framework.plugin import ROOT, registry
from framework.training.checkpoints.checkpoint import load_newest


class Outcome(NamedTuple):
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


Diffobj = Callable[..., Outcome]


def python(
    *arguments: str,
    cwd: Path,
    path: str = str(ROOT),
    environment: Mapping[str, str] = {},
    start_new_session: bool = False,
) -> subprocess.Popen[str]:
    """A Python process that finds the framework on `path`, wherever it is started."""
    variables = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def result(folder: Path) -> dict[str, Any]:
    """A run's `result.json`."""
    read: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return read


def records(folder: Path) -> list[dict[str, Any]]:
    """A run's `metrics.jsonl`, empty where there is none yet."""
    if not (folder / "metrics.jsonl").exists():
        return []
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def newest(folder: Path) -> dict[str, Any]:
    """A run's newest checkpoint."""
    return load_newest(folder / "checkpoints", print)


def files(folder: Path) -> list[str]:
    """Everything below a folder, by relative path."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def install(folder: Path, name: str, module: str) -> None:
    """Leave behind what an installer does, so that `module` is found as plugin `name` on the path `folder`."""
    metadata = folder / f"{name}-0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(f"[framework.plugins]\n{name} = {module}\n")


def forget_plugins() -> None:
    """Let the next command find plugins and their configurations anew."""
    registry.cache_clear()
    config_options.cache_clear()
