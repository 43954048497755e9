"""diffobj train: what it prints and leaves, and sweeps."""

from pathlib import Path

import pytest

from tests.runs import Diffobj, files, result

JAVELIN = ("experiment=javelin", "trainer.steps=3", "monitor.tensorboard=false")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_the_last_line_is_the_run_folder(tmp_path, diffobj: Diffobj):
    outcome = diffobj("train", *JAVELIN)
    assert outcome.status == 0
    assert outcome.err == ""
    folder = Path(outcome.out.splitlines()[-1])
    assert folder.parent == tmp_path / "outputs" / "javelin"
    assert (folder / "result.json").is_file()


def test_the_lines_say_what_is_trained_what_happened_and_where_to_look(diffobj: Diffobj):
    first, *_, last, look, folder = diffobj("train", *JAVELIN).out.splitlines()
    assert first == "javelin: task javelin (1 parameters), estimator rloo, 3 steps on cpu"
    assert last.startswith("javelin: all steps done: 3 steps in ")
    assert look.startswith(f"tensorboard --logdir {folder} shows the run; result.json, ")


def test_the_result_has_the_promised_keys(tmp_path, diffobj: Diffobj):
    diffobj("train", *JAVELIN, "trainer.evaluate_every=2", "hydra.run.dir=here")
    end = result(tmp_path / "here")
    assert {"experiment", "steps", "seconds", "metrics", "best", "run"} <= end.keys()
    assert end["experiment"] == "javelin"
    assert end["steps"] == 3
    assert end["seconds"] > 0
    names = {"angle_degrees", "range_metres", "objective", "objective_standard_error"}
    assert names == end["metrics"].keys()
    assert end["best"].keys() == {"step", *end["metrics"]}
    assert end["best"]["step"] == 2
    assert Path(end["run"]) == tmp_path / "here"


def test_the_same_seed_gives_the_same_result_and_another_another(tmp_path, diffobj: Diffobj):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        diffobj("train", *JAVELIN, f"seed={seed}", f"hydra.run.dir={name}")
    a, b, c = (result(tmp_path / name)["metrics"] for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.slow
def test_a_sweep_runs_every_combination_in_a_folder_of_its_own(tmp_path, diffobj: Diffobj):
    outcome = diffobj(
        "train", "-m", *JAVELIN, "estimator=rloo,spsa", "seed=0,1", "hydra.sweep.dir=all runs"
    )
    assert outcome.status == 0
    assert outcome.err == ""
    folders = sorted((tmp_path / "all runs").glob("[0-9]"))
    assert len(folders) == 4
    printed = [line for line in outcome.out.splitlines() if line.startswith(str(tmp_path))]
    assert printed == [str(folder) for folder in folders]
    assert len({result(folder)["metrics"]["angle_degrees"] for folder in folders}) == 4
    assert not (tmp_path / "outputs").exists()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "bad",
    [
        "estimator=rloo,rlo",
        "seed=0,oops",
        "trainer.steps=3,-3",
        "task.start_degrees=10,200",
        "task.start=1,2",
        "experiment=javelin,nothing",
        "trainer.steps=1.5,2",
    ],
)
def test_a_sweep_with_a_bad_choice_stops_before_its_first_job(tmp_path, diffobj: Diffobj, bad):
    outcome = diffobj("train", "-m", *JAVELIN, bad)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert files(tmp_path) == []


def test_a_jobs_mistake_is_told_in_one_line_and_the_other_jobs_run(toy, tmp_path, diffobj: Diffobj):
    jobs = ["experiment=toy", "trainer.steps=4", "hydra.sweep.dir=two"]
    outcome = diffobj("train", "-m", *jobs, "task.fault=primary_metric,null")
    assert outcome.status == 2
    assert (
        outcome.err
        == "diffobj: the task's primary metric 'objective' is not among its metrics: error\n"
    )
    assert result(tmp_path / "two" / "1")["steps"] == 4


def test_a_signal_ends_the_whole_sweep(toy, tmp_path, diffobj: Diffobj):
    options = ["experiment=toy", "task.fault=interrupt", "task.fault_at=3", "hydra.sweep.dir=sweep"]
    outcome = diffobj("train", "-m", *options, "seed=0,1,2")
    assert outcome.status == 128 + 15
    assert result(tmp_path / "sweep" / "0")["steps"] == 4
    assert not (tmp_path / "sweep" / "1").exists()


def test_a_resume_and_a_sweep_do_not_go_together(diffobj: Diffobj):
    outcome = diffobj("train", "-m", "resume=x", "seed=0,1")
    assert outcome.status == 2
    assert outcome.err == "diffobj: resume continues one run: -m does not go with it\n"


def test_an_estimator_that_cannot_serve_the_task_says_so_before_the_first_step(
    tmp_path, diffobj: Diffobj
):
    for estimator in ("reparameterisation", "exact"):
        outcome = diffobj("train", "experiment=cartpole", f"estimator={estimator}", "task.games=2")
        assert outcome.status == 2
        assert outcome.err.count("\n") == 1
        assert "estimators that can serve it: " in outcome.err
        assert files(tmp_path) == []


MINE = "# @package _global_\n# Mine.\ndefaults:\n  - javelin\n  - _self_\ntrainer:\n  steps: 2\n"


def mine(tmp_path: Path, text: str) -> str:
    """An experiment in a folder of the user's own."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(text)
    return f"--config-dir={tmp_path / 'conf'}"


def test_a_folder_of_ones_own_configurations_can_be_given(tmp_path, diffobj: Diffobj):
    option = mine(tmp_path, MINE)
    outcome = diffobj("train", option, "experiment=mine", *JAVELIN[2:])
    assert outcome.status == 0, outcome.err
    folder = Path(outcome.out.splitlines()[-1])
    assert folder.parent == tmp_path / "outputs" / "mine"
    assert result(folder)["steps"] == 2
    assert result(folder)["experiment"] == "mine"
    before = files(tmp_path)
    outcome = diffobj("train", option, "experiment=mine", "task.drag=-1")
    assert outcome.status == 2
    assert outcome.err == "diffobj: task.drag = -1: expected greater than or equal to 0\n"
    assert files(tmp_path) == before


def test_an_interrupt_before_the_first_step_leaves_nothing(
    toy, tmp_path, monkeypatch, diffobj: Diffobj
):
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("framework.training.trainer.Trainer.loop", interrupted)
    before = files(tmp_path)
    outcome = diffobj("train", "experiment=toy")
    assert outcome.status == 130
    assert outcome.err == ""
    assert files(tmp_path) == before
