"""framework.tune and diffobj tune: what is found, what it leaves, and what is refused."""

import json
import os
import signal
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

import framework
from framework.config.composition import with_own_folders
from framework.errors import UserError
from framework.run import compose
from framework.tuning.processes import stopped_by_any
from framework.tuning.study_folder import StudyFolder
from framework.tuning.trials import Trials
from tests.runs import Diffobj, files, python, records, result

pytest.importorskip("optuna", reason="diffobj tune needs Optuna: make install EXTRAS=tune")

QUIET = ["monitor.tensorboard=false", "monitor.progress=none", "trainer.quality.every=0"]
TOY = ["experiment=toy", "task.layers=plain", "task.spread=0", *QUIET]
OTHERS: list[tuple[dict[str, Any], str]] = [
    ({"over": {"optimizer.learning_rate": "interval(1e-4,2)"}}, "space was '"),
    ({"overrides": ["seed=5"]}, "overrides was '"),
    ({"sampler": "random"}, "sampler was 'tpe', now 'random'"),
    ({"study_seed": 1}, "study_seed was '0', now '1'"),
]
RATE = {"optimizer.learning_rate": "interval(1e-4,1)"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def tuned(**changes: Any) -> framework.Study:
    """A study of three short trials."""
    options: dict[str, Any] = {"over": RATE, "trials": 3, "folder": "here"} | changes
    options["overrides"] = [*TOY, "trainer.steps=4", *changes.get("overrides", [])]
    return framework.tune(**options)


@pytest.mark.slow
def test_the_best_trial_is_the_one_whose_run_was_judged_best(toy):
    found = tuned(overrides=["trainer.evaluate_every=2"])
    assert [trial.state for trial in found.trials] == ["finished"] * 3
    for trial in found.trials:
        last = [r for r in records(found.folder / str(trial.number)) if "evaluation/objective" in r]
        assert trial.value == last[-1]["evaluation/objective"]
        rate = float(trial.overrides[0].removeprefix("optimizer.learning_rate="))
        config = framework.load(found.folder / str(trial.number)).settings
        assert config.optimizer.options["learning_rate"] == rate
        assert 1e-4 <= rate <= 1
    assert found.best is not None
    assert found.best.value == min(trial.value or 0.0 for trial in found.trials)
    assert str(found) == Path("here/study.md").read_text().rstrip()
    assert f"Best: objective {found.best.value:.6g}, trial {found.best.number}: " in str(found)
    assert Path("here/study.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_best_settings_are_an_experiment_that_means_the_same(toy):
    over = {**RATE, "estimator": ["rloo", "reinforce"], "task.batch_size": "int(interval(4,16))"}
    found = tuned(over=over, trials=2)
    assert found.best is not None
    trained = framework.load(found.folder / str(found.best.number)).settings
    with with_own_folders([found.folder / "configs"]):
        again = compose("experiment=toy_best")
    assert again == trained.model_copy(update={"experiment": "toy_best"})


@pytest.mark.slow
def test_a_study_goes_on_where_it_was_and_tries_what_it_would_have_tried(toy):
    whole = tuned(trials=8, folder="whole", overrides=["trainer.evaluate_every=2"])
    tuned(trials=3, overrides=["trainer.evaluate_every=2"])
    before = {path: path.read_bytes() for path in Path("here").glob("*/metrics.jsonl")}
    parted = tuned(trials=8, overrides=["trainer.evaluate_every=2"])
    assert len(parted.trials) == 8
    for one, other in zip(parted.trials, whole.trials, strict=True):
        assert (one.overrides, one.value, one.state) == (other.overrides, other.value, other.state)
    assert {path: path.read_bytes() for path in before} == before
    assert tuned(trials=8, overrides=["trainer.evaluate_every=2"]).trials == parted.trials


@pytest.mark.slow
def test_a_whole_option_is_searched_by_whole_numbers_without_being_told(toy):
    found = tuned(over={"task.batch_size": "interval(2,20)"}, trials=2)
    sizes = [trial.overrides[0].removeprefix("task.batch_size=") for trial in found.trials]
    assert all(size.isdecimal() for size in sizes), sizes
    fractions = tuned(over={"optimizer.learning_rate": "interval(1,3)"}, trials=1, folder="there")
    assert "." in fractions.trials[0].overrides[0]


@pytest.mark.slow
def test_a_trial_that_fails_is_noted_and_the_search_goes_on(toy, diffobj: Diffobj):
    told = [
        "task.fault=choice(slow,objective,metric)",
        "study_seed=3",
    ]
    outcome = diffobj(
        "tune", *TOY, "trainer.steps=4", *told, "trials=6", "sampler=random", "folder=here"
    )
    found = Trials(StudyFolder(Path("here")), StudyFolder(Path("here")).plan()).found()
    states = {trial.overrides[0].partition("=")[2]: trial for trial in found}
    assert states["slow"].state == "finished"
    assert states["objective"].error.startswith(
        "RuntimeError: the objective is broken (task.py, line "
    )
    assert states["metric"].error == "objective is nan"
    assert outcome.status == 0
    assert "failed: objective is nan" in outcome.out


@pytest.mark.slow
def test_a_study_in_which_no_trial_finishes_has_status_2(toy, diffobj: Diffobj):
    told = ["trainer.steps=2", "task.fault=objective", "optimizer.learning_rate=interval(0.1,0.2)"]
    outcome = diffobj("tune", *TOY, *told, "trials=2", "folder=here")
    assert outcome.status == 2
    assert "2 failed. objective on the validation split" in outcome.out
    assert not Path("here/configs").exists()


@pytest.mark.slow
def test_a_bad_trial_ends_where_the_finished_ones_were_better(toy):
    over = {"optimizer.learning_rate": "choice(0.1,0.1001,0.1002,0.1003,1e-7)"}
    options = ["trainer.steps=20", "trainer.evaluate_every=5"]
    found = tuned(over=over, trials=14, overrides=options, study_seed=2)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.step is not None
        assert trial.step < 20
        before = [t for t in found.trials[: trial.number] if t.state == "finished"]
        assert len(before) >= 5
        assert trial.value == trial.values[trial.step]
        assert trial.value > median(t.values[trial.step] for t in before)
        ended = result(found.folder / str(trial.number))
        assert ended["steps"] == trial.step
        assert ended["stopped"].startswith(f"Pruned: step {trial.step}: objective is worse than")
    assert found.best not in pruned
    never = tuned(
        over=over, trials=14, overrides=options, study_seed=2, pruner="none", folder="none"
    )
    assert {trial.state for trial in never.trials} == {"finished"}


@pytest.mark.slow
def test_another_metric_is_sought_in_its_own_direction():
    options = ["trainer.steps=3", "trainer.evaluate_every=0", *QUIET]
    found = framework.tune(
        "javelin",
        over=RATE,
        trials=3,
        metric="range_metres",
        mode="max",
        overrides=options,
        folder="here",
    )
    assert found.best is not None
    for trial in found.trials:
        run = framework.load(found.folder / str(trial.number), checkpoint="last")
        assert trial.value == run.evaluate(split="validation")["range_metres"]
    assert found.best.value == max(trial.value or 0.0 for trial in found.trials)


JAVELIN = ["experiment=javelin", *QUIET]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (["seed=0,1", "trails=3"], "unknown key 'trails'; did you mean 'trials'?"),
        (["seed=0,1", "trials=0"], "trials = 0: expected a whole number, 1 or more"),
        (["seed=0,1", "trials=many"], "trials = many: expected a whole number"),
        (["seed=0,1", "workers=0"], "workers = 0: expected a whole number, 1 or more"),
        (["seed=0,1", "sampler=tpf"], "sampler = 'tpf': did you mean 'tpe'?"),
        (["seed=0,1", "pruner=mean"], "pruner = 'mean': did you mean 'median'?"),
        (
            ["seed=0,1", "metric=range_metres"],
            "metric=range_metres: write mode=min or mode=max, too",
        ),
        (["seed=0,1", "metric=x", "mode=low"], "mode = 'low': choices: max, min"),
        (["seed=3"], "there is nothing to search: "),
        (
            ["optimizer.learning_rat=interval(0.1,0.2)"],
            "unknown key 'optimizer.learning_rat'; did you mean",
        ),
        (["optimizer.learning_rate=interval(-1,1)"], "optimizer.learning_rate = -1.0: expected "),
        (["estimator=rloo,spsb"], "unknown estimator 'spsb'; did you mean 'spsa'?"),
        (
            ["seed=0,1", "hydra.run.dir=here"],
            "'hydra.run.dir=here': a study runs its own trials; folder=PATH",
        ),
        (
            ["seed=0,1", "hydra/launcher=joblib"],
            "a study runs its own trials; folder=PATH and workers=N",
        ),
        (["seed=0,1", "folder="], "folder = '': expected a folder"),
        (["seed=0,1", "resume=auto"], "'resume=auto': a study runs its own trials"),
        (["seed=0,1", "-m"], "'-m' does not go with tune, which takes --config-dir=FOLDER only"),
        (
            ["seed=0,1", "trainer.ranks=2"],
            "trainer.ranks = 2: each of many trainings has one process",
        ),
    ],
)
def test_a_mistake_is_one_line_before_the_first_trial(tmp_path, diffobj: Diffobj, told, line):
    outcome = diffobj("tune", *JAVELIN, *told)
    assert outcome.status == 2
    assert line in outcome.err
    assert outcome.err.count("\n") == 1
    assert files(tmp_path) == []


