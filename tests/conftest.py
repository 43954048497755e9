"""What all tests share: one thread, so that workers side by side do not get in each other's way, and two fixtures."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from framework.commands.main import main
from tests.runs import Diffobj, Outcome, forget_plugins, install

torch.set_num_threads(1)
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell's background jobs and their children ignore Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def diffobj(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Diffobj:
    """Run `diffobj ...` in this process: `diffobj("train", "experiment=javelin")`."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["diffobj", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        printed = capsys.readouterr()
        return Outcome(int(exit.value.code or 0), printed.out, printed.err)

    return run


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
