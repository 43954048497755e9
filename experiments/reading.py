"""What a reader has to go through: the longest files, the fullest folders, and one optimiser step of RLOO.

Run: python -m experiments.reading (or make reading)

A guide and never a gate: files of about 350 lines, folders of about 12 modules, a step through about 9 files and 40
functions.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import framework
from experiments.command import given_arguments
from framework.plugin import ROOT

CODE = ("framework", "plugins")
FULL_FOLDER = 12
# Steps before the one that is walked: everything that is computed once is there by then.
WARM_UP = 5


def longest_files(root: Path, count: int = 10) -> list[tuple[int, str]]:
    """The longest Python files below the folders of code: (lines, path)."""
    lengths = [
        (len(file.read_text(encoding="utf-8").splitlines()), file.relative_to(root).as_posix())
        for folder in CODE
        for file in (root / folder).rglob("*.py")
    ]
    return sorted(lengths, key=lambda pair: (-pair[0], pair[1]))[:count]


def full_folders(root: Path) -> list[tuple[int, str]]:
    """Folders with more than `FULL_FOLDER` modules, `__init__.py` not counted: (modules, path)."""
    modules = Counter(
        file.parent.relative_to(root).as_posix()
        for folder in CODE
        for file in (root / folder).rglob("*.py")
        if file.name != "__init__.py"
    )
    return [(n, folder) for folder, n in modules.most_common() if n > FULL_FOLDER]


class Walk:
    """The project's functions that are entered between `start` and `stop`, in order of first entry."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entered: dict[CodeType, str] = {}

    def start(self) -> None:
        sys.setprofile(self.enter)

    def stop(self) -> None:
        sys.setprofile(None)

    def enter(self, frame: FrameType, event: str, argument: Any) -> None:
        """Note a call; comprehensions and lambdas are read with the function that holds them."""
        code, file = frame.f_code, Path(frame.f_code.co_filename)
        if event != "call" or code in self.entered or code.co_name.startswith("<"):
            return
        if any(file.is_relative_to(self.root / folder) for folder in CODE):
            self.entered[code] = file.relative_to(self.root).as_posix()

    @property
    def functions(self) -> list[tuple[str, str]]:
        """(file, function) in order of first entry."""
        return [(file, code.co_qualname) for code, file in self.entered.items()]

    @property
    def files(self) -> list[str]:
        """The files in order of first entry."""
        return list(dict.fromkeys(self.entered.values()))


def walk_step(root: Path = ROOT) -> Walk:
    """One optimiser step of `experiment=javelin estimator=rloo`, from the end of one to the end of the next."""
    walk = Walk(root)
    with tempfile.TemporaryDirectory() as place:
        framework.train(
            "javelin",
            estimator="rloo",
            overrides=["monitor.tensorboard=false", f"trainer.stop_at={WARM_UP + 1}"],
            folder=Path(place) / "run",
            on_step=between(walk),
        )
    return walk


def between(walk: Walk) -> Callable[[int, Any], None]:
    """A callback that walks the step after the warm-up."""

    def on_step(step: int, estimate: Any) -> None:
        if step == WARM_UP:
            walk.start()
        elif step == WARM_UP + 1:
            walk.stop()

    return on_step


def report(root: Path, walk: Walk) -> str:
    """The reading budget as text."""
    lines = ["the longest files (lines)"]
    lines += [f"  {length:>5}  {name}" for length, name in longest_files(root)]
    lines += ["", f"folders with more than {FULL_FOLDER} modules"]
    lines += [f"  {count:>5}  {name}" for count, name in full_folders(root)] or ["  none"]
    files, functions = walk.files, walk.functions
    lines += ["", f"one step of rloo: {len(files)} files, {len(functions)} functions"]
    lines += [f"  {file}" for file in files]
    lines += ["", "its functions in order of first entry"]
    lines += [f"  {file}: {function}" for file, function in functions]
    return "\n".join(lines)


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    print(report(ROOT, walk_step()))
