"""A user's own images: a folder with faults, trained on, evaluated, moved away, and another one with fewer labels."""

import csv
import json

import numpy
import pytest
import torch
from PIL import Image

from framework import Image as Shown
from framework import UserError
from framework.photographs import read_photograph
from framework.task import TrainingPlan
from plugins.detection.data.augmentation import Augmentation
from plugins.detection.data.generated import Generated
from plugins.detection.data.splits import Data
from plugins.detection.data.writing import write
from tests.plugins.detection.test_task import QUICK, make
from tests.runs import newest, result


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


def test_options_that_are_none_suit_the_images(faulty):
    shapes, folder = make(), make(data=Data(root=str(faulty), size=64), batch_size=None)
    assert (shapes.augmentation.scale_jitter, shapes.augmentation.photometric) == (0, 0)
    assert (folder.augmentation.scale_jitter, folder.augmentation.photometric) == (0.5, 0.3)
    assert folder.batch_size == 8
    chosen = make(augmentation=Augmentation(scale_jitter=0.2, flip=0.1))
    assert (chosen.augmentation.scale_jitter, chosen.augmentation.flip) == (0.2, 0.1)


@pytest.mark.slow
def test_a_folder_with_faults_trains_to_the_end_and_says_so_once_each(
    pictures, diffobj, faulty, tmp_path
):
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


def test_an_evaluation_keeps_no_pixels_and_shows_the_images(pictures, faulty):
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
