"""The task: its options, its batches, a run from beginning to end, resumed exactly, and what it shows."""

import copy
import json
import re

import numpy
import pytest
import torch
from omegaconf import OmegaConf

from framework import Image as Shown
from framework import UserError
from framework.config.composition import compose
from framework.config.validation import check_components, validate
from framework.gradients.enumeration.exact import Exact
from framework.task import TrainingPlan
from plugins.detection.data.augmentation import Augmentation
from plugins.detection.data.generated import Generated
from plugins.detection.data.resizing import unlabelled_sample
from plugins.detection.data.splits import Data
from plugins.detection.data.training_batches import TrainingBatches
from plugins.detection.evaluation.boxes_on_images import draw_boxes, side_by_side
from plugins.detection.sample import Batch, Detections, Sample, collate
from plugins.detection.task import Detection
from tests.runs import newest, result

SMALL = Data(size=64, train=12, validation=5, test=7)
QUICK = [
    "experiment=detection",
    "task.data.size=64",
    "task.data.train=12",
    "task.data.validation=5",
    "task.data.test=7",
    "task.batch_size=4",
    "task.workers=0",
    "trainer.threads=1",
    "trainer.evaluate_every=0",
    "trainer.checkpoint_every=0",
    "monitor.progress=none",
    "monitor.tensorboard=false",
]


def make(**options) -> Detection:
    torch.manual_seed(0)
    return Detection(**{"data": SMALL, "batch_size": 4, **options})


def stream(
    task: Detection, start: int, count: int, steps: int = 8, accumulate: int = 1
) -> list[Batch]:
    """Batches of a training of `steps` optimiser steps, from number `start` on."""
    task.begin(TrainingPlan(seed=0, steps=steps, accumulate=accumulate))
    batches = task.batches(task.as_program(task.objective), 0, start)
    return [next(batches) for _ in range(count)]


def same(one, other) -> bool:
    return all(
        torch.equal(getattr(one, name), getattr(other, name))
        for name in ("images", "boxes", "labels", "image_index")
    )


def test_the_experiment_composes_and_its_mistakes_are_named():
    check_components(validate(compose(["experiment=detection"]).config))
    for wrong, expected in (
        ("task.data.rot=x", "did you mean 'root'"),
        ("task.augmentation.flip=2", "task.augmentation.flip = 2"),
        ("task.batch_size=0", "task.batch_size = 0"),
    ):
        with pytest.raises(UserError, match=expected):
            check_components(validate(compose(["experiment=detection", wrong]).config))


@pytest.fixture(scope="module")
def composed():
    return compose(["experiment=detection"]).config


def test_an_unknown_model_or_option_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'nano'"):
        make(model="nanoo")
    with pytest.raises(UserError, match=r"task\.model_options\.iou_tipe.*iou_type"):
        make(model_options={"iou_tipe": "giou"})


def test_batch_number_k_is_the_same_wherever_a_run_begins():
    """Across the end of mosaic, at changing sizes, with workers and without."""
    how = Augmentation(
        mosaic=0.7, mixup=0.3, photometric=0.5, scale_jitter=0.5, no_mosaic_fraction=0.5
    )
    options = {"augmentation": how, "multi_scale": 0.5}
    whole = stream(make(**options), 0, 8)
    sizes = {tuple(batch.images.shape[-2:]) for batch in whole}
    assert len(sizes) > 1
    for start in (1, 3, 5):
        again = stream(make(**options), start, 8 - start)
        assert all(same(a, b) for a, b in zip(whole[start:], again, strict=True))
    parallel = stream(make(**options, workers=2), 2, 4)
    assert all(same(a, b) for a, b in zip(whole[2:6], parallel, strict=True))


def test_the_last_part_of_training_has_no_mosaic(monkeypatch):
    seen = []
    task = make(
        augmentation=Augmentation(mosaic=1.0, no_mosaic_fraction=0.25),
    )
    chosen = TrainingBatches.stream

    def noted(self, seed, start, *, plain):
        seen.append((start, plain))
        return chosen(self, seed, start, plain=plain)

    monkeypatch.setattr(TrainingBatches, "stream", noted)
    stream(task, 0, 14, steps=8, accumulate=2)
    assert seen == [(0, False), (12, True)]


