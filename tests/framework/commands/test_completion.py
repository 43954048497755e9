"""Shell completion: verbs, and Hydra's choices after `train`, in the shells themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from framework.plugin import ROOT
from tests.runs import Diffobj

# How a shell is asked for what `diffobj tr` and an experiment's beginning may become.
ASK = {
    "bash": """
eval "$(diffobj train -sc install=bash)"
for COMP_LINE in "diffobj tra" "diffobj train experiment=javelin_"; do
    words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1)); COMP_POINT=${#COMP_LINE}
    hydra_bash_completion; echo "${COMPREPLY[@]}"
done
""",
    "fish": """
diffobj train -sc install=fish | source
complete -C "diffobj tra"
complete -C "diffobj train experiment=javelin_"
""",
}


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("diffobj tra", ["train"]),
        ("diffobj pl", ["play", "plugins"]),
        ("diffobj xyz", []),
        ("diffobj evaluate ", []),
        ("diffobj train experiment=javelin_", ["experiment=javelin_windy"]),
        ("diffobj train experiment=javelin estimator=rlo", ["estimator=rloo"]),
        ("diffobj  train trainer.st", ["trainer.steps=", "trainer.stop_at="]),
    ],
)
def test_a_line_is_completed(monkeypatch, diffobj: Diffobj, line, candidates):
    monkeypatch.setenv("COMP_LINE", line)
    outcome = diffobj("-sc", "query=bash")
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.split() == candidates


def test_what_is_not_asked_by_a_shell_is_refused(diffobj: Diffobj):
    outcome = diffobj("-sc", "install=bash")
    assert outcome.status == 2
    assert "diffobj train -sc install=bash" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASK)
def test_the_shell_itself_completes(shell, tmp_path: Path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "diffobj"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from framework.commands.main import main; main()" "$@"\n'
    )
    program.chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    found = subprocess.run(
        [shell, "-c", ASK[shell]], env=environment, capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["train", "experiment=javelin_windy"]