def test_a_metric_that_the_task_does_not_have_ends_the_study_with_those_that_it_has(
    diffobj: Diffobj,
):
    told = ["trainer.steps=2", "seed=0,1", "metric=distance", "mode=max", "folder=here"]
    outcome = diffobj("tune", *JAVELIN, *told)
    assert outcome.status == 2
    assert outcome.err.startswith(
        "diffobj: metric = 'distance': expected one of angle_degrees, range_metres, "
    )
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
def test_another_study_or_a_damaged_one_in_the_folder_is_refused(toy, monkeypatch):
    monkeypatch.setattr("framework.tuning.tune.work", lambda *given: None)
    tuned(trials=1)
    Path("here/0").mkdir()
    Path("here/0/config.yaml").touch()
    before = files(Path("here"))
    for changes, said in OTHERS:
        with pytest.raises(UserError) as error:
            tuned(**changes)
        assert str(error.value).startswith("here holds another study: ")
        assert said in str(error.value)
        assert files(Path("here")) == before
    database = Path("here/study.db").read_bytes()
    for lost in (b"", None):
        Path("here/study.db").unlink()
        if lost is not None:
            Path("here/study.db").write_bytes(lost)
        with pytest.raises(
            UserError, match=r"^here/study.db: it is lost, and the trials' runs are"
        ):
            tuned()
        Path("here/study.db").write_bytes(database)
    for name in ("study.db", "study.json"):
        (Path("here") / name).write_bytes(b"{" + b"\x00" * 5000)
        with pytest.raises(UserError, match=rf"^here/{name}: ") as error:
            tuned()
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_folder_of_something_else_is_refused_and_a_sweep_in_a_study_is(toy, diffobj: Diffobj):
    assert diffobj("train", *TOY, "trainer.steps=1", "hydra.run.dir=runs/0").status == 0
    with pytest.raises(UserError, match="runs holds runs of something else; take another folder"):
        tuned(folder="runs")
    tuned(trials=1)
    outcome = diffobj("train", "-m", *TOY, "trainer.steps=1", "seed=0,1", "hydra.sweep.dir=here")
    assert outcome.status == 2
    assert "here holds runs of something else" in outcome.err


