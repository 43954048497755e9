"""A threshold for each class: the best by F1 or by cost on the images it is chosen on, and used from then on."""

import json

import numpy
import pytest
import torch

import framework
from plugins.detection.evaluation.thresholds import DEFAULT, best_threshold, tuned_thresholds
from plugins.detection.sample import Detections, Sample
from tests.plugins.detection.test_task import QUICK, make


def threshold(scores, right, objects, miss_cost=None):
    return best_threshold(numpy.array(scores, float), numpy.array(right, bool), objects, miss_cost)


@pytest.mark.parametrize(
    ("scores", "right", "objects", "expected"),
    [
        # F1 of 1, 2, 3, 4 shown: 2/4, 4/5, 4/6, 4/7.
        ([0.9, 0.8, 0.5, 0.4], [1, 1, 0, 0], 3, 0.65),
        # 2/5, 2/6, 4/7, 6/8.
        ([0.9, 0.8, 0.5, 0.4], [1, 0, 1, 1], 4, 0.225),
        # Equal scores are shown together: 2/5 of two is less than 2/4 of one.
        ([0.9, 0.6, 0.6], [1, 0, 0], 3, 0.75),
        ([0.9, 0.8], [0, 0], 3, DEFAULT),
        ([], [], 3, DEFAULT),
    ],
)
def test_it_has_the_highest_f1(scores, right, objects, expected):
    assert threshold(scores, right, objects) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("miss_cost", "expected"), [(10, 0.225), (2.5, 0.45), (1.5, 0.65), (0.5, 0.85), (0, 1.0)]
)
def test_it_has_the_least_cost(miss_cost, expected):
    """Shown down to .4, there are four hits and six false alarms; down to .5 three and three; to .9 one and none."""
    scores = [0.9, 0.8, 0.8, 0.5, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4]
    right = [1, 1, 0, 1, 0, 0, 1, 0, 0, 0]
    costs = {0.85: (1, 0), 0.65: (2, 1), 0.45: (3, 3), 0.225: (4, 6)}
    cost = {t: miss_cost * (4 - hits) + alarms for t, (hits, alarms) in costs.items()}
    found = threshold(scores, right, 4, miss_cost)
    if miss_cost:
        assert cost.get(found) == min(cost.values())
    assert found == pytest.approx(expected)


def image(labels, boxes, number=1, crowd=False):
    count = len(labels)
    return Sample(
        torch.zeros(3, 100, 100), torch.tensor(boxes).float().view(-1, 4), torch.tensor(labels).long(),
        torch.full((count,), crowd), torch.ones(count), number, (100, 100),
    )  # fmt: skip


def found(labels, scores, boxes):
    return Detections(torch.tensor(boxes).float(), torch.tensor(scores), torch.tensor(labels))


BOX, OTHER = [10.0, 10, 30, 30], [50.0, 50, 80, 80]


def test_each_class_has_its_own_and_a_rare_one_the_common_one():
    targets = [image([0, 1], [BOX, OTHER], n) for n in range(20)] + [image([2], [BOX], 21)]
    detections = [
        # Class 0 is right at .9 and wrong at .6; class 1 is right at .4 and wrong at .2.
        found([0, 1, 0, 1], [0.9, 0.4, 0.6, 0.2], [BOX, OTHER, OTHER, BOX])
        for _ in range(20)
    ] + [found([2], [0.1], [BOX])]
    chosen = tuned_thresholds(targets, detections, 3)
    assert chosen[:2] == pytest.approx([0.75, 0.3])
    # Of all together: .9 right, .6 wrong, .4 right: F1 40/61 at .9, 80/101 down to .4, which is the best.
    assert chosen[2] == pytest.approx(0.3)


def test_without_objects_it_stays_and_crowds_do_not_count():
    nothing = found([0], [0.9], [BOX])
    assert tuned_thresholds([image([], [])], [nothing], 1) == [DEFAULT]
    targets = [image([0], [OTHER], 1), image([0], [BOX], 2, crowd=True)]
    detections = [found([0], [0.6], [OTHER]), found([0], [0.9], [BOX])]
    assert tuned_thresholds(targets, detections, 1) == pytest.approx([0.325])


def test_the_thresholds_of_the_best_checkpoint_are_used_by_predict_and_stated(tmp_path):
    options = [*QUICK, "trainer.steps=4", "trainer.evaluate_every=2", "task.data.validation=40"]
    run = framework.train(overrides=options, folder=tmp_path / "run")
    loaded = framework.load(tmp_path / "run")
    task = loaded.task
    assert task.tuned == task.thresholds  # type: ignore[attr-defined]
    assert len(task.tuned) == len(task.categories)  # type: ignore[attr-defined]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["evaluated"]["step"] == loaded.step
    measured = loaded.evaluate()
    assert {k: v for k, v in measured.items() if v == v} == pytest.approx(
        {k: v for k, v in result["metrics"].items() if v is not None}
    )
    assert run.task.state_dict()["thresholds"]
    fixed = framework.load(tmp_path / "run", overrides=["task.display_threshold=0"])
    assert fixed.task.thresholds == [0.0] * len(task.categories)  # type: ignore[attr-defined]


def test_a_threshold_that_is_given_counts_above_one_that_was_chosen():
    task = make(display_threshold=0.4)
    task.tuned = [0.1] * len(task.categories)
    assert task.thresholds == [0.4] * len(task.categories)
    task = make()
    assert task.thresholds == [DEFAULT] * len(task.categories)
    task.tuned = [0.1] * len(task.categories)
    assert task.thresholds == task.tuned
    task.load_state_dict({"categories": task.categories})
    assert task.thresholds == [DEFAULT] * len(task.categories)
