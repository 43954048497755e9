"""Four formats of the same data give the same samples; each fault is reported once, and the rest is read."""

import json
from pathlib import Path
from typing import get_args

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from plugins.detection.data.folder import open_folder
from plugins.detection.data.formats import Format
from plugins.detection.data.generated import Generated
from plugins.detection.data.readers import voc
from plugins.detection.data.readers.entry import split_of
from plugins.detection.data.readers.xml import Refused
from plugins.detection.data.writing import write
from tests.plugins.detection.data.folders import SQUARE, coco_json, marked, named, picture

FORMS = list(get_args(Format))
COUNTS = {"train": 6, "validation": 3, "test": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same generated images in every form."""
    root = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        write(root / form, form, {s: Generated(s, n, 64) for s, n in COUNTS.items()})
    return root


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_back_what_was_written(folders, form):
    opened = open_folder(folders / form)
    assert f"({form})" in opened.report[0]
    assert opened.report[2:] == []  # nothing dropped
    for split, count in COUNTS.items():
        source, folder = Generated(split, count, 64), getattr(opened, split)
        assert len(folder) == count
        for index in range(count):
            written = source.sample(index)
            names = [source.categories[label] for label in written.labels.tolist()]
            expected = sorted(zip(names, written.boxes.tolist(), strict=True))
            assert [n for n, _ in named(folder, index)] == [n for n, _ in expected]
            read = torch.tensor([box for _, box in named(folder, index)])
            torch.testing.assert_close(
                read, torch.tensor([box for _, box in expected]), atol=1e-4, rtol=0
            )
            assert torch.equal(folder.sample(index).image, written.image)


def test_all_forms_give_identical_labels(folders):
    opened = [open_folder(folders / form) for form in FORMS]
    for other in opened[1:]:
        assert set(other.train.categories) == set(opened[0].train.categories)
        for index in range(COUNTS["train"]):
            first, second = opened[0].train.sample(index), other.train.sample(index)
            torch.testing.assert_close(first.boxes, second.boxes, atol=1e-4, rtol=0)
            names = [
                [one.train.categories[label] for label in sample.labels]
                for one, sample in ((opened[0], first), (other, second))
            ]
            assert names[0] == names[1]


def white_square(folder: Path) -> None:
    """An image with a white square of 10 x 10 pixels whose first pixel is (20, 5)."""
    pixels = numpy.zeros((40, 60, 3), numpy.uint8)
    pixels[5:15, 20:30] = 255
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / "a.png")


@pytest.mark.parametrize("form", ["voc", "coco", "csv", "yolo"])
def test_a_white_square_of_ten_pixels_has_area_100_in_every_form(tmp_path, form):
    white_square(tmp_path)
    if form == "yolo":
        (tmp_path / "classes.txt").write_text("square\n")
        (tmp_path / "a.txt").write_text("0 0.4166666667 0.25 0.1666666667 0.25\n")
    else:
        name, text = SQUARE[form]
        (tmp_path / name).write_text(text)
    sample = open_folder(tmp_path).train.sample(0)
    torch.testing.assert_close(sample.boxes, torch.tensor([[20.0, 5, 30, 15]]), atol=1e-4, rtol=0)
    assert sample.area[0].item() == pytest.approx(100, abs=1e-3)
    white = (sample.image[0] > 128).nonzero()
    assert white.min(0).values.tolist() == [5, 20]


def test_a_folder_with_faults_is_read_and_says_so_once_each(tmp_path):
    for number in range(8):
        picture(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "7.png").write_bytes(b"no image at all")
    images = [{"id": n, "file_name": f"{n}.png", "width": 60, "height": 40} for n in range(8)]
    images.append({"id": 99, "file_name": "gone.png", "width": 60, "height": 40})
    boxes = {
        0: [5, 5, 10, 10],
        1: [5, 5, 0, 10],  # no width
        2: [30, 20, -5, 4],  # ends before it begins
        3: [50, 30, 30, 30],  # cut off at the edge
        4: [70, 50, 5, 5],  # outside
        6: [1, 1, 20, 20],
        7: [1, 1, 20, 20],
    }
    notes = [
        {"id": n + 1, "image_id": image, "category_id": 90 if image % 2 else 3, "bbox": box}
        for n, (image, box) in enumerate(boxes.items())
    ]
    notes.append({"id": 50, "image_id": 0, "category_id": 4, "bbox": [1, 1, 5, 5]})  # a gap
    data = {
        "images": images,
        "annotations": notes,
        "categories": [
            {"id": 90, "name": "owl"},
            {"id": 3, "name": "ant"},
            {"id": 7, "name": "bee"},
        ],
    }
    (tmp_path / "all.json").write_text(json.dumps(data))
    opened = open_folder(tmp_path)
    reported = "\n".join(opened.report)
    for line in (
        "1 objects of unknown categories dropped",
        "1 images dropped whose files are missing, the first in gone.png",
        "2 boxes dropped that are empty or end before they begin",
        "1 boxes clipped to their image",
        "1 boxes dropped that lie outside",
        "1 images dropped that cannot be read, the first in 7.png",
        "3 images left out all of whose objects were dropped: they are no background, the first in 1.png",
    ):
        assert reported.count(line) == 1, reported
    parts = [opened.train, opened.validation, opened.test]
    assert sum(map(len, parts)) == 4
    assert opened.train.categories == ["ant", "bee", "owl"]
    found = [box for part in parts for i in range(len(part)) for box in named(part, i)]
    assert sorted(found) == [
        ("ant", [1, 1, 21, 21]), ("ant", [5, 5, 15, 15]), ("owl", [50, 30, 60, 40]),
    ]  # fmt: skip


def test_images_without_objects_have_boxes_of_shape_0_4(tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        picture(tmp_path / "images" / name)
    (tmp_path / "classes.txt").write_text("x\n")
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text("0 .5 .5 .2 .2\n")
    (labels / "b.txt").write_text("\n")
    opened = open_folder(tmp_path)
    shapes = [
        tuple(part.sample(i).boxes.shape)
        for part in (opened.train, opened.validation, opened.test)
        for i in range(len(part))
    ]
    assert sorted(shapes) == [(0, 4), (0, 4), (0, 4), (1, 4)]


def test_a_divided_folder_is_divided_by_names_and_stays_so(tmp_path):
    rows = []
    for number in range(40):
        picture(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,1,1,9,9,x\n")
    (tmp_path / "all.csv").write_text("".join(rows))
    first = open_folder(tmp_path)
    assert [len(p) for p in (first.train, first.validation, first.test)] == [28, 4, 8]
    (tmp_path / "all.csv").write_text("".join(reversed(rows)))
    second = open_folder(tmp_path)
    for part in ("train", "validation", "test"):
        paths = [{e.path for e in getattr(o, part).entries} for o in (first, second)]
        assert paths[0] == paths[1]
    everything = [e.path for p in (first.train, first.validation, first.test) for e in p.entries]
    assert len(set(everything)) == 40


def test_a_document_type_is_refused(tmp_path):
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>'
    path = tmp_path / "a.xml"
    for text in (bomb.encode(), bomb.replace("?>", ' encoding="utf-16"?>', 1).encode("utf-16")):
        path.write_bytes(text)
        with pytest.raises(Refused):
            voc.read_file(path)


def test_a_difficult_object_is_a_crowd(tmp_path):
    white_square(tmp_path)
    name, text = SQUARE["voc"]
    (tmp_path / name).write_text(text.replace("<bndbox>", "<difficult>1</difficult><bndbox>"))
    assert open_folder(tmp_path).train.sample(0).crowd.tolist() == [True]


def test_a_yaml_with_aliases_is_refused(tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text("names: &a [x]\nother: *a\n")
    with pytest.raises(UserError, match="aliases"):
        open_folder(tmp_path)


def test_mistakes_are_refused_in_one_line(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong = tmp_path / "wrong"
    picture(wrong / "a.png")
    (wrong / "a.json").write_text('{"annotations": 5}')
    bare = tmp_path / "bare"
    picture(bare / "a.png")
    (bare / "a.csv").write_text("image,weight\na.png,4\n")
    for folder in (tmp_path / "nowhere", empty, wrong, bare):
        with pytest.raises(UserError) as mistake:
            open_folder(folder)
        assert str(folder) in str(mistake.value)
        assert "\n" not in str(mistake.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("instances_val2017", "validation"),
        ("instances_train2017", "train"),
        ("valid", "validation"),
        ("Testing", "test"),
        ("constraint", None),
        ("all", None),
    ],
)
def test_splits_are_known_by_their_names(name, split):
    assert split_of(name) == split


def yolo_folder(root: Path, yaml: str | bytes) -> None:
    for name in "abcd":
        marked(root / "images" / "train" / f"{name}.png", 50)
        path = root / "labels" / "train" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 .5 .5 .2 .2\n")
    (root / "data.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())


def test_a_split_of_yolos_yaml_that_does_not_exist_is_reported(tmp_path):
    yolo_folder(tmp_path, "train: images/train\nval: images/vaal\nnames: [x]\n")
    opened = open_folder(tmp_path)
    reported = (
        "1 folders and lists of the yaml left out that do not exist, the first in val: images/vaal"
    )
    assert reported in opened.report


def test_names_of_yolos_yaml_may_have_quoted_numbers(tmp_path):
    yolo_folder(tmp_path, "names: {'0': cat, '2': dog}\n")
    assert open_folder(tmp_path, categories=["cat"]).train.categories == ["cat"]
    assert [name for name, _ in named(open_folder(tmp_path).train, 0)] == ["cat"]


def test_a_table_with_semicolons_is_read_and_its_wrong_lines_are_numbered(tmp_path):
    for name in "abcd":
        marked(tmp_path / f"{name}.png", 50)
    head, rows = "image;xmin;ymin;xmax;ymax;class\n\n", [f"{n}.png;1;2;9;8;x\n" for n in "abcd"]
    (tmp_path / "train.csv").write_text(head + "".join(rows) + "a.png;1;2;nine;8;x\n")
    opened = open_folder(tmp_path)
    why = "1 lines dropped without four numbers and a class, the first in train.csv, line 7"
    assert why in opened.report
    assert named(opened.train, 0) == [("x", [1, 2, 9, 8])]


def test_a_file_that_is_not_utf8_or_has_wrong_keys_is_refused_in_one_line(tmp_path):
    latin = "Bär".encode("latin-1")
    yolo = [b"# " + latin + b"\nnames: [x]\n", b"names: {cat: 0}\n"]
    reported = [
        ", line 1: expected UTF-8",
        ": names: 'cat': expected a class's number, as in `0: cat`",
    ]
    for number, (yaml, expected) in enumerate(zip(yolo, reported, strict=True)):
        folder = tmp_path / str(number)
        yolo_folder(folder, yaml)
        with pytest.raises(UserError, match=f"data.yaml{expected}"):
            open_folder(folder)
    yolo_folder(tmp_path / "labels", "names: [x]\n")
    (tmp_path / "labels" / "labels" / "train" / "b.txt").write_bytes(b"0 .5 .5 .2 .2\n" + latin)
    marked(tmp_path / "csv" / "a.png", 50)
    (tmp_path / "csv" / "a.csv").write_bytes(b"a.png,1,1,9,9,x\na.png,1,1,9,9," + latin)
    for folder, name in (("labels", "b.txt"), ("csv", "a.csv")):
        with pytest.raises(UserError, match=f"{name}, line 2: expected UTF-8"):
            open_folder(tmp_path / folder)


def test_images_without_any_object_are_refused_with_what_was_dropped(tmp_path):
    marked(tmp_path / "a.png", 50)
    coco_json(tmp_path / "a.json", ["a.png"], box=(70, 50, 5, 5))
    with pytest.raises(UserError, match="no image has an object; 1 boxes dropped that lie outside"):
        open_folder(tmp_path)
