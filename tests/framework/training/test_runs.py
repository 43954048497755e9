"""Finding runs: which there are, what became of each, and which one a word or a folder means."""

import json
import os
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pytest

import framework
from framework.commands.runs import ago
from framework.errors import UserError
from framework.training.folders.run_folder import RunFolder
from framework.training.runs import find_run, runs
from tests.runs import Diffobj

FINAL = {"step": 40, "final/error": 0.25, "final/share": 0.5}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def made(folder: str, hours_ago: float, *records: Mapping[str, float | None]) -> Path:
    """A run folder with what the listing reads."""
    place = Path(folder)
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("seed: 0\n")
    began = time.localtime(time.time() - 3600 * hours_ago)
    session = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z", began), "primary_metric": "error"}
    (place / "manifest.jsonl").write_text(json.dumps(session) + "\n")
    (place / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    return place


def test_a_finished_run_is_listed_with_its_final_evaluation():
    place = made("outputs/a/1", 2, {"step": 20, "evaluation/error": 1.0}, FINAL)
    (found,) = framework.runs()
    assert found.folder == place
    assert (found.state, found.steps, found.metric, found.value) == ("finished", 40, "error", 0.25)
    assert found.metrics == {"error": 0.25, "share": 0.5}
    session = json.loads((place / "manifest.jsonl").read_text())
    began = datetime.strptime(session["started"], "%Y-%m-%dT%H:%M:%S%z")
    assert found.started == began.timestamp()


def test_a_stopped_run_is_listed_with_its_latest_evaluation_and_its_last_step():
    made(
        "outputs/a/1", 2, {"step": 20, "evaluation/error": 1.0}, {"step": 30, "train/objective": 3}
    )
    (found,) = runs()
    assert (found.state, found.steps, found.value) == ("stopped", 30, 1.0)


def test_a_stopped_run_has_the_steps_of_its_newest_checkpoint():
    """It was stopped between two records, and goes on from there."""
    place = made("outputs/a/1", 2, {"step": 30, "train/objective": 3})
    (place / "checkpoints").mkdir()
    for name in ("step_000000030", "step_000000034", "best_000000099", "step_x"):
        (place / "checkpoints" / f"{name}.json").touch()
    (found,) = runs()
    assert (found.state, found.steps) == ("stopped", 34)


def test_a_run_that_was_resumed_after_its_end_and_stopped_has_no_final_evaluation():
    # A resume drops the final record; `result.json` still holds it.
    place = made("outputs/a/1", 2, {"step": 50, "train/objective": 3})
    (place / "result.json").write_text(json.dumps({"steps": 40, "metrics": {"error": 0.25}}))
    (found,) = runs()
    assert (found.state, found.steps, found.value) == ("stopped", 50, None)


def test_a_metric_that_is_not_finite_is_no_value():
    made("outputs/a/1", 2, {"step": 20, "final/error": None})
    (found,) = runs()
    assert (found.state, found.value) == ("finished", None)


def test_a_run_that_a_process_holds_is_running():
    place = made("outputs/a/1", 0, {"step": 20, "train/objective": 3})
    with RunFolder(place).held():
        assert runs()[0].state == "running"
    assert runs()[0].state == "stopped"


def test_the_newest_comes_first_whatever_the_names_and_the_files_times_say():
    for name, hours in (("outputs/b/2", 3), ("outputs/a/9", 1), ("outputs/a/sweep_1/0", 2)):
        made(name, hours, FINAL)
    # As a copy leaves it.
    os.utime("outputs/b/2/manifest.jsonl")
    listed = [str(found.folder) for found in runs()]
    assert listed == ["outputs/a/9", "outputs/a/sweep_1/0", "outputs/b/2"]
    assert [str(found.folder) for found in runs("outputs/b")] == ["outputs/b/2"]


def test_damaged_files_hide_no_run():
    before = time.time()
    place = made("outputs/a/1", 1)
    (place / "manifest.jsonl").write_bytes(b'{"started": "yesterd')
    (place / "metrics.jsonl").write_bytes(b'\xff\xfe{"step": "x"}\n[1]\n{"step": 7}\n{"step"')
    (found,) = runs()
    assert (found.state, found.steps, found.metric, found.value) == ("stopped", 7, "", None)
    # The file's own time, by a clock that may be coarse.
    assert before - 2 < found.started <= time.time()


def test_a_long_log_is_read_from_its_end():
    many = [{"step": step, "train/objective": 1.0} for step in range(20_000)]
    made("outputs/a/1", 1, *many, {"step": 20_000, "evaluation/error": 2.0})
    (found,) = runs()
    assert (found.steps, found.value) == (20_000, 2.0)


def test_a_run_is_named_by_its_folder_by_latest_or_by_a_folder_around_it():
    old, new = made("outputs/a/1", 5, FINAL), made("outputs/a/2", 4, FINAL)
    other = made("outputs/b/1", 3, FINAL)
    assert find_run(old) == old
    assert find_run("outputs/a") == new
    assert find_run("outputs") == other
    assert find_run("latest") == other


def test_a_folder_called_latest_is_itself():
    made("outputs/a/1", 1, FINAL)
    assert find_run("latest") == Path("outputs/a/1")
    mine = made("latest", 5, FINAL)
    assert find_run("latest") == mine


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "outputs/javelin/2026-01-01_10-00-01",
            "outputs/javelin/2026-01-01_10-00-01 is no run folder: it has no config.yaml; "
            "runs here: outputs/javelin/2026-01-01_10-00-00 (diffobj runs lists all)",
        ),
        (
            "nowhere",
            "nowhere is no run folder: it has no config.yaml; runs here: "
            "outputs/b/9, outputs/b/8, outputs/b/7 (diffobj runs lists all)",
        ),
    ],
)
@pytest.mark.parametrize("command", ["evaluate run", "predict run", "train resume"])
def test_a_folder_without_a_run_is_refused_with_the_runs_that_there_are(
    diffobj: Diffobj, name, line, command
):
    made("outputs/javelin/2026-01-01_10-00-00", 9, FINAL)
    for number in (7, 8, 9):
        made(f"outputs/b/{number}", 8 - number / 10, FINAL)
    verb, key = command.split()
    outcome = diffobj(verb, f"{key}={name}")
    assert outcome.status == 2
    assert outcome.err == f"diffobj: {line}\n"


