"""Which file an annotation is of, and which split it is in: equal names, lists, several annotation files."""

import json
from pathlib import Path

import pytest

from plugins.detection.data.folder import Folder, open_folder
from plugins.detection.data.readers import voc
from plugins.detection.data.readers.entry import Report
from plugins.detection.data.readers.files import Files
from tests.plugins.detection.data.folders import SQUARE, coco_json, marked, named, picture


def greys(folder: Folder) -> list[int]:
    return [int(folder.sample(i).image[0, 0, 0]) for i in range(len(folder))]


@pytest.mark.parametrize("places", ["images/{}", "{}/images", "data/{}"])
@pytest.mark.parametrize("form", ["coco", "csv"])
def test_equal_names_in_two_splits_are_each_splits_own_images(tmp_path, form, places):
    names = [f"frame_{n}.png" for n in range(3)]
    for value, split in ((50, "train"), (150, "val")):
        for name in names:
            marked(tmp_path / places.format(split) / name, value)
        if form == "coco":
            coco_json(tmp_path / "annotations" / f"instances_{split}.json", names)
        else:
            (tmp_path / f"{split}.csv").write_text("".join(f"{n},1,1,9,9,x\n" for n in names))
    opened = open_folder(tmp_path, form)
    assert (greys(opened.train), greys(opened.validation)) == ([50] * 3, [150] * 3)
    assert opened.report[2:] == []


def test_equal_names_in_two_folders_of_voc_are_each_folders_own_images(tmp_path):
    for value, split in ((50, "train"), (150, "val")):
        marked(tmp_path / "JPEGImages" / split / "a.png", value)
        path = tmp_path / "Annotations" / split / "a.xml"
        path.parent.mkdir(parents=True)
        path.write_text(SQUARE["voc"][1])
    opened = open_folder(tmp_path)
    assert (greys(opened.train), greys(opened.validation)) == ([50], [150])


def test_an_image_whose_name_several_files_have_is_dropped_and_reported(tmp_path):
    marked(tmp_path / "one" / "a.png", 50)
    marked(tmp_path / "two" / "a.png", 150)
    for name, value in (("b.png", 60), ("c.png", 70), ("d.png", 80)):
        marked(tmp_path / "one" / name, value)
    coco_json(tmp_path / "all.json", ["a.png", "b.png", "c.png", "two/a.png"])
    opened = open_folder(tmp_path)
    assert "1 images dropped whose names several files have, the first in a.png" in opened.report
    found = greys(opened.train) + greys(opened.validation) + greys(opened.test)
    assert sorted(found) == [60, 70, 150]


def test_cocos_own_annotations_are_read_once(tmp_path):
    """instances_*, person_keypoints_* and captions_* of the same images, as they are published."""
    for split, count in (("train2017", 4), ("val2017", 2)):
        names = [f"{split}_{n}.png" for n in range(count)]
        for name in names:
            marked(tmp_path / split / name, 50)
        folder = tmp_path / "annotations"
        coco_json(folder / f"instances_{split}.json", names, categories=("cat", "dog"))
        coco_json(folder / f"person_keypoints_{split}.json", names, categories=("person",))
        captions = {"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
        (folder / f"captions_{split}.json").write_text(json.dumps(captions))
    opened = open_folder(tmp_path)
    assert [len(p) for p in (opened.train, opened.validation)] == [4, 2]
    assert opened.train.categories == ["cat", "dog"]
    assert [named(opened.train, n)[0][0] for n in range(4)] == ["cat", "dog", "cat", "dog"]
    left_out = "4 annotation files left out beside instances_*.json"
    assert any(line.startswith(left_out) for line in opened.report)


def test_annotations_of_captions_and_segments_are_left_out_and_reported(tmp_path):
    for name in "abcd":
        marked(tmp_path / f"{name}.png", 50)
    coco_json(tmp_path / "all.json", [f"{name}.png" for name in "abcd"])
    panoptic = '{"images": [], "annotations": [{"segments_info": []}], "categories": []}'
    (tmp_path / "panoptic.json").write_text(panoptic)
    (tmp_path / "captions.json").write_text('{"annotations": [{"caption": "a cat"}]}')
    opened = open_folder(tmp_path)
    assert "2 annotation files without boxes left out, the first in captions.json" in opened.report
    assert sum(map(len, (opened.train, opened.validation, opened.test))) == 4


def test_an_image_in_several_files_is_one_image_with_the_objects_of_all(tmp_path):
    names = [f"{n}.png" for n in range(6)]
    for name in names:
        marked(tmp_path / "images" / name, 50)
    coco_json(tmp_path / "cats.json", names, categories=("cat",))
    coco_json(tmp_path / "dogs.json", names, categories=("dog",), box=(5, 5, 9, 9))
    coco_json(tmp_path / "test.json", names[:2], categories=("cat",))
    opened = open_folder(tmp_path)
    parts = [opened.train, opened.validation, opened.test]
    paths = [e.path.name for part in parts for e in part.entries]
    assert sorted(paths) == names  # none of them twice, nor in two parts
    assert [e.path.name for e in opened.test.entries] == names[:2]
    for part in parts:
        assert named(part, 0) == [("cat", [1, 1, 10, 10]), ("dog", [5, 5, 14, 14])]


def voc_folder(root: Path, lists: dict[str, str], size: tuple[int, int] = (40, 60)) -> None:
    """Images a, b, c, d of 40 x 60 pixels with one object each, and ImageSets/Main."""
    reported = f"<size><height>{size[0]}</height><width>{size[1]}</width></size><object>"
    for name in "abcd":
        marked(root / "JPEGImages" / f"{name}.png", 50)
        path = root / "Annotations" / f"{name}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            SQUARE["voc"][1].replace("a.png", f"{name}.png").replace("<object>", reported)
        )
    for name, stems in lists.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{stem}\n" for stem in stems))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"trainval": "abc", "test": "d"}, ["train", "train", "train", "test"]),
        ({"trainval": "abc", "val": "b", "test": "d"}, ["train", "validation", "train", "test"]),
        ({"trainval": "abc", "train": "a", "val": "b"}, ["train", "validation", None, None]),
    ],
)
def test_vocs_trainval_is_learned_from_where_there_is_no_train(tmp_path, lists, expected):
    voc_folder(tmp_path, lists)
    found = {
        e.path.stem: s
        for s, part in voc.read(Files(tmp_path), Report()).entries.items()
        for e in part
    }
    assert [found.get(stem) for stem in "abcd"] == expected


