"""The run folder: who may write into it, what it holds, and what a resume may change."""

import fcntl
import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import framework
from framework.commands import train
from framework.errors import UserError
from framework.training.checkpoints.resume import change_config, load_config
from framework.training.folders.run_folder import RunFolder, finite
from tests.runs import Diffobj, files, newest, records, result

SHORT = (
    "experiment=javelin",
    "trainer.steps=3",
    "monitor.tensorboard=false",
    "monitor.progress=none",
)


def sessions(folder: Path) -> list[dict[str, Any]]:
    """A run's `manifest.jsonl`."""
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three steps."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train.run([*SHORT, f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture
def run_folder(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_run_folder_holds_what_the_readme_says(run_folder):
    kept = {name.partition("/")[0] for name in files(run_folder)}
    assert kept == {
        ".lock", "config.yaml", "manifest.jsonl", "metrics.jsonl", "result.json", "log.txt", "checkpoints", "media",
    }  # fmt: skip
    (manifest,) = sessions(run_folder)
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
    said = f"diffobj: run folder {run_folder} is in use by process {os.getpid()} on "
    assert outcome.err.startswith(said)
    assert outcome.err.count("\n") == 1
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


def test_a_resume_rewrites_no_configuration_that_stays_and_adds_to_the_sessions(
    run_folder, diffobj: Diffobj
):
    config, first = run_folder / "config.yaml", (run_folder / "manifest.jsonl").read_text()
    before = config.stat()
    assert diffobj("train", f"resume={run_folder}").status == 0
    assert (config.stat().st_mtime_ns, config.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert diffobj("train", f"resume={run_folder}", "trainer.steps=5").status == 0
    assert (run_folder / "manifest.jsonl").read_text().startswith(first)
    told = [(s["step"], s["changes"]) for s in sessions(run_folder)]
    assert told == [(0, {}), (3, {}), (3, {"trainer.steps": [3, 5]})]


def test_fewer_steps_than_are_done_are_refused(run_folder, diffobj: Diffobj):
    before = {name: (run_folder / name).read_bytes() for name in ("config.yaml", "result.json")}
    outcome = diffobj("train", f"resume={run_folder}", "trainer.steps=2")
    assert outcome.status == 2
    assert outcome.err == (
        "diffobj: trainer.steps = 2: the run has done 3 steps; expected at least as many\n"
    )
    assert before == {name: (run_folder / name).read_bytes() for name in before}


def test_what_is_other_than_in_the_session_before_is_shown(run_folder, diffobj: Diffobj):
    (was,) = sessions(run_folder)
    was["packages"]["torch"], was["threads"] = "2.0.0", 7
    (run_folder / "manifest.jsonl").write_text(json.dumps(was) + "\n")
    changes = ("trainer.steps=5", "scheduler.warmup=2", "monitor.progress=lines")
    outcome = diffobj("train", f"resume={run_folder}", *changes)
    (line,) = [line for line in outcome.out.splitlines() if line.startswith("other than before")]
    assert line == (
        "other than before: scheduler.warmup: 0 -> 2; trainer.steps: 3 -> 5; "
        "monitor.progress: none -> lines; "
        f"packages.torch: 2.0.0 -> {importlib.metadata.version('torch')}; threads: 7 -> 1; "
        "the cosine schedule is that of 5 steps from here on"
    )


def test_another_order_of_the_data_is_refused_unless_it_is_forced(run_folder, diffobj: Diffobj):
    changes = ("trainer.accumulate=2", "trainer.steps=5")
    outcome = diffobj("train", f"resume={run_folder}", *changes)
    assert outcome.status == 2
    assert outcome.err == (
        "diffobj: trainer.accumulate: 1 -> 2: each step would see other data than in an uninterrupted run; "
        "resume.force=true resumes all the same\n"
    )
    assert diffobj("train", f"resume={run_folder}", *changes, "resume.force=true").status == 0
    assert result(run_folder)["steps"] == 5


@pytest.mark.parametrize("words", [["resume.force=true"], ["resume.force=yes", "resume=."]])
def test_forcing_is_true_or_false_and_goes_with_a_resume(diffobj: Diffobj, words):
    outcome = diffobj("train", *SHORT, *words)
    assert outcome.status == 2
    assert "expected true or false, beside resume=RUN_FOLDER" in outcome.err


@pytest.mark.parametrize("left", [None, "", "\0" * 300])
def test_a_lost_configuration_comes_from_the_checkpoint(run_folder, diffobj: Diffobj, left):
    config = run_folder / "config.yaml"
    before = config.read_text()
    config.unlink()
    if left is not None:
        config.write_text(left)
    outcome = diffobj("train", f"resume={run_folder}")
    assert outcome.status == 0
    assert outcome.err == f"{run_folder}: config.yaml is lost; it is taken from the checkpoint\n"
    assert config.read_text() == before
    assert diffobj("train", *SHORT, f"hydra.run.dir={run_folder}").status == 2


# --- resume=auto ----------------------------------------------------------------------------------------------------


def auto(place: Path, *more: str) -> list[str]:
    return [*SHORT, f"hydra.run.dir={place}", "resume=auto", *more]


def test_auto_begins_goes_on_and_leaves_a_finished_run_as_it_is(tmp_path, diffobj: Diffobj):
    place, whole = tmp_path / "run", tmp_path / "whole"
    diffobj("train", *SHORT, f"hydra.run.dir={whole}")
    assert diffobj("train", *auto(place, "trainer.stop_at=1")).status == 0
    assert result(place)["steps"] == 1
    for _ in range(2):
        outcome = diffobj("train", *auto(place))
        assert outcome.status == 0
        assert outcome.out.splitlines()[-1] == str(place)
        assert result(place)["metrics"] == result(whole)["metrics"]
    assert [s["step"] for s in sessions(place)] == [0, 1, 3]
    assert [sorted(r) for r in records(place)] == [sorted(r) for r in records(whole)]


def test_auto_in_python(tmp_path):
    options: dict[str, Any] = {"overrides": SHORT[2:], "folder": tmp_path / "run", "resume": "auto"}
    first = framework.train("javelin", steps=2, **options)
    second = framework.train("javelin", steps=3, **options)
    assert (first.step, second.step) == (2, 3)


def test_auto_refuses_another_run(tmp_path, diffobj: Diffobj):
    diffobj("train", *auto(tmp_path / "run"))
    outcome = diffobj("train", *auto(tmp_path / "run", "seed=4"))
    assert outcome.status == 2
    assert outcome.err.endswith("changed: seed: 0 -> 4\n")


def test_auto_needs_a_folder_that_the_next_start_finds_again(diffobj: Diffobj):
    outcome = diffobj("train", *SHORT, "resume=auto")
    assert outcome.status == 2
    assert outcome.err.startswith("diffobj: resume=auto needs a folder")


def test_auto_begins_again_where_the_first_checkpoint_was_not_whole(tmp_path, diffobj: Diffobj):
    """Neither a run that failed before it, nor one that was killed between its two files, is stuck."""
    place = tmp_path / "run"
    diffobj("train", *auto(place))
    end = result(place)["metrics"]
    for name in ("result.json", "checkpoints/step_000000003.json"):
        (place / name).unlink()
    outcome = diffobj("train", *auto(place))
    assert outcome.status == 0
    assert outcome.out.startswith(f"{place}: stopped before its first checkpoint")
    assert result(place)["metrics"] == end


def test_a_run_that_fails_before_its_first_step_can_be_started_again(
    toy, tmp_path, diffobj: Diffobj
):
    place = tmp_path / "run"
    place.mkdir()
    options = ("experiment=toy", "task.fault=poison", "trainer.nonfinite_patience=1")
    outcome = diffobj("train", *options, f"hydra.run.dir={place}")
    assert outcome.status == 2
    assert files(place) == []
    assert diffobj("train", "experiment=toy", f"hydra.run.dir={place}").status == 0


# --- changes --------------------------------------------------------------------------------------------------------


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


def test_what_is_no_run_folder_is_told(tmp_path, diffobj: Diffobj, monkeypatch):
    # Where there are no other runs to be named.
    monkeypatch.chdir(tmp_path)
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


def test_only_what_the_run_has_made_is_removed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "media").mkdir(parents=True)
    (tmp_path / "mine" / "log.txt").write_text("earlier")
    for place in ("mine/a/b", "mine", "outputs/javelin/now"):
        folder = RunFolder(Path(place))
        with folder.held():
            for name in ("log.txt", "config.yaml", "events.out.tfevents.1.host", ".partial-1"):
                (folder.path / name).write_text("")
            (folder.path / "checkpoints").mkdir()
            (folder.path / "checkpoints" / "step_000000001.pt").write_text("")
            folder.discard()
    assert files(tmp_path) == ["mine", "mine/.lock", "mine/log.txt", "mine/media"]


def test_what_somebody_puts_into_a_run_folder_meanwhile_stays(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.held():
        (folder.path / "config.yaml").write_text("")
        (folder.path / "notes.md").write_text("mine")
        folder.discard()
    assert files(tmp_path) == ["run", "run/.lock", "run/notes.md"]


def test_a_lock_that_its_holder_deletes_is_not_held_by_two(tmp_path, monkeypatch):
    """The second opens the lock's file, the first discards the folder: the second must not hold a nameless file."""
    first, second, third = (RunFolder(tmp_path / "run") for _ in range(3))
    first.open()
    flock = fcntl.flock

    def discarded_before(lock: int, how: int) -> None:
        monkeypatch.undo()
        first.discard()
        first.close()
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", discarded_before)
    second.open()
    with pytest.raises(UserError, match="in use"):
        third.open()
    second.close()


def test_what_a_kill_left_of_files_is_gone_when_the_folder_is_held_again(tmp_path):
    for name in (".partial-1", "checkpoints/.partial-2", "media/rows/.partial-3", "media/a.png"):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with RunFolder(tmp_path / "run").held():
        pass
    left = [name for name in files(tmp_path / "run") if (tmp_path / "run" / name).is_file()]
    assert left == [".lock", "media/a.png"]


def test_numbers_that_json_does_not_know_become_null():
    node = {"metrics": {"a": float("nan"), "b": 1.5}, "best": {"c": float("-inf")}, "steps": 3}
    assert finite(node) == {"metrics": {"a": None, "b": 1.5}, "best": {"c": None}, "steps": 3}


def test_a_result_without_bounds_or_without_sense_is_none(tmp_path):
    path = tmp_path / "result.json"
    for damage in (b"[1]", b"{", b"\xff", b"[" * 100_000):
        path.write_bytes(damage)
        assert RunFolder(tmp_path).result() == {}
    path.write_bytes(b'{"steps": 3}')
    assert RunFolder(tmp_path).result() == {"steps": 3}
    os.truncate(path, 2**40)
    assert RunFolder(tmp_path).result() == {}