def test_without_any_run_latest_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"latest: there is no run below {tmp_path / 'outputs'}"):
        find_run("latest")
    with pytest.raises(UserError, match="outputs: there is no such folder"):
        runs()


def test_the_command_lists_one_run_a_line_in_columns(diffobj: Diffobj):
    made("outputs/a/1", 30, FINAL)
    made("outputs/a/2", 2.5, {"step": 1234, "train/objective": 3.0})
    outcome = diffobj("runs")
    assert outcome.out.splitlines() == [
        "2 h  stopped   1,234 steps  not evaluated  outputs/a/2",
        "1 d  finished     40 steps  error 0.25     outputs/a/1",
    ]
    assert diffobj("runs", "in=outputs/a").out == outcome.out
    read = [json.loads(line) for line in diffobj("runs", "format=json").out.splitlines()]
    assert [(r["folder"], r["state"], r["value"]) for r in read] == [
        ("outputs/a/2", "stopped", None),
        ("outputs/a/1", "finished", 0.25),
    ]


def test_the_commands_mistakes_are_one_line(diffobj: Diffobj):
    assert diffobj("runs").err == "diffobj: outputs: there is no such folder\n"
    Path("outputs").mkdir()
    assert diffobj("runs").out == "no run in outputs\n"
    assert diffobj("runs", "format=yaml").err == (
        "diffobj: format = 'yaml': expected table or json\n"
    )


def test_an_age_has_its_largest_unit():
    assert [ago(s) for s in (-1, 0, 59, 60, 3599, 3600, 86399, 86400, 9e5)] == (
        ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "23 h", "1 d", "10 d"]
    )


def test_a_real_run_is_found_evaluated_and_resumed_by_the_words(tmp_path, diffobj: Diffobj):
    short = ("monitor.tensorboard=false", "monitor.progress=none", "trainer.stop_at=3")
    assert diffobj("train", "experiment=javelin", "trainer.steps=5", *short).status == 0
    (found,) = runs()
    assert (found.state, found.steps, found.metric) == ("finished", 3, "objective")
    assert framework.load("outputs/javelin").folder == found.folder
    told = json.loads(diffobj("evaluate", "run=latest", "checkpoint=last").out)
    assert told["metrics"]["objective"] == found.value
    assert told["run"] == str(found.folder)
    assert diffobj("train", "resume=latest", "trainer.stop_at=null").status == 0
    assert [(r.folder, r.steps) for r in runs()] == [(found.folder, 5)]