@pytest.mark.parametrize("form", ["coco", "voc"])
@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((40, 60), None),
        ((0, 0), None),
        ((60, 40), "but turned (boxes drawn on images that were not turned as their EXIF says?)"),
        ((80, 120), "but another one (boxes of another copy of the images?)"),
    ],
)
def test_a_written_size_is_compared_with_the_image(tmp_path, form, size, expected):
    if form == "voc":
        voc_folder(tmp_path, {}, size)
    else:
        names = [f"{name}.png" for name in "abcd"]
        for name in names:
            marked(tmp_path / name, 50)
        coco_json(tmp_path / "all.json", names)
        data = json.loads((tmp_path / "all.json").read_text())
        for image in data["images"]:
            image["height"], image["width"] = size
        (tmp_path / "all.json").write_text(json.dumps(data))
    reported = open_folder(tmp_path).report[2:]
    if expected is None:
        assert reported == []
    else:
        (line,) = reported
        assert line.startswith("4 images kept whose size is not the written one " + expected)


def outside(folder: Path, form: str, name: str) -> None:
    """A data set of two images of its own and `name`, in one of the forms."""
    root = folder / "data"
    for own in ("a.png", "b.png"):
        picture(root / "images" / own)
    names = ["a.png", "b.png", name]
    if form == "coco":
        coco_json(root / "all.json", names)
    elif form == "csv":
        (root / "all.csv").write_text("".join(f"{n},1,1,9,9,x\n" for n in names))
    elif form == "voc":
        (root / "Annotations").mkdir()
        for number, one in enumerate(names):
            box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
            text = f"<annotation><filename>{one}</filename><object><name>x</name>{box}</object></annotation>"
            (root / "Annotations" / f"n{number}.xml").write_text(text)
    else:
        listed = "".join(f"{n if '/' in n else f'images/{n}'}\n" for n in names)
        (root / "train.txt").write_text(listed)
        (root / "data.yaml").write_text("names: [x]\ntrain: train.txt\n")
        (root / "labels").mkdir()
        for own in ("a", "b"):
            (root / "labels" / f"{own}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


@pytest.mark.parametrize("form", ["coco", "csv", "voc", "yolo"])
@pytest.mark.parametrize("kind", ["up", "absolute", "long"])
def test_an_image_outside_the_folder_is_dropped_with_a_reason(tmp_path, form, kind):
    picture(tmp_path / "secret.png")
    name = {"up": "../secret.png", "absolute": f"{tmp_path}/secret.png", "long": "n/" + "x" * 5000}[
        kind
    ]
    outside(tmp_path, form, name)
    opened = open_folder(tmp_path / "data", form)
    read = [
        e.path.name for part in (opened.train, opened.validation, opened.test) for e in part.entries
    ]
    assert sorted(read) == ["a.png", "b.png"]
    reason = "whose files are missing" if kind == "long" else "whose names lead out of the folder"
    # YOLO's own label files name no images: the list does.
    assert f"1 images dropped {reason}, the first in " in "\n".join(opened.report)


def test_an_absolute_name_inside_the_folder_is_taken(tmp_path):
    outside(tmp_path, "coco", f"{tmp_path}/data/images/../images/c.png")
    picture(tmp_path / "data" / "images" / "c.png")
    opened = open_folder(tmp_path / "data")
    assert len(opened.train) + len(opened.validation) + len(opened.test) == 3
