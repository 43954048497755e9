"""diffobj evaluate: a run measured again."""

import json
from pathlib import Path

import pytest

from framework.commands import train
from tests.runs import Diffobj, result


@pytest.fixture(scope="module")
def javelin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was at its best before its end."""
    folder: Path = tmp_path_factory.mktemp("evaluate") / "run"
    options = [
        "trainer.steps=12",
        "trainer.evaluate_every=5",
        "optimizer=sgd",
        "optimizer.learning_rate=0.02",
    ]
    options += [
        "scheduler=constant",
        "trainer.ema=0.5",
        "monitor.tensorboard=false",
        "monitor.progress=none",
    ]
    train.run(["experiment=javelin", *options, f"hydra.run.dir={folder}"])
    return folder


def evaluated(diffobj: Diffobj, *arguments: str) -> dict[str, object]:
    outcome = diffobj("evaluate", *arguments)
    assert outcome.status == 0, outcome.err
    read: dict[str, object] = json.loads(outcome.out)
    return read


def test_the_last_checkpoint_has_the_runs_own_final_metrics(javelin, diffobj: Diffobj):
    told = evaluated(diffobj, f"run={javelin}", "checkpoint=last")
    assert told["metrics"] == result(javelin)["metrics"]
    assert told["step"] == 12
    assert told["run"] == str(javelin)


def test_the_best_checkpoint_is_the_default(javelin, diffobj: Diffobj):
    told = evaluated(diffobj, f"run={javelin}")
    assert told["checkpoint"] == "best"
    assert told["step"] == result(javelin)["best"]["step"]
    assert told["metrics"]["angle_degrees"] == result(javelin)["best"]["angle_degrees"]  # type: ignore[index]


def test_the_seed_can_be_chosen(javelin, diffobj: Diffobj):
    own = evaluated(diffobj, f"run={javelin}", "seed=0")["metrics"]
    other = evaluated(diffobj, f"run={javelin}", "seed=1")["metrics"]
    assert own == evaluated(diffobj, f"run={javelin}")["metrics"]
    assert own["objective"] != other["objective"]  # type: ignore[index]
    assert own["angle_degrees"] == other["angle_degrees"]  # type: ignore[index]


def test_the_task_can_be_varied(javelin, diffobj: Diffobj):
    calm = evaluated(diffobj, f"run={javelin}")["metrics"]["range_metres"]  # type: ignore[index]
    drag = evaluated(diffobj, f"run={javelin}", "task.drag=0.01")["metrics"]["range_metres"]  # type: ignore[index]
    assert drag < calm


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_run_in_mixed_precision_is_measured_in_it(toy, tmp_path, diffobj: Diffobj, precision):
    folder = tmp_path / "run"
    train.run(["experiment=toy", f"trainer.precision={precision}", f"hydra.run.dir={folder}"])
    told = evaluated(diffobj, f"run={folder}", "checkpoint=last")
    assert told["metrics"] == result(folder)["metrics"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("task.dragg=1", "unknown key 'task.dragg'; did you mean 'drag'?"),
        ("task.drag=-1", "task.drag = -1: expected greater than or equal to 0"),
        ("task=javelin", "unknown key 'task'; "),
    ],
)
def test_a_mistake_is_one_line(javelin, diffobj: Diffobj, change, said):
    outcome = diffobj("evaluate", f"run={javelin}", change)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")


def test_another_shape_of_model_is_refused_by_name(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    train.run(["experiment=toy", f"hydra.run.dir={folder}"])
    outcome = diffobj("evaluate", f"run={folder}", "task.hidden=9")
    assert outcome.status == 2
    assert (
        outcome.err
        == "diffobj: checkpoint: '0.weight' is [8, 4], the task's model expects [9, 4]\n"
    )


def test_a_run_stopped_before_its_first_evaluation_has_no_best_and_says_so(
    toy, tmp_path, diffobj: Diffobj
):
    folder = tmp_path / "run"
    train.run(
        ["experiment=toy", "task.fault=interrupt", "task.fault_at=2", f"hydra.run.dir={folder}"]
    )
    outcome = diffobj("evaluate", f"run={folder}")
    assert outcome.status == 2
    assert outcome.err.endswith("take checkpoint=last\n")
    assert evaluated(diffobj, f"run={folder}", "checkpoint=last")["step"] == 3
