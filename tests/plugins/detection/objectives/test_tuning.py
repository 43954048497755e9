"""Tuning a trained run: from its parameters, by any criterion, exactly resumed; and the other families in training."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from framework import UserError
from framework.gradients.enumeration.exact import Exact
from framework.plugin import registry
from framework.task import TrainingPlan
from plugins.detection.data.splits import Data
from plugins.detection.task import Detection
from tests.plugins.detection.test_task import QUICK as OF_DETECTION
from tests.runs import Diffobj, newest, result

QUICK = OF_DETECTION[1:]

PLAN = TrainingPlan(seed=0, steps=10)
REWARDS = {"reward", "reward_above_threshold", "reward_at_best"}


@pytest.fixture
def start(trained: Path) -> Path:
    return trained


@pytest.mark.parametrize("estimator", ["rloo", pytest.param("reinforce", marks=pytest.mark.slow)])
def test_a_reward_tunes_a_run_and_is_measured(estimator, start, tmp_path, diffobj: Diffobj):
    run = tmp_path / "run"
    outcome = diffobj(
        "train",
        "experiment=detection_reward",
        *QUICK,
        f"task.init_from={start}",
        f"estimator={estimator}",
        "estimator.samples=4",
        "trainer.steps=2",
        f"hydra.run.dir={run}",
    )
    assert outcome.status == 0, outcome.err
    metrics = result(run)["metrics"]
    assert metrics.keys() >= REWARDS
    assert (
        metrics["reward_at_best"] >= 0
    )  # above a high threshold there is no box, and nothing to pay
    first, tuned = newest(start)["model"], newest(run)["model"]
    for name, value in tuned.items():
        if "running" in name or "batches" in name:
            assert torch.equal(value, first[name]), name
    assert not torch.equal(first["score.weight"], tuned["score.weight"])


def test_a_relaxed_precision_tunes_a_run_and_the_hard_one_is_reported(
    start, tmp_path, diffobj: Diffobj
):
    run = tmp_path / "run"
    outcome = diffobj(
        "train",
        "experiment=detection_reward",
        *QUICK,
        f"task.init_from={start}",
        "task.criterion=average_precision",
        "estimator=exact",
        "trainer.steps=2",
        f"hydra.run.dir={run}",
    )
    assert outcome.status == 0, outcome.err
    assert result(run)["metrics"].keys() >= REWARDS


def test_training_starts_from_the_parameters_of_the_run(start):
    task = Detection(
        data=Data(size=64, train=12, validation=5, test=7),
        init_from=str(start),
        criterion="reward",
    )
    task.begin(PLAN)
    for name, value in newest(start)["average"].items():
        assert torch.equal(task.parameters[name], value), name


@pytest.mark.slow
def test_tuning_interrupted_and_resumed_is_uninterrupted_bit_for_bit(
    start, tmp_path, diffobj: Diffobj
):
    one, two = tmp_path / "one", tmp_path / "two"
    options = [
        "experiment=detection_reward",
        *QUICK,
        f"task.init_from={start}",
        "task.reward.box_std=0.05",
        "estimator.samples=4",
        "trainer.steps=4",
    ]
    assert diffobj("train", *options, f"hydra.run.dir={one}").status == 0
    assert diffobj("train", *options, "trainer.stop_at=2", f"hydra.run.dir={two}").status == 0
    assert diffobj("train", f"resume={two}", "trainer.stop_at=null").status == 0
    first, second = newest(one)["model"], newest(two)["model"]
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert result(one)["metrics"] == result(two)["metrics"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "task.criterion = 'reward' tunes a trained model: task.init_from=RUN_FOLDER"),
        (
            ["task.init_from=nowhere"],
            "task.init_from = 'nowhere': expected the folder of a detection run",
        ),
        (["task.init_from={start}", "task.model=tiny"], "the task's model expects"),
        (["task.init_from={start}", "task.model=ssdlite"], "the task's model expects"),
        (["task.criterion=rewards"], "task.criterion = 'rewards': expected 'losses', 'reward'"),
    ],
)
def test_mistakes_are_refused_in_one_line(options, expected, start, tmp_path, diffobj: Diffobj):
    filled = [option.format(start=start) for option in options]
    outcome = diffobj(
        "train",
        "experiment=detection_reward",
        *QUICK,
        *filled,
        "trainer.steps=1",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert outcome.status == 2
    assert expected in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_tuned_run_is_used_and_resumed_without_its_initial_run(start, tmp_path, diffobj: Diffobj):
    begun, one, two = tmp_path / "start", tmp_path / "one", tmp_path / "two"
    shutil.copytree(start, begun)
    options = ["experiment=detection_reward", *QUICK, f"task.init_from={begun}", "trainer.steps=2"]
    options.append("estimator.samples=2")
    assert diffobj("train", *options, f"hydra.run.dir={one}").status == 0
    assert diffobj("train", *options, "trainer.stop_at=1", f"hydra.run.dir={two}").status == 0
    shutil.rmtree(begun)
    resumed = diffobj("train", f"resume={two}", "trainer.stop_at=null")
    assert resumed.status == 0, resumed.err
    first, second = newest(one)["model"], newest(two)["model"]
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    found = diffobj("evaluate", f"run={two}")
    assert found.status == 0, found.err
    assert '"reward_at_best"' in found.out
    again = diffobj("train", *options, f"hydra.run.dir={tmp_path / 'new'}")
    assert again.status == 2
    assert f"task.init_from = '{begun}': expected the folder of a detection run" in again.err


@pytest.mark.parametrize("names", [("ant", "bee"), ("circle", "square", "star")])
def test_a_run_on_other_labels_starts_from_all_but_the_class_heads(start, names, tmp_path, capsys):
    """It has its own labels, number of objects per image and frozen modules."""
    for number in range(4):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    lines = [
        f"{n}.png,{8 * k},1,{8 * k + 9},9,{names[k % len(names)]}\n"
        for n in range(4)
        for k in range(6)
    ]
    (tmp_path / "all.csv").write_text("".join(lines))
    task = Detection(
        data=Data(size=64, root=str(tmp_path)), init_from=str(start), freeze=["pyramid.stages.0"]
    )
    fresh = {name: value.clone() for name, value in task.model.state_dict().items()}
    task.begin(PLAN)
    earlier = newest(start)["model"] | newest(start)["average"]
    known = newest(start)["task"]["categories"]
    for name, value in task.model.state_dict().items():
        if not name.startswith("score."):
            assert torch.equal(value, earlier[name]), name
            continue
        for label, kind in enumerate(names):
            expected = earlier[name][known.index(kind)] if kind in known else fresh[name][label]
            assert torch.equal(value[label], expected), (name, kind)
    assert task.categories == list(names)
    assert task.model.mean_objects_per_image == 6
    frozen = [n for n, p in task.model.named_parameters() if not p.requires_grad]
    assert frozen == [
        n for n in fresh if n.startswith("pyramid.stages.0.") and n in task.parameters
    ]
    batch = next(task.batches(task.program(Exact()), 0, 0))
    assert set(batch.labels.tolist()) == set(range(len(names)))
    assert (
        "its labels differ; those that it lacks start from random weights"
        in capsys.readouterr().err
    )


def test_a_reward_cannot_tune_labels_that_the_initial_run_does_not_have(
    start, tmp_path, diffobj: Diffobj
):
    for number in range(4):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{number}.png")
    (tmp_path / "all.csv").write_text("".join(f"{n}.png,1,1,9,9,ant\n" for n in range(4)))
    done = diffobj(
        "train",
        "experiment=detection_reward",
        *QUICK,
        f"task.data.root={tmp_path}",
        f"task.init_from={start}",
        "trainer.steps=1",
        f"hydra.run.dir={tmp_path / 'run'}",
    )
    assert done.status == 2
    assert "task.criterion = 'reward' tunes a trained model" in done.err
    assert "with the same labels" in done.err


def test_the_initial_runs_folder_may_be_below_home(start, monkeypatch):
    monkeypatch.setenv("HOME", str(start.parent))
    task = Detection(
        data=Data(size=64, train=12, validation=5, test=7), init_from=f"~/{start.name}"
    )
    task.begin(PLAN)
    assert torch.equal(task.parameters["score.bias"], newest(start)["average"]["score.bias"])


def test_a_folder_of_runs_is_its_newest_run_with_a_best_checkpoint(
    start, tmp_path, monkeypatch, capsys
):
    """As `run=` has it; the run that is beginning is in the same folder and has none yet."""
    first = tmp_path / "outputs" / "detection" / "first"
    shutil.copytree(start, first)
    beginning = tmp_path / "outputs" / "detection" / "second"
    beginning.mkdir()
    (beginning / "config.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    wanted = newest(start)["average"]["score.bias"]
    for given, at in (("outputs", "outputs"), ("latest", "outputs"), (str(first), None)):
        task = Detection(data=Data(size=64, train=12, validation=5, test=7), init_from=given)
        task.begin(PLAN)
        assert torch.equal(task.parameters["score.bias"], wanted)
        folder = Path("outputs/detection/first")
        said = f"task.init_from = '{given}': the newest run there, {folder}\n" if at else ""
        assert capsys.readouterr().err == said
    task = Detection(data=Data(size=64, train=12, validation=5, test=7), init_from=str(beginning))
    with pytest.raises(UserError, match=rf"task.init_from = '{beginning}': expected the folder of"):
        task.begin(PLAN)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["set_nano", "aligned_nano", "ssdlite"])
def test_the_other_families_train_and_are_evaluated(model, tmp_path, diffobj: Diffobj):
    experiment = "detection_set" if model == "set_nano" else "detection"
    run = tmp_path / "run"
    outcome = diffobj(
        "train",
        f"experiment={experiment}",
        *QUICK,
        f"task.model={model}",
        "trainer.steps=2",
        f"hydra.run.dir={run}",
    )
    assert outcome.status == 0, outcome.err
    assert 0 <= result(run)["metrics"]["AP"] <= 1


@pytest.mark.slow
def test_a_model_without_candidates_is_refused_for_a_reward(start, tmp_path, diffobj: Diffobj):
    run = tmp_path / "zoo"
    trained = diffobj(
        "train",
        "experiment=detection",
        *QUICK,
        "task.model=ssdlite",
        "trainer.steps=1",
        f"hydra.run.dir={run}",
    )
    assert trained.status == 0, trained.err
    again = [
        "experiment=detection_reward",
        *QUICK,
        "task.model=ssdlite",
        f"task.init_from={run}",
        "trainer.steps=1",
    ]
    outcome = diffobj("train", *again, f"hydra.run.dir={tmp_path / 'tuned'}")
    assert outcome.status == 2
    assert (
        "TorchvisionDetector is trained by its own losses only (task.criterion=losses)"
        in outcome.err
    )
    losses = ["task.criterion=losses", "estimator=exact"]
    further = diffobj("train", *again, *losses, f"hydra.run.dir={tmp_path / 'further'}")
    assert further.status == 0, further.err
    assert not result(tmp_path / "further")["metrics"].keys() & REWARDS


@pytest.mark.parametrize("name", ["nano", "aligned_nano", "set_nano", "fcos", "faster_rcnn_mobile"])
def test_what_depends_on_the_number_of_labels_is_known_by_name(name):
    make = registry().component("detection.models", name).load()
    few, many = make(2), make(3)
    shapes = {n: v.shape for n, v in few.state_dict().items()}
    grown = {n for n, v in many.state_dict().items() if v.shape != shapes[n]}
    assert grown == {n for n in shapes if n.startswith(few.class_head_prefixes)}
    assert grown
