"""The task: what a run does from beginning to end, resumed exactly, on a folder with faults, and used afterwards."""

import csv
import json
import re
import shlex

import numpy
import pytest
import torch
from PIL import Image

from framework import Image as Shown
from framework import UserError
from framework.config.composition import compose
from framework.config.validation import check_components, validate
from framework.gradients.enumeration.exact import Exact
from framework.photographs import read_photograph
from framework.plugin import ROOT
from framework.task import TrainingPlan
from plugins.detection.data.augmentation import Augmentation
from plugins.detection.data.generated import Generated
from plugins.detection.data.resizing import unlabelled_sample
from plugins.detection.data.splits import Data
from plugins.detection.data.training_batches import TrainingBatches
from plugins.detection.data.writing import write
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


def commands() -> list[list[str]]:
    """The arguments of `diffobj train` on the pages."""
    pages = [
        ROOT / "plugins" / "detection" / "README.md",
        ROOT / "experiments" / "detection_own_data" / "README.md",
    ]
    lines = [line for page in pages for line in page.read_text().splitlines()]
    commands = [line for line in lines if line.startswith("    diffobj train ")]
    assert len(commands) > 4
    return [shlex.split(line, comments=True)[2:] for line in commands]


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_a_command_of_the_pages_composes(arguments):
    check_components(validate(compose(arguments).config))


def test_options_that_are_none_suit_the_images(faulty):
    shapes, folder = make(), make(data=Data(root=str(faulty), size=64), batch_size=None)
    assert (shapes.augmentation.scale_jitter, shapes.augmentation.photometric) == (0, 0)
    assert (folder.augmentation.scale_jitter, folder.augmentation.photometric) == (0.5, 0.3)
    assert folder.batch_size == 8
    chosen = make(augmentation=Augmentation(scale_jitter=0.2, flip=0.1))
    assert (chosen.augmentation.scale_jitter, chosen.augmentation.flip) == (0.2, 0.1)


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


def test_the_averaged_parameters_are_evaluated_and_used(diffobj, tmp_path):
    run = tmp_path / "run"
    options = [*QUICK, "trainer.steps=4", "trainer.ema=0.5", f"hydra.run.dir={run}"]
    assert diffobj("train", *options).status == 0
    printed = json.loads(diffobj("evaluate", f"run={run}").out.splitlines()[-1])
    assert printed["metrics"] == pytest.approx(result(run)["metrics"])
    state = newest(run)
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


def test_pictures_show_what_was_found_in_the_very_image_that_is_shown(monkeypatch):
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


def test_what_is_shown_is_pictures_figures_and_plain_data(tmp_path):
    task = make()
    with torch.no_grad():
        shown = {media.name: media for media in task.show(0)}
    assert {"detections/0", "worst/0", "precision", "confusion", "errors"} <= shown.keys()
    for media in shown.values():
        media.save(tmp_path)
    plain = json.loads((tmp_path / "evaluation.json").read_text())
    assert len(plain["confusion (rows: ground truth; last: background)"]) == 8
    assert set(plain["classes"]) == set(task.categories)


@pytest.fixture
def faulty(tmp_path):
    """A folder in VOC's form with two degenerate boxes, an unreadable image, an empty one and odd shapes."""
    folder = tmp_path / "mine"
    write(
        folder, "voc", {"train": Generated("train", 8, 64), "validation": Generated("test", 3, 64)}
    )
    notes = sorted((folder / "Annotations").glob("train*.xml"))
    corners = "<xmin>9</xmin><ymin>9</ymin><xmax>4</xmax><ymax>20</ymax>"
    broken = f"<object><name>circle</name><bndbox>{corners}</bndbox></object>"
    for path in notes[:2]:
        path.write_text(path.read_text().replace("</annotation>", f"{broken}</annotation>"))
    notes[2].write_text("<annotation><filename>train_000002.png</filename></annotation>")
    (folder / "JPEGImages" / "train_000003.png").write_bytes(b"oops")
    wide = folder / "JPEGImages" / "train_000004.png"
    Image.open(wide).resize((160, 64)).convert("L").save(wide)
    return folder


def test_a_folder_with_faults_trains_to_the_end_and_says_so_once_each(diffobj, faulty, tmp_path):
    run = tmp_path / "run"
    done = diffobj(
        "train", *QUICK, "trainer.steps=5", f"task.data.root={faulty}", f"hydra.run.dir={run}"
    )
    assert done.status == 0, done.err
    for line in (
        "2 boxes dropped that are empty",
        "1 images dropped that cannot be read, the first in train_000003.png",
        "7 for training, 3 for validation, 3 for testing",
    ):
        assert done.err.count(line) == 1, done.err
    assert result(run)["metrics"]["AP"] >= 0
    assert list((run / "checkpoints").glob("best_*.pt"))  # also where AP is 0


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


def test_an_evaluation_keeps_no_pixels_and_shows_the_images(faulty):
    task = make(data=Data(root=str(faulty), size=64, cache_megabytes=0))
    task.model.eval()
    with torch.no_grad():
        targets, _ = task.targets_and_detections("test")
        pairs = [
            media
            for media in task.show(0)
            if isinstance(media, Shown) and media.name.startswith("detections/")
        ]
    assert [tuple(truth.image.shape) for truth in targets] == [(3, 64, 64)] * 3
    assert sum(truth.image.untyped_storage().nbytes() for truth in targets) == 3
    paths = [faulty / "JPEGImages" / f"val_{number:06d}.png" for number in range(3)]
    means = torch.stack([read_photograph(path).float().mean((1, 2)) for path in paths])
    shown = [torch.from_numpy(media.pixels.copy()).float().mean((0, 1)) for media in pairs]
    nearest = [int((means - mean).abs().amax(1).argmin()) for mean in shown]
    assert nearest == [0, 1, 2]  # each is its own image, drawn on


