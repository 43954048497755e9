"""COCO's numbers: pycocotools' to the last digit, and 1 for what is perfect; errors counted by hand."""

import contextlib
import inspect
import io
import json

import numpy
import pytest
import torch

from plugins.detection.data import coco_json
from plugins.detection.data.generated import Generated
from plugins.detection.evaluation.error_analysis import analyse
from plugins.detection.evaluation.metrics import NUMBERS, precision, precision_of_json
from plugins.detection.models.anchor_free import nano
from plugins.detection.sample import Detections, Sample, collate
from plugins.detection.task import Detection


def sample(boxes, labels, crowd=None, image_id=1, size=(200, 300)) -> Sample:
    box = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Sample(
        torch.zeros(3, *size, dtype=torch.uint8),
        box,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(crowd or [False] * len(box), dtype=torch.bool),
        (box[:, 2:] - box[:, :2]).prod(1),
        image_id,
        size,
    )


def found(boxes, labels, scores) -> Detections:
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(scores, dtype=torch.float32),
        torch.tensor(labels, dtype=torch.int64),
    )


def random_case(seed: int, classes: int = 4) -> tuple[list[Sample], list[Detections]]:
    """Images of 0 to 9 objects, crowds among them, and detections near and far with many equal scores."""
    random = numpy.random.default_rng(seed)
    targets, detections = [], []
    for image_id in range(1, 31):
        count = int(random.integers(0, 10))
        low = random.uniform(0, 150, (count, 2))
        boxes = numpy.concatenate([low, low + random.uniform(4, 140, (count, 2))], 1)
        labels = random.integers(0, classes - 1, count)  # the last class has no object
        crowd = random.random(count) < 0.15
        targets.append(sample(boxes, labels, crowd.tolist(), image_id))
        near = boxes + random.normal(0, 6, boxes.shape)
        far = int(random.integers(0, 120 if image_id % 7 == 0 else 6))
        start = random.uniform(0, 150, (far, 2))
        guessed = numpy.concatenate([start, start + random.uniform(4, 90, (far, 2))], 1)
        every = numpy.concatenate([near, guessed])
        every[:, 2:] = numpy.maximum(every[:, 2:], every[:, :2] + 1)
        predicted = numpy.concatenate([labels, random.integers(0, classes, far)])
        scores = random.integers(1, 8, len(every)) / 8  # ties
        order = numpy.argsort(-scores, kind="stable")
        detections.append(found(every[order], predicted[order], scores[order]))
    return targets, detections


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_pycocotools_to_the_last_digit(seed):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    targets, detections = random_case(seed)
    categories = ["a", "b", "c", "d"]
    ours = precision(targets, detections, categories)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = coco_json.ground_truth(targets, categories)
        known.createIndex()
        pairs = zip([t.image_id for t in targets], detections, strict=True)
        theirs = COCOeval(known, known.loadRes(coco_json.results(pairs)), "bbox")
        theirs.evaluate()
        theirs.accumulate()
        theirs.summarize()
    for name, value in zip(NUMBERS, theirs.stats, strict=True):
        assert ours.numbers[name] == pytest.approx(value, abs=1e-12), name
    assert 0.05 < ours.numbers["AP"] < 0.95
    table = theirs.eval["precision"][:, :, :, 0, 2]
    numpy.testing.assert_allclose(ours.curves, table, atol=1e-12)
    assert max(ours.classes["d"]) == -1
    assert ours.classes["a"][0] == pytest.approx(table[:, :, 0].mean(), abs=1e-12)


def test_perfect_detections_score_one_after_a_json_round_trip():
    targets = [
        sample([[10, 10, 50, 40], [100, 20, 180, 150]], [0, 2], image_id=11),
        sample([], [], image_id=12),
        sample([[5, 5, 25, 30]], [2], image_id=13),
    ]
    detections = [found(t.boxes.tolist(), t.labels.tolist(), [0.9] * len(t.boxes)) for t in targets]
    categories = ["x", "absent", "z"]
    truth = json.loads(json.dumps(coco_json.ground_truth(targets, categories)))
    pairs = zip([t.image_id for t in targets], detections, strict=True)
    evaluated = precision_of_json(
        truth, json.loads(json.dumps(coco_json.results(pairs))), categories
    )
    assert evaluated.numbers["AP"] == pytest.approx(1)
    assert evaluated.classes["absent"] == (-1, -1)


