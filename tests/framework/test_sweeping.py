"""framework.sweep: what `diffobj train -m` does, from Python."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import framework
from framework.errors import UserError
from framework.sweeping import choices
from tests.runs import Diffobj, newest, result

SHORT = ["trainer.steps=2", "monitor.tensorboard=false", "monitor.progress=none"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_it_is_the_commands_sweep(tmp_path, diffobj: Diffobj, capsys):
    arguments = list(sys.argv)
    found = framework.sweep(
        "javelin", over={"estimator": ["rloo", "spsa"], "seed": range(2)}, overrides=SHORT
    )
    printed = capsys.readouterr()
    assert (printed.out, printed.err, sys.argv) == ("", "", arguments)
    assert found.folder.parent == Path("outputs/javelin")
    assert [job.overrides for job in found.jobs] == [
        [f"estimator={estimator}", f"seed={seed}"]
        for estimator in ("rloo", "spsa")
        for seed in (0, 1)
    ]
    outcome = diffobj(
        "train", "-m", "experiment=javelin", *SHORT, "estimator=rloo,spsa", "seed=0,1",
        "hydra.sweep.dir=command",
    )  # fmt: skip
    assert str(found) == "\n".join(outcome.out.splitlines()[-4:]).replace(
        "command", str(found.folder)
    )
    for job in found.jobs:
        here, there = (
            newest(place / job.folder)["model"] for place in (found.folder, Path("command"))
        )
        assert all((here[name] == there[name]).all() for name in here)
    assert found.best is not None
    assert found.best.value == min(job.value or 0.0 for job in found.jobs)
    assert framework.load(found.folder / found.best.folder).metrics["objective"] == found.best.value


@pytest.mark.slow
def test_the_same_call_again_goes_on_and_another_is_refused(toy):
    options = ["trainer.steps=4", "task.fault=interrupt", "task.fault_at=2"]
    again: dict[str, Any] = {"over": {"seed": [0, 1]}, "overrides": options, "folder": "here"}
    assert [job.state for job in framework.sweep("toy", **again).jobs] == ["stopped"]
    states = [job.state for job in framework.sweep("toy", **again).jobs]
    assert states == ["finished", "stopped"]
    assert framework.sweep("toy", **again).best is not None
    with pytest.raises(UserError, match="here holds another sweep"):
        framework.sweep("toy", over={"seed": [0, 2]}, overrides=options, folder="here")


def test_a_failed_job_is_returned_with_its_error_and_the_others_run(toy, capsys):
    found = framework.sweep(
        "toy", over={"task.fault": ["primary_metric", None]}, overrides=["trainer.steps=4"]
    )
    assert [job.state for job in found.jobs] == ["failed", "finished"]
    assert found.jobs[0].error.startswith("the task's primary metric 'objective' is not among")
    assert found.best == found.jobs[1]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("over", "line"),
    [
        ({"seed": [0, "oops"]}, "seed = 'oops': expected a valid integer"),
        ({"seed": []}, "over['seed'] = []: expected a list of choices such as [0, 1]"),
        ({"seed": 3}, "over['seed'] = 3: expected a list of choices such as [0, 1]"),
        ({"seed": [object]}, "over['seed']: <class 'object'> is no number, text, list or mapping"),
        ({"estimator": ["rloo", "rlo"]}, "unknown estimator 'rlo'; did you mean 'rloo'?"),
        ({"task.begin": [1, 2]}, "unknown key 'task.begin'; choices: "),
        ({"trainer.ranks": [1, 2]}, "trainer.ranks = 2: each of many trainings has one process;"),
    ],
)
def test_a_bad_choice_is_one_line_before_the_first_job(tmp_path, over, line):
    with pytest.raises(UserError) as error:
        framework.sweep("javelin", over=over, overrides=SHORT)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [0, -3, 2.5, 1e-05, True, False, None, "rloo", "a b", "it's", "1,2", "null", "5", "", "ä/ö.png",
     "a\\", "a\\'b", "\\\\'", "${x}"[1:], [1, "two", [3.0]], {"a": 1, "b": [True]}, []],
)  # fmt: skip
def test_a_choice_is_written_as_hydra_reads_it(value):
    (override,) = OverridesParser.create().parse_overrides([f"+k={choices('k', [value])}"])
    assert override.value() == value
    assert type(override.value()) is type(value)


def test_hydras_own_grammar_may_be_given_as_text():
    found = framework.sweep("javelin", over={"seed": "range(0,3)"}, overrides=SHORT, folder="here")
    assert [job.overrides for job in found.jobs] == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert json.loads(Path("here/sweep.json").read_text())["swept"] == {"seed": ["0", "1", "2"]}
    assert result(Path("here/2"))["steps"] == 2


def test_numpys_numbers_and_arrays_are_written_as_pythons():
    assert choices("seed", np.arange(3)) == "0,1,2"
    assert (
        choices("trainer.threads", [np.int64(1), np.float64(0.5), np.bool_(True)]) == "1,0.5,true"
    )
