"""The layouts in which well-known data sets are published, written small: all is read, and nothing is complained of."""

from pathlib import Path
from typing import Any

import pytest

from plugins.detection.data.folder import open_folder
from tests.plugins.detection.data.folders import by_split, coco, plant, voc, what_is_read

LINE = "0 .25 .25 .1666666667 .25"
BOX = [10.0, 5.0, 20.0, 15.0]


def coco_2017() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for split, count in (("train2017", 4), ("val2017", 2)):
        names = [f"{n:012d}.png" for n in range(count)] if split == "val2017" else None
        names = names or [f"{n + 100:012d}.png" for n in range(count)]
        files |= {f"{split}/{name}": int(name[:-4]) for name in names}
        files[f"annotations/instances_{split}.json"] = coco(names, iscrowd=0, area=100.0)
        files[f"annotations/person_keypoints_{split}.json"] = coco(names, num_keypoints=0)
        captions = {"images": [], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
        files[f"annotations/captions_{split}.json"] = captions
    return files


def voc_2012() -> dict[str, Any]:
    names = [f"2008_{n:06d}" for n in range(6)]
    files: dict[str, Any] = {}
    for number, name in enumerate(names):
        files[f"VOC2012/JPEGImages/{name}.jpg"] = number
        files[f"VOC2012/Annotations/{name}.xml"] = voc(filename=f"{name}.jpg")
    lists = {"train": names[:3], "val": names[3:], "trainval": names}
    for split, part in lists.items():
        place = f"VOC2012/ImageSets/Main/{split}.txt"
        files[place] = "".join(f"{name}\n" for name in part)
        classes = "".join(f"{name} {1 if n else -1:2d}\n" for n, name in enumerate(part))
        files[f"VOC2012/ImageSets/Main/cat_{split}.txt"] = classes
        files[f"VOC2012/ImageSets/Segmentation/{split}.txt"] = f"{part[0]}\n"
    return files


def coco128() -> dict[str, Any]:
    files: dict[str, Any] = {
        "coco128.yaml": "path: ../datasets/coco128\ntrain: images/train2017\nval: images/train2017\n"
        "test:\nnames:\n  0: cat\n  1: dog\ndownload: |\n  echo none\n",
        "LICENSE": "-",
        "README.txt": "1 2 3 words",
    }
    for n in range(6):
        files |= {
            f"images/train2017/{n:012d}.jpg": n,
            f"labels/train2017/{n:012d}.txt": f"{LINE}\n",
        }
    return files


def roboflow_yolo() -> dict[str, Any]:
    files: dict[str, Any] = {
        "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 1\n"
        "names: ['cat']\nroboflow:\n  workspace: w\n",
        "README.roboflow.txt": "exported by hand",
        "README.dataset.txt": "0 1 2",
    }
    for number, split in enumerate(("train", "train", "valid", "test")):
        stem = f"{number}_jpg.rf.{number:032x}"
        files |= {f"{split}/images/{stem}.jpg": number, f"{split}/labels/{stem}.txt": LINE}
    return files


def roboflow_coco() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for number, split in enumerate(("train", "valid", "test")):
        name = f"{number}_png.rf.{number:032x}.jpg"
        files[f"{split}/{name}"] = number
        files[f"{split}/_annotations.coco.json"] = coco([name]) | {
            "categories": [
                {"id": 0, "name": "pets", "supercategory": "none"},
                {"id": 1, "name": "cat", "supercategory": "pets"},
            ]
        }
    return files


def open_images() -> dict[str, Any]:
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf"
    )
    head += ",IsDepiction,IsInside\n"
    row = "xclick,/m/01yrx,1,0.16666667,0.33333333,0.125,0.375,0,0,0,0,0\n"
    files: dict[str, Any] = {"class-descriptions-boxable.csv": "/m/01yrx,cat\n"}
    for number, (split, place) in enumerate(
        (("train", "oidv6-train"), ("validation", "validation"), ("test", "test"))
    ):
        files[f"{split}/{number:016x}.jpg"] = number
        files[f"{place}-annotations-bbox.csv"] = f"{head}{number:016x},{row}"
    return files