@pytest.mark.slow
def test_a_folder_may_have_any_name(toy):
    found = tuned(trials=1, folder="50% {a}?b=c#d ä")
    assert found.best is not None
    assert (found.folder / "study.db").is_file()


@pytest.mark.slow
def test_a_signal_stops_the_study_and_the_same_command_goes_on_with_the_trial(
    toy, diffobj: Diffobj
):
    told = [*TOY, "trainer.steps=8", "task.fault=interrupt", "task.fault_at=3", "seed=range(0,2)"]
    stopped = diffobj("tune", *told, "trials=2", "folder=here")
    assert stopped.status == 128 + 15
    assert stopped.out.splitlines()[-1].endswith(" trials=2 folder=here goes on")
    assert [r["step"] for r in records(Path("here/0"))][-1] <= 4
    plan = StudyFolder(Path("here")).plan()
    assert [t.state for t in Trials(StudyFolder(Path("here")), plan).found()] == ["stopped"]
    # The fault comes at step 3 only, which lies behind the first trial now; the second one meets it.
    assert diffobj("tune", *told, "trials=2", "folder=here").status == 128 + 15
    assert diffobj("tune", *told, "trials=2", "folder=here").status == 0
    found = Trials(StudyFolder(Path("here")), plan).found()
    assert [trial.state for trial in found] == ["finished", "finished"]
    assert result(Path("here/0"))["steps"] == 8