def test_no_detections_score_nothing_and_no_truth_has_no_score():
    targets = [sample([[10, 10, 50, 40]], [0])]
    assert precision(targets, [found([], [], [])], ["a"]).numbers["AP"] == 0
    nothing = [sample([], [])]
    assert precision(nothing, [found([[1, 1, 9, 9]], [0], [0.5])], ["a"]).numbers["AP"] == -1


def test_detections_in_a_crowd_do_not_count():
    targets = [sample([[10, 10, 50, 50], [100, 100, 190, 190]], [0, 0], [False, True])]
    with_crowd = found(
        [[10, 10, 50, 50], [110, 110, 140, 140], [150, 150, 180, 180]], [0, 0, 0], [0.5, 0.9, 0.8]
    )
    assert precision(targets, [with_crowd], ["a"]).numbers["AP"] == pytest.approx(1)
    analysis = analyse(targets, [with_crowd], 1, 0.3)
    assert analysis.correct == analysis.objects == 1
    assert sum(analysis.errors.values()) == 0


def test_detections_of_a_resized_image_are_evaluated_in_the_originals_pixels():
    small = sample([[10, 10, 50, 40]], [0], size=(100, 150))
    original = Sample(
        small.image, small.boxes, small.labels, small.crowd, 4 * small.area, 1, (200, 300)
    )
    assert original.scale == (2.0, 2.0)
    evaluated = precision([original], [found([[20, 20, 100, 80]], [0], [0.9])], ["a"])
    assert evaluated.numbers["AP"] == pytest.approx(1)
    assert coco_json.ground_truth([original], ["a"])["annotations"][0]["bbox"] == [20, 20, 80, 60]


def test_errors_are_counted_by_kind():
    targets = [
        sample(
            [[0, 0, 40, 40], [100, 0, 140, 40], [200, 0, 240, 40], [0, 100, 40, 140]], [0, 0, 1, 1]
        )
    ]
    detections = found(
        [
            [0, 0, 40, 40],  # correct
            [2, 0, 42, 40],  # the same again
            [120, 0, 160, 40],  # half beside: IoU 1/3
            [200, 0, 240, 40],  # under a wrong name
            [260, 150, 290, 190],  # nothing there
            [0, 100, 40, 140],  # too faint to count
        ],
        [0, 0, 0, 0, 1, 1],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.1],
    )
    analysis = analyse(targets, [detections], 2, 0.3)
    assert analysis.errors == {
        "duplicate": 1,
        "classification": 1,
        "localisation": 1,
        "background": 1,
        "missed": 2,
    }
    assert (analysis.correct, analysis.objects) == (1, 4)
    assert analysis.precision == pytest.approx(1 / 5)
    assert analysis.recall == pytest.approx(1 / 4)
    assert analysis.confusion.tolist() == [[1, 0, 1], [1, 0, 1], [2, 1, 0]]
    assert analysis.error_rates == [6 / 5]


def test_the_worst_images_come_first():
    good, bad = sample([[0, 0, 40, 40]], [0]), sample([[0, 0, 40, 40]], [0])
    hit, miss = found([[0, 0, 40, 40]], [0], [0.9]), found([], [], [])
    analysis = analyse([good, bad, good], [hit, miss, hit], 1, 0.3)
    assert analysis.worst(2) == [1, 0]


def test_the_default_score_threshold_is_low_enough():
    """Of a briefly trained model: AP is that of all scores, and a higher threshold would cost."""
    torch.manual_seed(0)
    source = Generated("train", 24, 64)
    samples = [source.sample(i) for i in range(len(source))]
    batch = collate(samples)
    model = nano(len(source.categories))
    model.mean_objects_per_image = len(batch.boxes) / len(samples)
    optimizer = torch.optim.AdamW(model.parameters(), 0.005)
    for _ in range(25):  # it knows a little of these images
        optimizer.zero_grad()
        torch.stack([term.mean() for term in model.losses(batch).values()]).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        found = model.detect(batch.images)
    default = inspect.signature(Detection).parameters["score_threshold"].default
    evaluated = {
        threshold: precision(
            samples, [one.above(threshold) for one in found], source.categories
        ).numbers
        for threshold in (0.0, default, 0.3)
    }
    assert evaluated[0.0]["AP"] > 0.05
    assert evaluated[default]["AP"] == pytest.approx(evaluated[0.0]["AP"], abs=1e-3)
    assert evaluated[0.3]["AP"] < evaluated[0.0]["AP"] - 5e-3
