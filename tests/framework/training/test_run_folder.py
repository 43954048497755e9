"""The run folder: who may write into it, what it holds, and what a resume may change."""

import json
import os
from pathlib import Path

import pytest

from framework.commands import train
from framework.errors import UserError
from framework.training.resume import change_config, load_config
from framework.training.run_folder import RunFolder, finite
from tests.runs import Diffobj, files, newest, records, result

SHORT = (
    "experiment=javelin",
    "trainer.steps=3",
    "monitor.tensorboard=false",
    "monitor.progress=none",
)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished run of three steps."""
    folder = tmp_path / "run"
    train.run([*SHORT, f"hydra.run.dir={folder}"])
    return folder


def test_a_run_folder_holds_what_the_readme_says(run_folder):
    kept = {name.partition("/")[0] for name in files(run_folder)}
    assert kept == {
        ".lock", "config.yaml", "manifest.json", "metrics.jsonl", "result.json", "log.txt", "checkpoints", "media",
    }  # fmt: skip
    manifest = json.loads((run_folder / "manifest.json").read_text())
    assert manifest["packages"]["torch"][0].isdigit()
    assert manifest["device"]
    assert manifest["threads"] == 1
    assert {"games", "javelin", "framework"} <= manifest["plugins"].keys()
    assert "objective" in (run_folder / "log.txt").read_text()


def test_a_second_run_is_refused_while_the_first_holds_the_folder(run_folder, diffobj: Diffobj):
    held = RunFolder(run_folder)
    held.open()
    outcome = diffobj("train", f"resume={run_folder}", "trainer.steps=4")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: run folder {run_folder} is in use by another process\n"
    held.close()
    assert diffobj("train", f"resume={run_folder}", "trainer.steps=4").status == 0


def test_letting_go_does_not_let_two_others_in():
    """A lock whose file is deleted on closing could be held by two: one on the old file and one on the new."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        first, second, third = (RunFolder(Path(place)) for _ in range(3))
        first.open()
        waiting = open(Path(place, ".lock"))  # noqa: SIM115  (opened before the first lets go)
        first.close()
        second.open()
        assert os.fstat(waiting.fileno()).st_ino == os.stat(Path(place, ".lock")).st_ino
        with pytest.raises(UserError, match="in use"):
            third.open()
        second.close()
        waiting.close()


def test_a_folder_that_holds_a_run_is_not_trained_into_again(run_folder, diffobj: Diffobj):
    before = files(run_folder)
    outcome = diffobj("train", *SHORT, f"hydra.run.dir={run_folder}")
    assert outcome.status == 2
    assert (
        outcome.err
        == f"diffobj: {run_folder} holds a run already; resume={run_folder} continues it\n"
    )
    assert files(run_folder) == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("estimator.samples=8", "estimator.samples: 64 -> 8"),
        ("estimator.sites={a: score_function}", "'estimator.sites' is a group"),
        ("seed=5", "seed: 0 -> 5"),
        ("task.drag=0.1", "task.drag: 0.0 -> 0.1"),
        ("optimizer.beta1=0.5", "optimizer.beta1: 0.9 -> 0.5"),
        ("estimator=spsa", "'estimator' is a group: a run's own choices stay"),
        ("estimator.name=spsa", "unknown key 'estimator.samples'"),
        ("trainer.stepz=5", "unknown key 'trainer.stepz'; did you mean 'steps'?"),
        ("trainer.steps=-1", "trainer.steps = -1: expected greater than or equal to 1"),
        ("trainer[=5", "'trainer[=5': expected key=value"),
        ("trainer.steps={", "'trainer.steps={': "),
        ("steps", "'steps': expected key=value"),
        ("trainer._target_=os.system", "'trainer._target_' is refused"),
    ],
)
def test_a_resume_refuses_what_would_make_another_run(run_folder, diffobj: Diffobj, change, said):
    if change == "estimator.name=spsa":
        said = "estimator.name: rloo -> spsa"
    before = (run_folder / "config.yaml").read_text()
    outcome = diffobj("train", f"resume={run_folder}", change)
    assert outcome.status == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert (run_folder / "config.yaml").read_text() == before
    assert result(run_folder)["steps"] == 3


def test_a_resume_may_change_steps_and_the_learning_rate(run_folder, diffobj: Diffobj):
    outcome = diffobj(
        "train", f"resume={run_folder}", "trainer.steps=5", "optimizer.learning_rate=1e-3"
    )
    assert outcome.status == 0
    assert newest(run_folder)["step"] == 5
    assert newest(run_folder)["optimizer"]["param_groups"][0]["lr"] < 1e-3
    assert load_config(run_folder).optimizer.learning_rate == 1e-3