def wheat() -> dict[str, Any]:
    rows = "".join(f'{n:09x},60,40,"[10.0, 5.0, 10.0, 10.0]",usask_1\n' for n in range(6))
    return {f"train/{n:09x}.jpg": n for n in range(6)} | {
        "test/0000fa.jpg": 77,
        "train.csv": f"image_id,width,height,bbox,source\n{rows}",
        "sample_submission.csv": "image_id,PredictionString\n0000fa,1.0 0 0 50 50\n",
    }


def cells() -> dict[str, Any]:
    """Pascal VOC without lists, as small medical sets are published on GitHub."""
    files: dict[str, Any] = {"README.md": "cells", "test.csv": "a,b\n", "example.jpg": 99}
    for n in range(6):
        files |= {
            f"set/JPEGImages/Image_{n:05d}.jpg": n,
            f"set/Annotations/Image_{n:05d}.xml": voc(filename=f"Image_{n:05d}.jpg"),
        }
    return files


SPLITS = {
    "coco_2017": (4, 2, 2),
    "voc_2012": (3, 3, 3),
    "coco128": (6, 6, 6),
    "roboflow_yolo": (2, 1, 1),
    "roboflow_coco": (1, 1, 1),
    "open_images": (1, 1, 1),
    "wheat": (4, 1, 1),
    "cells": (4, 1, 1),
}
# What is said of these: no fault, but worth knowing.
SAID = {
    "coco_2017": "annotation files left out beside instances_*.json",
    "coco128": "images are both in train and in validation",
    "wheat": "has no column of classes: all objects are 'object'",
}


@pytest.mark.parametrize(
    "layout",
    [coco_2017, voc_2012, coco128, roboflow_yolo, roboflow_coco, open_images, wheat, cells],
)
def test_a_published_layout_is_read_without_a_complaint(tmp_path: Path, layout: Any) -> None:
    plant(tmp_path, layout())
    opened = open_folder(tmp_path)
    name = layout.__name__
    counts = tuple(len(part) for part in by_split(opened).values())
    assert counts == SPLITS[name], opened.report
    label = "object" if name == "wheat" else "cat"
    assert {tuple(map(str, objects)) for objects in what_is_read(opened).values()} == {
        (str((label, BOX)),)
    }
    assert len(opened.report) == (3 if name in SAID else 2), opened.report
    assert SAID.get(name, "") in opened.report[-1]
    assert opened.train.categories == (["cat", "dog"] if name == "coco128" else [label])


@pytest.mark.parametrize(
    ("form", "ids"), [("coco", [3, 7, 90]), ("yolo", [0, 1, 2]), ("csv", [1, 2, 3])]
)
def test_labels_keep_the_data_sets_order_and_numbers(
    tmp_path: Path, form: str, ids: list[int]
) -> None:
    """Ids of COCO's json, numbers of YOLO's names; where there are none, those of the alphabet."""
    files: dict[str, Any] = {"images/a.png": 0}
    if form == "coco":
        kinds = [{"id": 90, "name": "ant"}, {"id": 3, "name": "owl"}, {"id": 7, "name": "bee"}]
        files["a.json"] = coco(["a.png"], category_id=7) | {"categories": kinds}
    elif form == "yolo":
        files |= {"data.yaml": "names: [owl, bee, ant]\n", "labels/a.txt": f"1{LINE[1:]}"}
    else:
        names = ("kind 10", "kind 9", "ant")
        rows = "".join(f"a.png,{n},5,20,15,{name}\n" for n, name in enumerate(names))
        files["a.csv"] = f"image,xmin,ymin,xmax,ymax,class\n{rows}"
    plant(tmp_path, files)
    opened = open_folder(tmp_path)
    expected = ["ant", "kind 9", "kind 10"] if form == "csv" else ["owl", "bee", "ant"]
    assert opened.train.categories == expected
    assert opened.train.category_ids == ids