def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(diffobj, tmp_path):
    """The averaged parameters, the running means and the augmentation included."""
    options = [
        *QUICK,
        "trainer.steps=6",
        "trainer.ema=0.9",
        "trainer.accumulate=2",
        "task.augmentation.mosaic=0.5",
        "task.augmentation.photometric=0.5",
        "task.augmentation.scale_jitter=0.5",
        "task.multi_scale=0.4",
    ]
    one, two = tmp_path / "one", tmp_path / "two"
    assert diffobj("train", *options, f"hydra.run.dir={one}").status == 0
    assert diffobj("train", *options, "trainer.stop_at=3", f"hydra.run.dir={two}").status == 0
    assert newest(two)["step"] == 3
    assert diffobj("train", f"resume={two}", "trainer.stop_at=null").status == 0
    first, second = newest(one), newest(two)
    assert first["step"] == second["step"] == 6
    for part in ("model", "average"):
        assert first[part].keys() == second[part].keys()
        for name, value in first[part].items():
            assert torch.equal(value, second[part][name]), (part, name)
    assert result(one)["metrics"] == result(two)["metrics"]


def test_the_averaged_parameters_are_evaluated_and_used(diffobj, trained):
    printed = json.loads(diffobj("evaluate", f"run={trained}").out.splitlines()[-1])
    assert printed["metrics"] == pytest.approx(result(trained)["metrics"])
    state = newest(trained)
    name = "score.bias"
    assert not torch.equal(state["model"][name], state["average"][name])


def test_accumulated_batches_are_one_large_batch():
    """Batch normalisation apart, 2 batches of 6 have the gradient of one of 12."""
    task = make(batch_size=6, augmentation=Augmentation(flip=0.0))
    task.model.eval()
    program = task.as_program(task.objective)
    parts = stream(task, 0, 2)
    whole = collate([task.splits.train.sample(i) for i in order_of(parts, task)])
    for part in parts:
        Exact().backward(program, task.parameters, part, scale=0.5)
    found = {name: p.grad.clone() for name, p in task.parameters.items() if p.grad is not None}
    task.model.zero_grad()
    Exact().backward(program, task.parameters, whole)
    for name, parameter in task.parameters.items():
        torch.testing.assert_close(parameter.grad, found[name], atol=1e-5, rtol=1e-3)


def order_of(parts: list[Batch], task: Detection) -> list[int]:
    """Which training images batches hold."""
    known = [task.splits.train.sample(i).image for i in range(12)]
    return [
        next(i for i, one in enumerate(known) if torch.equal(one, image))
        for part in parts
        for image in part.images
    ]


def test_every_held_out_image_is_evaluated_once():
    task = make()
    targets, found = task.targets_and_detections("test")
    assert [t.image_id for t in targets] == list(range(7))
    assert len(found) == 7
    assert len(task.targets_and_detections("validation")[0]) == 5
    held = {id(task.splits.validation.sample(i).image) for i in range(5)}
    assert not held & {id(task.splits.test.sample(i).image) for i in range(7)}


def test_perfect_detections_score_one(monkeypatch):
    task = make()

    def perfect(samples):
        for sample in samples:
            yield Detections(sample.boxes, torch.ones(len(sample.boxes)), sample.labels)

    monkeypatch.setattr(task, "detections_in", perfect)
    metrics = task.evaluate(0)
    assert metrics["AP"] == pytest.approx(1)
    assert metrics["precision"] == metrics["recall"] == 1
    assert all(metrics[f"errors/{kind}"] == 0 for kind in ("missed", "background", "duplicate"))


def test_pictures_show_what_was_found_in_the_very_image_that_is_shown(pictures, monkeypatch):
    task = make()

    def perfect(samples):
        for s in samples:
            yield Detections(s.boxes, torch.ones(len(s.boxes)), s.labels)

    monkeypatch.setattr(task, "detections_in", perfect)
    shown = {medium.name: medium for medium in task.show(0) if isinstance(medium, Shown)}
    for number in range(3):
        s = task.splits.test.sample(number)
        true = draw_boxes(s.image, s.boxes, s.labels, task.categories)
        seen = draw_boxes(s.image, s.boxes, s.labels, task.categories, torch.ones(len(s.boxes)))
        assert numpy.array_equal(shown[f"detections/{number}"].pixels, side_by_side(true, seen))


