"""Four formats of the same data give the same samples; each fault is reported once, and the rest is read."""

import json
from pathlib import Path
from typing import get_args

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from framework.photographs import Unreadable, read_frames, read_photograph, size_of
from plugins.detection.data.folder import Folder, open_folder
from plugins.detection.data.formats import Format
from plugins.detection.data.generated import Generated
from plugins.detection.data.readers import voc
from plugins.detection.data.readers.entry import Report, split_of
from plugins.detection.data.readers.files import Files
from plugins.detection.data.readers.xml import Refused
from plugins.detection.data.writing import write
from plugins.detection.sample import Sample

FORMS = list(get_args(Format))
COUNTS = {"train": 6, "validation": 3, "test": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same generated images in every form."""
    root = tmp_path_factory.mktemp("forms")
    for form in FORMS:
        write(root / form, form, {s: Generated(s, n, 64) for s, n in COUNTS.items()})
    return root


def picture(path: Path, height: int = 40, width: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.zeros((height, width, 3), numpy.uint8)).save(path)


def named(folder: Folder, index: int) -> list[tuple[str, list[float]]]:
    sample = folder.sample(index)
    names = [folder.categories[label] for label in sample.labels.tolist()]
    return sorted(zip(names, sample.boxes.tolist(), strict=True))


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


SQUARE = {
    "voc": (
        "a.xml",
        "<annotation><filename>a.png</filename><object><name>square</name><bndbox><xmin>21</xmin>"
        "<ymin>6</ymin><xmax>30</xmax><ymax>15</ymax></bndbox></object></annotation>",
    ),
    "coco": (
        "a.json",
        json.dumps(
            {
                "images": [{"id": 5, "file_name": "a.png", "width": 60, "height": 40}],
                "annotations": [
                    {"id": 9, "image_id": 5, "category_id": 7, "bbox": [20, 5, 10, 10]}
                ],
                "categories": [{"id": 7, "name": "square"}],
            }
        ),
    ),
    "csv": ("a.csv", "filename,class,xmin,ymin,xmax,ymax\na.png,square,20,5,30,15\n"),
}


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


def test_images_of_every_kind_are_read_as_they_are_seen(tmp_path):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:10, :15] = (200, 40, 90)
    rgb = Image.fromarray(pixels)
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float()
    kinds = {
        "rgb.png": rgb,
        "palette.png": rgb.quantize(16),
        "palette.gif": rgb.quantize(16),
        "cmyk.tif": rgb.convert("CMYK"),
        "alpha.png": rgb.convert("RGBA"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
        found = read_photograph(tmp_path / name)
        assert found.dtype == torch.uint8
        assert (found.float() - expected).abs().mean() < 4, name
    rgb.convert("L").save(tmp_path / "grey.png")
    grey = read_photograph(tmp_path / "grey.png")
    assert grey.shape == (3, 20, 30)
    assert torch.equal(grey[0], grey[2])
    deep = Image.fromarray(pixels[:, :, 0].astype(numpy.uint16) * 256)
    deep.save(tmp_path / "deep.png")
    assert read_photograph(tmp_path / "deep.png")[0, 0, 0] == 199


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:5, :5] = 255  # top left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = read_photograph(tmp_path / "a.jpg")
    assert tuple(found.shape) == (3, 30, 20)
    assert size_of(tmp_path / "a.jpg") == (30, 20)
    assert found[0, 2, 17] > 200  # top right as seen


def test_a_huge_or_damaged_image_is_refused(tmp_path, monkeypatch):
    picture(tmp_path / "a.png", 300, 300)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable):
        read_photograph(tmp_path / "cut.png")
    monkeypatch.setattr("framework.photographs.MAX_PIXELS", 1000)
    with pytest.raises(Unreadable, match="300 x 300"):
        read_photograph(tmp_path / "a.png")


def test_an_image_that_is_damaged_inside_holds_nothing_and_is_named_once(tmp_path, capsys):
    rows = []
    for number in range(4):
        noise = numpy.random.default_rng(number).integers(0, 255, (99, 99, 3)).astype(numpy.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,1,1,9,9,x\n")
    path = tmp_path / "2.png"
    path.write_bytes(path.read_bytes()[:9000])
    (tmp_path / "all.csv").write_text("".join(rows))
    opened = open_folder(tmp_path)
    samples: list[Sample] = []
    for part in (opened.train, opened.validation, opened.test):
        for _ in range(2):
            samples += [part.sample(i) for i in range(len(part))]
    assert sum(not len(s.boxes) for s in samples) == 2
    assert capsys.readouterr().err.count("2.png") == 1
    assert sum(s.damaged for s in samples) == 2


@pytest.mark.parametrize(("wrong", "total"), [(5, 10), (6, 10), (60, 400)])
def test_a_folder_of_images_that_are_damaged_inside_is_refused(tmp_path, wrong, total):
    """Its headers are whole; half of them may be, of at least a hundred."""
    marked(tmp_path / "whole.png", 50)
    whole = (tmp_path / "whole.png").read_bytes()
    for number in range(total):
        data = whole[:60] if number < wrong else whole
        (tmp_path / f"{number:03d}.png").write_bytes(data)
    (tmp_path / "train.csv").write_text(
        "".join(f"{number:03d}.png,1,1,9,9,x\n" for number in range(total))
    )
    (tmp_path / "test.csv").write_text("whole.png,1,1,9,9,x\n")
    opened = open_folder(tmp_path)

    def read():
        parts = (opened.train, opened.validation, opened.test)
        return [part.sample(i).damaged for part in parts for i in range(len(part))]

    if wrong == 5:
        assert sum(read()) == 5
    else:
        with pytest.raises(UserError, match=r"of \d+ images are damaged, the last in .*\.png"):
            read()


def marked(path: Path, value: int) -> None:
    """A picture that can be reported by its grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(numpy.full((40, 60, 3), value, numpy.uint8)).save(path)


def coco_json(path: Path, names, *, categories=("x",), box=(1, 1, 9, 9), **more) -> None:
    """An annotation file with one object in each image."""
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    notes = [
        {"id": n, "image_id": n, "category_id": n % len(categories), "bbox": list(box)} | more
        for n in range(len(images))
    ]
    kinds = [{"id": n, "name": name} for n, name in enumerate(categories)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": kinds}))


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


@pytest.mark.parametrize("suffix", ["webp", "tif"])
def test_the_frames_of_a_photograph_are_turned_as_its_exif_says(tmp_path, suffix):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:5, :5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    (frame,) = read_frames(path)
    assert torch.equal(frame, read_photograph(path))
    assert tuple(frame.shape) == (3, 30, 20)
    assert frame[0, 2, 17] > 200  # top right as seen


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
