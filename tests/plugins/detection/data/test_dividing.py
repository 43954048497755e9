"""Splits: stated ones are kept, near copies stay together, and what is learned and tested on is warned of."""

from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image, ImageEnhance

from framework import UserError
from plugins.detection.data.folder import open_folder
from plugins.detection.data.near_copies import Looks, groups_of, source_name
from plugins.detection.data.splits import Data, open_data
from tests.plugins.detection.data.folders import by_split, plant

LINE = "0 .5 .5 .2 .2"


def yolo(names: dict[str, int], **more: Any) -> dict[str, Any]:
    """A folder of images by their places, each with one object."""
    files: dict[str, Any] = {"classes.txt": "cat\n"} | more
    for name, seed in names.items():
        files |= {f"images/{name}.jpg": seed, f"labels/{name}.txt": LINE}
    return files


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a_jpg.rf.0123456789abcdef0123456789abcdef", "a"),
        ("a.b_png.rf.0123456789abcdef", "a.b"),
        ("a_aug3", "a"),
        ("a_flip_rot90", "a"),
        ("a - Copy", "a"),
        ("there (2)", "there"),
        ("elsewhere (2)", "elsewhere (2)"),
        ("IMG_0001", "IMG_0001"),
        ("frame_000012", "frame_000012"),
        ("copy", "copy"),
    ],
)
def test_the_photograph_of_a_copy_is_known_by_its_name(name: str, source: str) -> None:
    assert source_name(Path(f"{name}.jpg"), {"there", name}) == source


def test_an_exporters_copies_of_a_photograph_are_in_one_split(tmp_path: Path) -> None:
    """Different pixels: only their names tell."""
    names = {f"p{n}_jpg.rf.{n:08x}{k:08x}": 10 * n + k for n in range(20) for k in range(3)}
    plant(tmp_path, yolo(names))
    opened = open_folder(tmp_path)
    parts = by_split(opened)
    sources = {split: {name.partition("_")[0] for name in part} for split, part in parts.items()}
    assert [len(part) for part in parts.values()] == [42, 6, 12]
    assert not sources["train"] & (sources["validation"] | sources["test"])
    assert not sources["validation"] & sources["test"]
    assert "near copies kept with their first image" in opened.report[2]


def test_frames_that_look_alike_are_in_one_split(tmp_path: Path) -> None:
    """Equal numbers are equal pictures: four copies of each of fifteen, by names that tell nothing."""
    plant(tmp_path, yolo({f"{4 * n + k:04d}": n for n in range(15) for k in range(4)}))
    parts = by_split(open_folder(tmp_path))
    scenes = {split: {int(name[:4]) // 4 for name in part} for split, part in parts.items()}
    assert [len(part) for part in parts.values()] == [44, 4, 12]
    assert sum(map(len, scenes.values())) == 15


def photograph(seed: int) -> Image.Image:
    coarse = numpy.random.default_rng(seed).integers(0, 256, (8, 12, 3)).astype(numpy.uint8)
    return Image.fromarray(coarse).resize((180, 120), Image.Resampling.BICUBIC)


def test_copies_look_alike_and_other_scenes_do_not(tmp_path: Path) -> None:
    first = photograph(0)
    copies = {
        "a.png": first,
        "b.jpg": first.resize((90, 60)),
        "c.png": ImageEnhance.Brightness(first).enhance(0.7),
        "d.jpg": ImageEnhance.Contrast(first).enhance(0.6),
        "e.png": first.crop((2, 2, 180, 120)),
    }
    others = {f"x{n}.png": photograph(n + 1) for n in range(60)}
    for name, image in (copies | others).items():
        image.save(tmp_path / name)
    paths = [tmp_path / name for name in copies | others]
    assert set(Looks(paths).pairs()) == {(i, j) for j in range(5) for i in range(j)}
    groups, _ = groups_of(paths)
    assert groups == [0, 0, 0, 0, 0, *range(5, 65)]


def test_objects_on_a_plain_ground_do_not_look_alike(tmp_path: Path) -> None:
    """A flat image is like none, and one small object is no likeness."""
    paths = []
    for n in range(12):
        pixels = numpy.full((64, 64, 3), 240, numpy.uint8)
        if n:
            pixels[5 * n : 5 * n + 6, (17 * n) % 56 : (17 * n) % 56 + 8] = 20
        Image.fromarray(pixels).save(tmp_path / f"{n}.png")
        paths.append(tmp_path / f"{n}.png")
    assert groups_of([*paths, paths[0]])[0] == list(range(13))


def test_images_of_two_splits_are_warned_of(tmp_path: Path) -> None:
    files = yolo({f"{split}/{n}": n for split in ("train", "val") for n in range(3)})
    plant(tmp_path, files | {"data.yaml": "names: [cat]\ntrain: images/train\nval: images/train\n"})
    said = "\n".join(open_folder(tmp_path).report)
    assert (
        "3 images are both in train and in validation: its numbers are of images that were learned"
        in said
    )
    (tmp_path / "data.yaml").write_text("names: [cat]\ntrain: images/train\nval: images/val\n")
    opened = open_folder(tmp_path)
    assert [len(part) for part in by_split(opened).values()] == [3, 3, 3]
    said = "\n".join(opened.report)
    assert (
        "3 images are near copies of some of another split (train/0.jpg, ...), the first in validation/0.jpg"
        in said
    )


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images_are_refused_in_one_line(tmp_path: Path, count: int) -> None:
    plant(tmp_path, yolo({str(n): n for n in range(count)}))
    with pytest.raises(
        UserError, match=rf"{count} images? with known objects; expected at least 3"
    ):
        open_data(Data(root=str(tmp_path)))
    plant(tmp_path, yolo({"2": 2, "1": 1, "0": 0}))
    splits = open_data(Data(root=str(tmp_path)))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [1, 1, 1]


def test_another_image_stands_for_a_damaged_one_that_is_learned_from(tmp_path: Path) -> None:
    plant(tmp_path, yolo({f"train/{n}": n for n in range(4)} | {"val/8": 8}))
    path = tmp_path / "images" / "train" / "1.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    train = open_data(Data(root=str(tmp_path), size=32)).train
    assert len(train) == 4
    samples = [train.sample(n) for n in range(4)]
    assert [len(sample.boxes) for sample in samples] == [1, 1, 1, 1]
    assert (samples[1].image == samples[2].image).all()
