"""What is printed before a training's first step, and what is unknown where there is no object."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import framework
from framework import UserError
from plugins.detection.data.splits import Data
from plugins.detection.evaluation.report import evaluate
from plugins.detection.limits import binding_limits, refuse_one_cell
from plugins.detection.models.anchor_free import nano
from plugins.detection.models.set_prediction import set_nano
from plugins.detection.sample import Detections, Sample
from plugins.detection.task import Detection
from tests.plugins.detection.data.folders import plant

LINE = ".5 .5 .2 .2\n"


def folder(root: Path, objects: dict[str, int]) -> Path:
    """Splits of three images each, with this many objects in each image."""
    files: dict[str, Any] = {"data.yaml": "names: [owl, bee]\ntrain: train\nval: val\ntest: test\n"}
    for number, (split, count) in enumerate(objects.items()):
        for n in range(3):
            files[f"{split}/{n}.png"] = 10 * number + n
            lines = "".join(f"{k % 2} {0.3 + k / 1000} .5 .2 .2\n" for k in range(count))
            files[f"{split}/{n}.txt"] = lines
    plant(root, files)
    return root


def options(root: Path, *more: str) -> list[str]:
    return [
        "experiment=detection", f"task.data.root={root}", "task.data.size=64", "task.workers=0", "trainer.steps=2",
        "monitor.tensorboard=false", *more,
    ]  # fmt: skip


def test_limits_that_bind_are_said() -> None:
    held = {"train": 50, "validation": 3, "test": 120}
    lines = list(binding_limits(set_nano(2, queries=36), held, 100))
    assert lines == [
        "a train image has 50 objects: the model detects at most 36 (task.model_options.queries)",
        "a test image has 120 objects: the model detects at most 36 (task.model_options.queries)",
        "an evaluated image has 120 objects: task.max_detections = 100 binds",
        "an evaluated image has 120 objects: COCO's numbers count 100 detections",
    ]
    assert list(binding_limits(nano(2), {"train": 400, "validation": 30, "test": 30}, 100)) == []
    assert list(binding_limits(nano(2), {}, 100)) == []


def test_a_folder_with_more_objects_than_the_model_has_queries_is_said(
    tmp_path: Path, capsys: Any
) -> None:
    root = folder(tmp_path / "data", {"train": 9, "val": 0, "test": 2})
    task = Detection(
        data=Data(root=str(root), size=64), model="set_nano", model_options={"queries": 5}
    )
    task.begin(framework.TrainingPlan(seed=0, steps=1))
    said = capsys.readouterr().err
    assert "a train image has 9 objects: the model detects at most 5" in said
    assert "the validation images have no object: AP is not known there" in said


@pytest.mark.parametrize(
    ("size", "batch", "refused"), [(32, 1, True), (32, 2, False), (64, 1, False)]
)
def test_one_cell_in_a_batch_of_one_is_refused(size: int, batch: int, refused: bool) -> None:
    model = nano(2)
    if refused:
        with pytest.raises(UserError, match=r"task\.data\.size = 32 with batches of one image"):
            refuse_one_cell(model, size, batch)
        model.freeze_batch_norm()
    refuse_one_cell(model, size, batch)


def test_size_32_with_batches_of_one_is_refused_before_the_first_step(
    tmp_path: Path, diffobj: Any
) -> None:
    root = folder(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    size = ["task.data.size=32", "task.batch_size=1"]
    done = diffobj("train", *options(root, *size), f"hydra.run.dir={tmp_path / 'run'}")
    assert done.status == 2
    assert "expected a batch of 2 or more, or a size above 32" in done.err
    assert done.err.strip().splitlines()[-1].startswith(("error", "diffobj", "task"))


def test_average_precision_without_objects_is_not_a_number() -> None:
    none = torch.zeros(0)
    sample = Sample(
        torch.zeros(3, 8, 8), none.view(0, 4), none.long(), none.bool(), none, 1, (8, 8)
    )
    found = Detections(torch.tensor([[0.0, 0, 4, 4]]), torch.tensor([0.9]), torch.tensor([0]))
    result = evaluate([sample], [found], ["a"], 0.3)
    assert math.isnan(result.metrics()["AP"])
    assert result.metrics()["precision"] == 0
    assert "AP75" not in result.metrics()
    assert result.to_json()["numbers"]["AP"] is None
    assert result.to_json()["classes"]["a"] == {"AP": None, "AP50": None}


def test_validation_without_objects_makes_no_checkpoint_the_best(tmp_path: Path) -> None:
    """The final evaluation's does: it is of the last step."""
    root = folder(tmp_path / "data", {"train": 1, "val": 0, "test": 1})
    framework.train(overrides=options(root, "trainer.evaluate_every=1"), folder=tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["evaluated"] == {"checkpoint": "last", "step": 2, "split": "test"}
    assert result["metrics"]["AP"] is not None
    assert framework.load(tmp_path / "run").step == 2


def test_the_result_is_of_the_checkpoint_that_predict_takes(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Validation says that the first step is the best one; the last parameters come back after the evaluation."""
    root = folder(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    evaluated = []
    original = Detection.evaluate

    def evaluate(self: Detection, seed: int, split: Any = "test") -> dict[str, float]:
        parameters = torch.cat([p.detach().flatten() for p in self.model.parameters()])
        evaluated.append((split, float(parameters.double().sum())))
        found = original(self, seed, split)
        return found | {"AP": 0.5 / len(evaluated)} if split == "validation" else found

    monkeypatch.setattr(Detection, "evaluate", evaluate)
    trained = framework.train(
        overrides=options(root, "trainer.evaluate_every=1"), folder=tmp_path / "run"
    )
    assert [split for split, _ in evaluated] == ["validation", "validation", "test"]
    assert evaluated[2][1] == evaluated[0][1] != evaluated[1][1]
    last = torch.cat([p.detach().flatten() for p in trained.task.model.parameters()])
    assert float(last.double().sum()) == evaluated[1][1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["evaluated"] == {"checkpoint": "best", "step": 1, "split": "test"}
    assert "test of the best checkpoint, step 1: " in (tmp_path / "run" / "log.txt").read_text()


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("more", "splits"),
    [
        # The last step is not one of every second: it is evaluated all the same.
        (["trainer.steps=3", "trainer.evaluate_every=2"], ["validation", "validation", "test"]),
        pytest.param(
            ["trainer.steps=4", "trainer.evaluate_every=2"],
            ["validation", "validation", "test"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["trainer.steps=1", "trainer.evaluate_every=2"],
            ["validation", "test"],
            marks=pytest.mark.slow,
        ),
        (["trainer.steps=1", "trainer.evaluate_every=0"], ["test"]),
        # It goes on later.
        (
            ["trainer.steps=9", "trainer.evaluate_every=2", "trainer.stop_at=3"],
            ["validation", "test"],
        ),
    ],
)
def test_the_last_step_may_be_the_best_one(
    tmp_path: Path, monkeypatch: Any, more: list[str], splits: list[str]
) -> None:
    root = folder(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    evaluated: list[str] = []
    original = Detection.evaluate

    def evaluate(self: Detection, seed: int, split: Any = "test") -> dict[str, float]:
        evaluated.append(split)
        found = original(self, seed, split)
        return found | {"AP": 0.1 * len(evaluated)} if split == "validation" else found

    monkeypatch.setattr(Detection, "evaluate", evaluate)
    framework.train(overrides=[*options(root), *more], folder=tmp_path / "run")
    assert evaluated == splits
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    if "trainer.stop_at=3" not in more:
        assert result["evaluated"]["step"] == result["steps"]
        assert result["evaluated"]["checkpoint"] == "last"
        assert result["stopped"] == "all steps done"


def test_predictions_carry_the_data_sets_own_category_numbers(tmp_path: Path) -> None:
    from framework.media import Text

    root = folder(tmp_path / "data", {"train": 1, "val": 1, "test": 1})
    framework.train(overrides=options(root), folder=tmp_path / "run")
    task = framework.load(
        tmp_path / "run", overrides=["task.display_threshold=0", "task.data.root=null"]
    ).task
    assert task.category_ids == [0, 1]  # type: ignore[attr-defined]
    texts = [m for m in task.predict(root / "test" / "0.png", 0) if isinstance(m, Text)]
    written = json.loads(texts[0].text)
    assert written["categories"] == [{"id": 0, "name": "owl"}, {"id": 1, "name": "bee"}]
    assert {a["category_id"] for a in written["annotations"]} <= {0, 1}
    assert written["annotations"]