def test_a_damaged_image_is_not_evaluated(faulty):
    path = faulty / "JPEGImages" / "val_000001.png"
    path.write_bytes(path.read_bytes()[:200])
    task = make(data=Data(root=str(faulty), size=64))
    task.model.eval()
    with torch.no_grad():
        targets, found = task.targets_and_detections("test")
    assert [truth.image_id for truth in targets] == [1, 3]
    assert len(found) == 2


def test_a_checkpoint_knows_its_labels_without_the_images(diffobj, faulty, tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    options = [*QUICK, "trainer.steps=2", f"task.data.root={faulty}", f"hydra.run.dir={run}"]
    assert diffobj("train", *options).status == 0
    categories = newest(run)["task"]["categories"]
    assert categories == sorted(categories)
    faulty.rename(moved)
    photographs = tmp_path / "photographs" / "trip"
    photographs.mkdir(parents=True)
    noise = numpy.random.default_rng(0).integers(0, 255, (3, 50, 90, 3)).astype(numpy.uint8)
    Image.fromarray(noise[0]).save(photographs / "a.jpg")
    frames = [Image.fromarray(frame) for frame in noise]
    frames[0].save(photographs / "b.gif", save_all=True, append_images=frames[1:])
    (photographs / "c.png").write_bytes(b"no image")
    out = tmp_path / "out"
    done = diffobj(
        "predict",
        f"run={run}",
        f"input={photographs.parent}",
        f"output={out}",
        "task.display_threshold=0.0",
    )
    assert done.status == 0, done.err
    assert done.err.count("c.png") == 1
    assert (out / "trip" / "a.png").is_file()
    assert (out / "trip" / "b.gif").is_file()
    written = json.loads((out / "detections.json").read_text())
    assert [c["name"] for c in written["categories"]] == categories
    assert [i["file_name"] for i in written["images"]] == [
        "trip/a.jpg", "trip/b.gif#0", "trip/b.gif#1", "trip/b.gif#2",
    ]  # fmt: skip
    assert {(i["width"], i["height"]) for i in written["images"]} == {(90, 50)}
    for note in written["annotations"]:
        x, y, width, height = note["bbox"]
        assert -1e-3 <= x <= x + width <= 90 + 1e-3
        assert -1e-3 <= y <= y + height <= 50 + 1e-3
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert len([row for row in rows if row["class"]]) == len(written["annotations"]) > 0
    for wrong in ([], [f"input={photographs / 'c.png'}"]):
        done = diffobj("predict", f"run={run}", *wrong)
        assert done.status == 2
        assert done.err.strip().count("\n") == 0
    assert diffobj("train", *options, f"hydra.run.dir={tmp_path / 'no'}").status == 2


def test_labels_mean_the_same_in_another_folder(diffobj, faulty, tmp_path):
    """A run's labels are kept by name where a folder has fewer categories, in another order."""
    run, other = tmp_path / "run", tmp_path / "other"
    options = [*QUICK, "trainer.steps=2", f"task.data.root={faulty}", f"hydra.run.dir={run}"]
    assert diffobj("train", *options).status == 0
    categories = newest(run)["task"]["categories"]
    write(other, "csv", {"test": Generated("test", 3, 64), "train": Generated("train", 2, 64)})
    table = other / "test.csv"
    kept = [line for line in table.read_text().splitlines() if "circle" not in line]
    table.write_text("\n".join(kept))
    done = diffobj("evaluate", f"run={run}", f"task.data.root={other}")
    assert done.status == 0, done.err
    metrics = json.loads(done.out.splitlines()[-1])["metrics"]
    # There is no circle here, so that it has no precision.
    there = [f"AP/{name}" for name in categories if name != "circle"]
    assert [name for name in metrics if name.startswith("AP/")] == there
    assert min(metrics.values()) >= 0


def test_a_score_that_is_nothing_still_leaves_a_best_checkpoint(diffobj, tmp_path):
    run = tmp_path / "run"
    done = diffobj(
        "train", *QUICK, "trainer.steps=2", "trainer.evaluate_every=1", f"hydra.run.dir={run}"
    )
    assert done.status == 0
    assert len(list((run / "checkpoints").glob("best_*.pt"))) == 1


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_mixed_precision_trains(diffobj, tmp_path, precision):
    run = tmp_path / "run"
    done = diffobj(
        "train", *QUICK, "trainer.steps=2", f"trainer.precision={precision}", f"hydra.run.dir={run}"
    )
    assert done.status == 0, done.err


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
def test_a_former_name_of_an_option_is_refused_with_the_present_one(old, new):
    name = old.partition("=")[0]
    message = f"unknown key 'task.{name}'; it is called 'task.{new}' now"
    with pytest.raises(UserError, match=re.escape(message)) as error:
        validate(compose(["experiment=detection", f"+task.{old}"]).config)
    assert "\n" not in str(error.value)


def test_a_training_without_its_images_ends_before_it_begins(faulty, tmp_path):
    task = make(data=Data(root=str(faulty), size=64))
    faulty.rename(tmp_path / "moved")
    for start in (0, 5):
        with pytest.raises(UserError, match=r"task\.data\.root = .*: no such folder"):
            task.begin(TrainingPlan(seed=0, steps=10, start=start))


def test_labels_of_a_checkpoint_replace_the_tasks_with_a_model_of_their_number():
    task = make()
    first, splits = task.parameters, task.splits
    task.load_state_dict({"categories": list(task.categories)})
    assert task.parameters is first
    assert task.splits is splits
    task.load_state_dict({"categories": ["a", "b"]})
    assert task.model.classes == 2
    assert len(task.parameters["score.bias"]) == 2
