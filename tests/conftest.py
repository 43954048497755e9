"""What all tests share: one thread, so that workers side by side do not get in each other's way, and two fixtures."""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from hypothesis import settings

from experiments.glossary.metrics import unexplained
from framework.commands.main import main
from framework.task import Split, Task
from framework.training.evaluation import Evaluation
from framework.training.trainer import Trainer
from tests.runs import Diffobj, Outcome, forget_plugins, install

GOLDEN_RATIO = (5**0.5 - 1) / 2

torch.set_num_threads(1)
# Kernels run on the CPU; Triton reads it once, when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"
# One tree, one verdict; to look for more: pytest --hypothesis-profile=default
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell's background jobs and their children ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test that is marked `one_in(n)` one in n is an everyday test; the others are slow ones."""
    seen = Counter[str]()
    for item in items:
        marker = item.get_closest_marker("one_in")
        if marker is None or item.get_closest_marker("slow"):
            continue
        place = item.nodeid.partition("[")[0]
        # By steps of the golden ratio: evenly spread, and no axis of a product is met at one value only.
        if seen[place] * GOLDEN_RATIO % 1 >= 1 / marker.args[0]:
            item.add_marker(pytest.mark.slow)
        seen[place] += 1


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported and collected stays: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """At the interpreter's end all of it is garbage."""
    gc.unfreeze()


@pytest.fixture
def diffobj(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Diffobj:
    """Run `diffobj ...` in this process: `diffobj("train", "experiment=javelin")`."""

    def become(*_: Any) -> NoReturn:
        raise AssertionError(
            "this command becomes another program, and the tests would end with it"
        )

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["diffobj", *arguments])
        monkeypatch.setattr(os, "execv", become)
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        printed = capsys.readouterr()
        return Outcome(int(exit.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(autouse=True)
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is trained in a test: a task of the project describes each of its metrics."""
    evaluate, scalars = Evaluation.metrics, Trainer.scalars

    def check(task: Task, names: Iterable[str]) -> None:
        if type(task).__module__.startswith("plugins."):
            assert unexplained(names, task.metric_descriptions) == [], type(task).__name__

    def evaluated(self: Evaluation, split: Split) -> dict[str, float]:
        metrics = evaluate(self, split)
        check(self.task, metrics)
        return metrics

    def logged(self: Trainer, *arguments: Any) -> dict[str, float]:
        check(self.task, self.task.scalars())
        return scalars(self, *arguments)

    monkeypatch.setattr(Evaluation, "metrics", evaluated)
    monkeypatch.setattr(Trainer, "scalars", logged)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the plugin `tests/framework/toy` as a package would be; the folder that makes it known is given."""
    folder = tmp_path / "site-packages"
    install(folder, "toy", "tests.framework.toy")
    monkeypatch.syspath_prepend(folder)
    forget_plugins()
    yield folder
    monkeypatch.undo()
    forget_plugins()