def test_a_full_disk_is_no_failure_of_the_trial(toy, monkeypatch):
    def full(*given: Any, **options: Any) -> None:
        raise UserError("here/0/config.yaml: No space left on device")

    monkeypatch.setattr("framework.tuning.worker.train_composed", full)
    with pytest.raises(UserError, match="No space left on device"):
        tuned(trials=1)
    plan = StudyFolder(Path("here")).plan()
    assert [t.state for t in Trials(StudyFolder(Path("here")), plan).found()] == ["stopped"]


SHORT = ["trainer.steps=30", "trainer.evaluate_every=5", "trainer.checkpoint_every=5"]


def command(*told: str) -> list[str]:
    return ["-m", "framework.commands.main", "tune", *told]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_study_killed_at_any_moment_goes_on_with_no_trial_lost_or_doubled(tmp_path, workers):
    told = ["experiment=javelin", *QUIET, *SHORT, "optimizer.learning_rate=interval(1e-3,1)"]
    told += ["trials=6", f"workers={workers}"]
    for wait in (6.0, 7.5, 9.0):
        process = python(*command(*told, "folder=here"), cwd=tmp_path)
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = python(*command(*told, "folder=here"), cwd=tmp_path)
    _, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    folder = StudyFolder(tmp_path / "here")
    found = Trials(folder, folder.plan()).found()
    assert [trial.number for trial in found] == list(range(6))
    assert {trial.state for trial in found} <= {"finished", "pruned"}
    assert len({tuple(trial.overrides) for trial in found}) == 6
    assert sorted(p.name for p in folder.path.iterdir() if p.name.isdecimal()) == list("012345")
    if workers == 1:
        whole = python(*command(*told, "folder=whole"), cwd=tmp_path)
        assert whole.wait(600) == 0
        other = StudyFolder(tmp_path / "whole")
        for one, undisturbed in zip(found, Trials(other, other.plan()).found(), strict=True):
            assert (one.overrides, one.value, one.state) == (
                undisturbed.overrides, undisturbed.value, undisturbed.state,
            )  # fmt: skip


@pytest.mark.slow
def test_two_commands_at_once_share_the_trials(tmp_path):
    told = ["experiment=javelin", *QUIET, *SHORT, "seed=range(0,100)", "sampler=random", "trials=6"]
    both = [python(*command(*told, "folder=here"), cwd=tmp_path) for _ in range(2)]
    ended = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    lines = [line for out, _ in ended for line in out.splitlines() if line.startswith("trial ")]
    assert sorted(line.split(":")[0] for line in lines) == [f"trial {n}" for n in range(6)]


@pytest.mark.slow
def test_a_signal_to_the_command_stops_its_workers_which_save(tmp_path):
    told = [
        "experiment=javelin",
        *QUIET,
        "trainer.steps=100000",
        "trainer.log_every=1",
        "seed=range(0,100)",
    ]
    process = python(*command(*told, "trials=4", "workers=2", "folder=here"), cwd=tmp_path)
    while process.poll() is None and not all(records(tmp_path / "here" / n) for n in "01"):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + 15, err
    assert out.splitlines()[-1].endswith(" goes on")
    for number in "01":
        ended = result(tmp_path / "here" / number)
        assert ended["stopped"] == "stopped by SIGTERM"
        assert ended["saved"] == ended["steps"] > 0


@pytest.mark.slow
def test_workers_end_with_the_command_that_started_them(tmp_path):
    told = [
        "experiment=javelin",
        *QUIET,
        "trainer.steps=100000",
        "trainer.log_every=1",
        "seed=range(0,100)",
    ]
    process = python(*command(*told, "trials=4", "workers=2", "folder=here"), cwd=tmp_path)
    while process.poll() is None and not all(records(tmp_path / "here" / n) for n in "01"):
        time.sleep(0.1)
    process.kill()
    for number in "01":
        place, waited = tmp_path / "here" / number / "result.json", 0.0
        while not place.exists() and waited < 60:
            time.sleep(0.1)
            waited += 0.1
        assert json.loads(place.read_text())["stopped"] == "stopped by SIGTERM"


def test_a_worker_that_was_killed_matters_where_trials_are_left():
    assert stopped_by_any([0, -9], ["", ""], left=0) is None
    assert stopped_by_any([0, 143], ["", ""], left=1) == 15
    with pytest.raises(UserError, match="a worker ended by SIGKILL; the same command goes on"):
        stopped_by_any([0, -9], ["", ""], left=1)
    with pytest.raises(UserError, match=r"^metric = 'x': expected one of y$"):
        stopped_by_any(
            [2, 0], ["a warning\ndiffobj: metric = 'x': expected one of y\n", ""], left=2
        )