def test_changes_go_to_a_copy(run_folder):
    config = load_config(run_folder)
    changed = change_config(config, ["trainer.steps=9", "+monitor.progress=lines"])
    assert changed.trainer.steps == 9
    assert changed.monitor.progress == "lines"
    assert config.trainer.steps == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: &a 1\ntrainer: *a\n", "YAML aliases are refused"),
        ("a: &a [1]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n", "YAML aliases are refused"),
        ("- a list\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("seed: [1\n", "config.yaml: "),
        ("trainer: !!python/object/apply:os.system [true]\n", "could not determine a constructor"),
        ("seed: 0\n", "'task' is missing"),
    ],
)
def test_a_config_that_is_no_plain_mapping_is_refused(run_folder, diffobj: Diffobj, text, said):
    (run_folder / "config.yaml").write_text(text)
    for command in ("train", "evaluate"):
        key = "resume" if command == "train" else "run"
        outcome = diffobj(command, f"{key}={run_folder}")
        assert outcome.status == 2
        assert said in outcome.err


def test_what_is_no_run_folder_is_told(tmp_path, diffobj: Diffobj):
    for place in (tmp_path, tmp_path / "nowhere"):
        outcome = diffobj("train", f"resume={place}")
        assert outcome.err == f"diffobj: {place} is no run folder: it has no config.yaml\n"
        assert outcome.status == 2


def test_a_run_without_checkpoints_cannot_be_resumed_and_stays_as_it_is(
    run_folder, diffobj: Diffobj
):
    for path in (run_folder / "checkpoints").iterdir():
        path.unlink()
    before = files(run_folder)
    outcome = diffobj("train", f"resume={run_folder}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: {run_folder}/checkpoints: no step checkpoint\n"
    assert files(run_folder) == before


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    run_folder, tmp_path, diffobj: Diffobj
):
    for path in (run_folder / "checkpoints").iterdir():
        path.unlink()
    end = result(run_folder)["metrics"]
    (run_folder / "result.json").unlink()
    outcome = diffobj("train", f"resume={run_folder}")
    assert outcome.status == 0
    assert outcome.out.startswith(
        f"{run_folder}: stopped before its first checkpoint; it begins again\n"
    )
    assert result(run_folder)["metrics"] == end
    assert [r["step"] for r in records(run_folder) if "train/objective" in r] == [3]


@pytest.mark.parametrize("name", ["Läufe/Übung 1", "it's, a [run] = {3}", "日本語"])
def test_a_run_folder_may_have_any_name(tmp_path, diffobj: Diffobj, name):
    folder = tmp_path / name
    outcome = diffobj("train", *SHORT, f"hydra.run.dir={folder}")
    assert outcome.status == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(folder)
    assert diffobj("train", f"resume={folder}", "trainer.steps=4").status == 0
    assert diffobj("evaluate", f"run={folder}").status == 0


def test_a_long_run_folder_works(tmp_path, diffobj: Diffobj):
    folder = tmp_path.joinpath(*["x" * 200] * 8)
    assert diffobj("train", *SHORT, f"hydra.run.dir={folder}").status == 0
    assert result(folder)["run"] == str(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 300, "File name too long"),
        ("a_file/run", "Not a directory"),
        ("a_file", "File exists"),
    ],
)
def test_a_run_folder_that_cannot_be_is_told_in_one_line(tmp_path, diffobj: Diffobj, name, said):
    (tmp_path / "a_file").write_text("")
    outcome = diffobj("train", *SHORT, f"hydra.run.dir={tmp_path / name}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: run folder {tmp_path / name}: {said}\n"


def test_a_folder_that_may_not_be_written_is_told_in_one_line(
    tmp_path, monkeypatch, diffobj: Diffobj
):
    def refuse(*given: object, **more: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(
        Path, "mkdir", refuse
    )  # the tests may run as root, whom permissions do not stop
    outcome = diffobj("train", *SHORT, f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: run folder {tmp_path / 'run'}: Permission denied\n"


def test_only_folders_made_for_the_run_are_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for place in ("mine/a/b", "mine", "outputs/javelin/now"):
        folder = RunFolder(Path(place))
        folder.open()
        (folder.path / "log.txt").write_text("")
        folder.close()
        folder.discard()
    assert files(tmp_path) == ["mine", "mine/.lock", "mine/log.txt"]


def test_numbers_that_json_does_not_know_become_null():
    node = {"metrics": {"a": float("nan"), "b": 1.5}, "best": {"c": float("-inf")}, "steps": 3}
    assert finite(node) == {"metrics": {"a": None, "b": 1.5}, "best": {"c": None}, "steps": 3}