def test_what_is_shown_is_pictures_figures_and_plain_data(pictures, tmp_path):
    task = make()
    with torch.no_grad():
        shown = {media.name: media for media in task.show(0)}
    assert {"detections/0", "worst/0", "precision", "confusion", "errors"} <= shown.keys()
    for media in shown.values():
        media.save(tmp_path)
    plain = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(plain["confusion (rows: ground truth; last: background)"]) == 8
    assert set(plain["classes"]) == set(task.categories)


@pytest.mark.parametrize("model", ["nano", "set_nano"])
def test_what_is_found_in_an_image_does_not_depend_on_its_batch(model):
    """Upright, lying and square images, as evaluation and as prediction take them."""
    task = make(model=model, batch_size=3)
    task.model.eval()
    draw = torch.Generator().manual_seed(0)
    images = [
        torch.randint(0, 256, (3, *size), generator=draw, dtype=torch.uint8)
        for size in [(64, 40), (20, 64), (64, 64), (64, 64), (64, 64), (64, 64), (24, 64)]
    ]
    samples = [unlabelled_sample(image, 64) for image in images]
    with torch.no_grad():
        together = list(task.detections_in(samples))
        alone = [next(task.detections_in([sample])) for sample in samples]
    for one, other in zip(together, alone, strict=True):
        assert len(one.scores) > 10
        torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(one.boxes, other.boxes, atol=1e-2, rtol=1e-4)


def test_mixed_precision_trains_and_a_score_that_is_nothing_leaves_a_best_checkpoint(
    diffobj, tmp_path
):
    run = tmp_path / "run"
    options = ["trainer.steps=2", "trainer.evaluate_every=1", "trainer.precision=bfloat16"]
    done = diffobj("train", *QUICK, *options, f"hydra.run.dir={run}")
    assert done.status == 0, done.err
    assert len(list((run / "checkpoints").glob("best_*.pt"))) == 1


def test_boxes_and_crowds_of_a_batch_at_another_size_are_where_the_objects_are():
    training = TrainingBatches(
        Generated("train", 1, 64), Augmentation(), 64, 1, 32, multi_scale=0.5
    )
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    image[0, 8:40, 16:32], image[1, 44:60, 36:60] = 255, 255
    boxes = torch.tensor([[16.0, 8, 32, 40], [36, 44, 60, 60]])
    crowd, area = torch.tensor([False, True]), torch.zeros(2)
    batch = collate([Sample(image, boxes, torch.arange(2), crowd, area, 1, (64, 64))])
    sizes = set()
    for number in range(8):
        resized = training.at_random_scale(batch, 0, number)
        sizes.add(resized.images.shape[-1])
        assert resized.crowds is not None
        for channel, box in enumerate([resized.boxes[0], resized.crowds.boxes[0]]):
            rows, columns = (resized.images[0, channel] > 127).nonzero(as_tuple=True)
            found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (torch.tensor(found) - box).abs().max() <= 1
    assert len(sizes) > 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("most=5", "max_detections"),
        ("floor=0.1", "score_threshold"),
        ("clear=0.1", "display_threshold"),
        ("start=run", "init_from"),
        ("data.form=voc", "data.format"),
        ("augmentation.jitter=1", "augmentation.scale_jitter"),
        ("augmentation.plain_share=1", "augmentation.no_mosaic_fraction"),
        ("reward.least=0.4", "reward.iou_threshold"),
        ("reward.spread=0.1", "reward.box_std"),
        ("relaxed.thresholds=[0.5]", "relaxed.iou_thresholds"),
        ("model_options.agreement=iou", "model_options.iou_type"),
        ("model_options.reach=8", "model_options.reg_max"),
        ("model_options.places=5", "model_options.top_k"),
        ("model_options.nothing_weight=0.1", "model_options.no_object_weight"),
        ("model_options.corner_weight=1", "model_options.l1_weight"),
        ("model_options.agreement_weight=1", "model_options.giou_weight"),
    ],
)
def test_a_former_name_of_an_option_is_refused_with_the_present_one(composed, old, new):
    name, _, value = old.partition("=")
    message = f"unknown key 'task.{name}'; it is called 'task.{new}' now"
    config = copy.deepcopy(composed)
    OmegaConf.update(config, f"task.{name}", OmegaConf.create([value])[0], force_add=True)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        validate(config)
    assert "\n" not in str(error.value)
