"""What comes from outside is understood or refused; a few random changes here, thousands with the faults."""

from pathlib import Path

import pytest

from framework.errors import UserError
from tests.fuzz_run_folder import fuzz, outcome


def test_changed_inputs_are_understood_or_refused(tmp_path):
    assert fuzz(tmp_path, 20, seed=1) == []


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_changed_inputs_are_understood_or_refused(tmp_path, seed):
    assert fuzz(tmp_path, 500, seed) == []


def test_what_is_no_refusal_is_a_finding(tmp_path, monkeypatch):
    def refuse(case: Path) -> None:
        raise UserError("no")

    def crash(case: Path) -> None:
        raise SystemExit("bye")

    def hang(case: Path) -> None:
        while True:
            pass

    monkeypatch.setattr("tests.fuzz_run_folder.SECONDS", 1)
    assert outcome(refuse, tmp_path) == ""
    assert outcome(crash, tmp_path).startswith("SystemExit: bye")
    assert outcome(hang, tmp_path) == "more than 1 seconds"
