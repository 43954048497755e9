"""What annotation tools and people write: read to the pixel, or refused with the tool's name and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from framework import UserError
from plugins.detection.data.folder import open_folder
from plugins.detection.data.foreign import EXPORT, TOOLS
from tests.plugins.detection.data.folders import SIZE, plant, voc, what_is_read

WIDTH, HEIGHT = SIZE
LINE = "0 .25 .25 .1666666667 .25"
BOX = [10.0, 5.0, 20.0, 15.0]
# A box in Label Studio's percent.
PERCENT = {"x": 16.67, "y": 12.5, "width": 16.67, "height": 25, "rectanglelabels": ["cat"]}


def images(pattern: str, count: int = 4) -> dict[str, Any]:
    return {pattern.format(n): n for n in range(count)}


def texts(pattern: str, text: str, count: int = 4) -> dict[str, Any]:
    return {pattern.format(n): text for n in range(count)}


def lines(pattern: str, count: int = 4) -> str:
    return "".join(f"{pattern.format(n)}\n" for n in range(count))


READ: dict[str, dict[str, Any]] = {
    "Roboflow's oriented boxes": {
        "data.yaml": "train: ../train/images\nnc: 1\nnames: ['cat']\n",
        **images("train/images/{}.jpg"),
        **texts("train/labels/{}.txt", "0 .16667 .125 .33333 .125 .33333 .375 .16667 .375"),
    },
    "CVAT's YOLO 1.1": {
        "obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n",
        "obj.names": "cat\n",
        "train.txt": lines("data/obj_train_data/{}.jpg"),
        **images("obj_train_data/{}.jpg"),
        **texts("obj_train_data/{}.txt", LINE),
    },
    "CVAT's Ultralytics YOLO": {
        "data.yaml": "names:\n  0: cat\npath: .\ntrain: train.txt\n",
        "train.txt": lines("data/images/train/{}.jpg"),
        **images("images/train/{}.jpg"),
        **texts("labels/train/{}.txt", LINE),
    },
    "CVAT's VOC": {
        "labelmap.txt": "# label:color_rgb:parts:actions\ncat:128,0,0::\n",
        "ImageSets/Main/default.txt": lines("{}"),
        **images("JPEGImages/{}.jpg"),
        **texts("Annotations/{}.xml", voc()),
    },
    "Label Studio's COCO, of two versions": {
        "result.json": {
            "images": [
                {"id": n, "width": WIDTH, "height": HEIGHT, "file_name": name}
                for n, name in enumerate(
                    [r"..\..\data\media\upload\1\ab-0.jpg", *(f"images/ab-{n}.jpg" for n in (1, 2, 3))]
                )
            ],
            "categories": [{"id": 0, "name": "cat"}],
            "annotations": [
                {
                    "id": n, "image_id": n, "category_id": 0, "segmentation": [], "bbox": [10.0, 5.0, 10.0, 10.0],
                    "ignore": 0, "iscrowd": 0, "area": 100.0,
                }
                for n in range(4)
            ],
        },
        **images("images/ab-{}.jpg"),
    },
    "Label Studio's YOLO": {
        "classes.txt": "cat\n",
        "notes.json": {"categories": [{"id": 0, "name": "cat"}], "info": {"version": "1.0"}},
        **images("images/ab-{}.jpg"),
        **texts("labels/ab-{}.txt", LINE),
    },
    "VoTT's csv": {
        "p-export.csv": '"image","xmin","ymin","xmax","ymax","label"\n'
        + lines('"{}.jpg",10.0,5.0,20.0,15.0,"cat"'),
        **images("{}.jpg"),
    },
    "makesense.ai's csv, which has no header": {
        "labels_p.csv": lines(f"cat,10,5,10,10,{{}}.jpg,{WIDTH},{HEIGHT}"),
        **images("{}.jpg"),
    },
    "a traffic sign table": {
        "Train.csv": "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path\n"
        + lines(f"{WIDTH},{HEIGHT},10,5,20,15,cat,Train/20/{{}}.png"),
        **images("Train/20/{}.png"),
    },
    "semicolons and decimal commas": {
        "all.csv": "filename;xmin;ymin;xmax;ymax;class\n" + lines("{}.jpg;10,0;5,0;20,0;15,0;cat"),
        **images("{}.jpg"),
    },
    "text files a.jpg.txt": {
        "classes.txt": "cat\n",
        **images("images/{}.jpg"),
        **texts("labels/{}.jpg.txt", LINE),
    },
    "labelImg beside a telephone's pictures": {
        **images("IMG_{}.JPG"),
        **texts("IMG_{}.xml", voc()),
        "IMG_0.MOV": b"-",
        "._IMG_1.xml": b"\0\5",
        "__MACOSX/._IMG_1.JPG": b"\0",
        "Thumbs.db": b"-",
    },
}  # fmt: skip


@pytest.mark.parametrize("tool", READ)
def test_an_export_is_read_to_the_pixel(tool: str, tmp_path: Path) -> None:
    plant(tmp_path, READ[tool])
    found = what_is_read(open_folder(tmp_path))
    assert len(found) == 4
    for name, objects in found.items():
        assert [kind for kind, _ in objects] == ["cat"], name
        assert objects[0][1] == pytest.approx(BOX, abs=1e-2), name


def lines_of_json(one: Any) -> str:
    return json.dumps(one) + "\n"


OBJECT = {"label": "cat", "coordinates": {"x": 15, "y": 10, "width": 10, "height": 10}}
RESULT = {"value": PERCENT, "type": "rectanglelabels", "from_name": "label"}
CORNERS = {"exterior": [[10, 5], [20, 15]], "interior": []}
POINTS = "<pt><x>10</x><y>5</y></pt><pt><x>20</x><y>15</y></pt>"
# The files beside a picture a.jpg, and the tool's name.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "CreateML": ({"train.json": [{"image": "a.jpg", "annotations": [OBJECT]}]}, "CreateML's json"),
    "Label Studio": (
        {"p.json": [{"annotations": [{"result": [RESULT]}], "data": {"image": "/data/a.jpg"}}]},
        "Label Studio's json",
    ),
    "Label Studio, short": ({"p.json": [{"image": "a.jpg", "label": [PERCENT]}]}, "Label Studio's json"),
    "Label Studio, csv": (
        {"p.csv": 'id,image,label\n1,a.jpg,"[{""rectanglelabels"": [""cat""]}]"\n'},
        "Label Studio's csv",
    ),
    "Datumaro": (
        {"default.json": {"categories": {}, "items": [{"id": "a", "annotations": [{"label_id": 0}]}]}},
        "Datumaro's json",
    ),
    "Supervisely": (
        {"ann/a.jpg.json": {"objects": [{"classTitle": "cat", "points": CORNERS}]}},
        "Supervisely's json",
    ),
    "VoTT": (
        {"a.json": {"asset": {"name": "a.jpg"}, "regions": [{"boundingBox": {"left": 10}}]}},
        "VoTT's json",
    ),
    "BDD100K": ({"v.json": [{"name": "a.jpg", "labels": [{"box2d": {"x1": 10}}]}]}, "BDD100K's json"),
    "detections": (
        {"r.json": [{"image_id": 1, "category_id": 1, "bbox": [10, 5, 10, 10], "score": 0.9}]},
        "COCO's json of detections",
    ),
    "Hugging Face": (
        {"metadata.jsonl": lines_of_json({"file_name": "a.jpg", "objects": {"bbox": [[10, 5, 10, 10]]}})},
        "a json in lines",
    ),
    "LabelMe 3.0": (
        {"a.xml": f"<annotation><object><name>cat</name><polygon>{POINTS}</polygon></object></annotation>"},
        "LabelMe's xml",
    ),
    "YOLO Keras": ({"_annotations.txt": "a.jpg 10,5,20,15,0\n"}, "YOLO Keras' text"),
    "GTSDB": ({"gt.txt": "a.jpg;10;5;20;15;11\n"}, "GTSDB's text"),
    "KITTI": ({"label_2/a.txt": "Car 0.0 0 0.0 10.0 5.0 20.0 15.0 0 0 0 0 0 0 0\n"}, "KITTI's text"),
    "MOT": ({"gt/gt.txt": "1,1,10,5,10,10,1,1,1.0\n", "gt/labels.txt": "cat\n"}, "MOT's text"),
    "masks": ({"train.csv": "ImageId,EncodedPixels\na.jpg,1 3 10 5\n"}, "a table of RLE masks"),
    "zip": ({"labels.zip": b"PK\3\4"}, "an archive"),
    "TFRecord": ({"cats.tfrecord": b"\x12\0"}, "TFRecord"),
    "Parquet": ({"train-00000-of-00001.parquet": b"PAR1"}, "Parquet"),
    "Excel": ({"all.xlsx": b"PK\3\4"}, "a spreadsheet"),
    "MATLAB": ({"digitStruct.mat": b"MATLAB 5.0"}, "MATLAB's"),
}  # fmt: skip


@pytest.mark.parametrize("tool", REFUSED)
def test_another_tools_files_are_refused_by_name(tool: str, tmp_path: Path) -> None:
    files, name = REFUSED[tool]
    plant(tmp_path, files | {"a.jpg": 1})
    with pytest.raises(UserError) as error:
        open_folder(tmp_path)
    (advice,) = (known.advice for known in TOOLS if known.name.startswith(name))
    said = str(error.value)
    assert f"{Path(next(iter(files))).name} looks like {name}" in said
    assert said.endswith(f", which is not read: {advice}")
    assert "\n" not in said
    assert advice == EXPORT or "COCO" not in advice


def test_a_reason_of_its_own_is_not_laid_to_a_file_that_lies_there(tmp_path: Path) -> None:
    """The objects were read, and lost for another reason than the archive."""
    plant(
        tmp_path, {"a.jpg": 1, "a.txt": "0 .5 .5 .2 .2\n", "classes.txt": "cat\n", "all.zip": b"PK"}
    )
    with pytest.raises(UserError, match="no image has an object") as error:
        open_folder(tmp_path, categories=["dog"])
    assert "all.zip" not in str(error.value)


def test_the_table_that_is_named_is_the_largest(tmp_path: Path) -> None:
    boxes = "image_name,BoxesString,domain\na.png,10 5 20 15;20 5 30 15,3\nb.png,no_box,3\n"
    plant(
        tmp_path, {"about.csv": "name,country\na,b\n", "train.csv": boxes, "a.png": 1, "b.png": 2}
    )
    with pytest.raises(UserError, match=r"train\.csv: no column .* hold the box .*BoxesString"):
        open_folder(tmp_path)
