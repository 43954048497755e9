"""Faults as users' folders have them: each is read right, to the pixel, or refused or reported by name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from framework import UserError
from plugins.detection.data.folder import open_folder
from tests.plugins.detection.data.folders import Read, coco, plant, voc, what_is_read

# The box that most faults are about, in images of 60 x 40: as YOLO's fractions and in pixels.
CENTRE = ".25 .25 .1666666667 .25"
BOX = [10.0, 5.0, 20.0, 15.0]
CAT: list[tuple[str, list[float]]] = [("cat", BOX)]
TABLE = "image,xmin,ymin,xmax,ymax,class\n"
OPEN_IMAGES = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
)


@dataclass(frozen=True)
class Fault:
    """A folder with a fault.

    Attributes:
        files: by name.
        reads: the objects of each image that is read.
        says: parts of the report.
        refused: of the message, where the folder is refused; nothing is read then.
        root: what is opened, below the folder.
    """

    files: Mapping[str, Any]
    reads: Read = field(default_factory=dict)
    says: tuple[str, ...] = ()
    refused: str = ""
    root: str = "."


def boxes(line: str, count: int = 1, **files: Any) -> dict[str, Any]:
    """A YOLO folder of images with this line each."""
    found: dict[str, Any] = {"classes.txt": "cat\ndog\n"}
    for number in range(count):
        found |= {f"images/{number}.png": number, f"labels/{number}.txt": line}
    return found | files


def table(text: str, *names: str) -> dict[str, Any]:
    return {"all.csv": text} | {name: n for n, name in enumerate(names or ("a.png",))}


YOLO = {
    "a pose is a box with keypoints": Fault(
        boxes("0 .5 .5 .2 .2 .45 .45 .55 .55"),
        {"0.png": [("cat", [24, 16, 36, 24])]},
        ("the text files hold keypoints: their boxes are used",),
    ),
    "a pose with visibility, which the yaml states": Fault(
        boxes("0 .5 .5 .2 .2 .45 .45 2 0 0 0")
        | {"data.yaml": "kpt_shape: [2, 3]\nnames: [cat, dog]\n"},
        {"0.png": [("cat", [24, 16, 36, 24])]},
    ),
    "a polygon is the box around it": Fault(
        boxes("0 .2 .5 .5 .2 .8 .5 .5 .9"), {"0.png": [("cat", [12, 8, 48, 36])]}
    ),
    "lines that may be polygons or poses": Fault(
        boxes(
            "0 .5 .5 .2 .2 .45 .45 .55 .55\n0 .6 .6 .2 .2 .6 .6 .6 .6\n0 .1 .1 .9 .1 .9 .9 .1 .9"
        ),
        refused="may be polygons or boxes with keypoints; state kpt_shape",
    ),
    "text beside the pictures in a folder `images`": Fault(
        {"images/a.png": 0, "images/a.txt": f"0 {CENTRE}", "classes.txt": "cat\n"}, {"a.png": CAT}
    ),
    "text in a folder of another name": Fault(
        {"photos/a.png": 0, "txt/a.txt": f"0 {CENTRE}", "classes.txt": "cat\n"}, {"a.png": CAT}
    ),
    "a text file without an image": Fault(
        boxes(f"0 {CENTRE}") | {"labels/gone.txt": f"0 {CENTRE}"},
        {"0.png": CAT},
        ("1 text files left out without an image of their name, the first in gone.txt",),
    ),
    "an image without a text file": Fault(
        boxes(f"0 {CENTRE}") | {"images/b.png": 7},
        {"0.png": CAT, "b.png": []},
        ("1 images without a text file taken as without objects, the first in b.png",),
    ),
    "a list in a sub-folder, of another machine": Fault(
        {
            "data.yaml": "train: lists/train.txt\nval: lists/val.txt\nnames: [cat]\n",
            "lists/train.txt": "/home/me/set/images/a.png\n",
            "lists/val.txt": "C:\\set\\images\\b.png\n",
            "images/a.png": 0,
            "images/b.png": 1,
            "labels/a.txt": f"0 {CENTRE}",
            "labels/b.txt": f"0 {CENTRE}",
        },
        {"a.png": CAT, "b.png": CAT},
        ("1 for training, 1 for validation",),
    ),
    "darknet's lists": Fault(
        {
            "obj.data": "classes = 1\ntrain = data/train.txt\nvalid = data/test.txt\nnames = data/obj.names\n",
            "data/obj.names": "cat\n",
            "data/train.txt": "data/obj/a.png\n",
            "data/test.txt": "data/obj/b.png\n",
            "data/obj/a.png": 0,
            "data/obj/a.txt": f"0 {CENTRE}",
            "data/obj/b.png": 1,
            "data/obj/b.txt": f"0 {CENTRE}",
        },
        {"a.png": CAT, "b.png": CAT},
        ("1 for training, 1 for validation",),
    ),
    "lists without a description": Fault(
        {
            "train.txt": "obj/a.png\n",
            "test.txt": "obj/b.png\n",
            "obj/a.png": 0,
            "obj/a.txt": f"0 {CENTRE}",
            "obj/b.png": 1,
            "obj/b.txt": f"0 {CENTRE}",
            "custom.names": "cat\n",
        },
        {"a.png": CAT, "b.png": CAT},
        ("1 for testing",),
    ),
    "a class 0.0": Fault(boxes(f"0.0 {CENTRE}"), {"0.png": CAT}),
    "a class by its name": Fault(boxes(f"cat {CENTRE}"), {"0.png": CAT}),
    "the yaml as the root": Fault(
        boxes(f"1 {CENTRE}") | {"data.yaml": "names: {0: cat, 1: dog}\ntrain: images\n"},
        {"0.png": [("dog", BOX)]},
        root="data.yaml",
    ),
    "a yaml whose path is another machine's": Fault(
        boxes(f"0 {CENTRE}") | {"data.yaml": "path: /datasets/mine\ntrain: images\nnames: [cat]\n"},
        {"0.png": CAT},
    ),
    "a list of names called classes.names": Fault(
        {"images/a.png": 0, "labels/a.txt": f"1 {CENTRE}", "classes.names": "dog\ncat\n"},
        {"a.png": CAT},
    ),
    "classes that count from 1": Fault(
        boxes(f"1 {CENTRE}\n2 {CENTRE}"), refused=r"classes are 1 to 2, the names' 0 to 1: .*from 0"
    ),
    "a class above the last": Fault(
        boxes(f"0 {CENTRE}\n5 {CENTRE}"),
        {"0.png": CAT},
        ("1 objects of unknown categories dropped, the first in 0.txt, line 2",),
    ),
    "pixels": Fault(
        boxes(f"0 {CENTRE}") | {"images/b.png": 3, "labels/b.txt": "0 15 10 10 10\n"},
        {"0.png": CAT},
        ("no fractions of the image (pixels?), the first in b.txt, line 1",),
    ),
    "detections with scores": Fault(
        boxes(f"0 {CENTRE}\n0 {CENTRE} .93"),
        {"0.png": CAT},
        ("1 lines dropped with a fifth number after the box",),
    ),
    "a name whose accent is a character of its own": Fault(
        {
            "classes.txt": "cat\n",
            "images/caf\u00e9.png": 0,
            "labels/cafe\u0301.txt": f"0 {CENTRE}",
        },
        {"caf\u00e9.png": CAT},
    ),
    "classes that YAML takes for true and false": Fault(
        boxes(f"0 {CENTRE}") | {"data.yaml": "names: [yes, no]\n"}, {"0.png": [("yes", BOX)]}
    ),
    "two classes of one name": Fault(
        boxes(f"1 {CENTRE}") | {"data.yaml": "names: [cat, cat]\n"},
        {"0.png": CAT},
        ("2 classes are called 'cat': they are taken as one",),
    ),
    "fewer names than the yaml counts": Fault(
        boxes(f"0 {CENTRE}") | {"data.yaml": "nc: 3\nnames: [cat, dog]\n"},
        refused="nc = 3, but 2 names",
    ),
    "a test split without annotations": Fault(
        {
            "classes.txt": "cat\n",
            "train/images/a.png": 0,
            "train/labels/a.txt": f"0 {CENTRE}",
            "test/images/b.png": 1,
        },
        {"a.png": CAT},
        ("1 images left out of a split that has no text file",),
    ),
    "corners for a centre and a size": Fault(
        boxes("0 .1 .6 .4 .9", 4), refused="4 of 4 boxes do not fit their images"
    ),
}
CSV = {
    "a header of bbox_x, bbox_w": Fault(
        table("img_name,bbox_x,bbox_y,bbox_w,bbox_h,label_name\na.png,10,5,10,10,cat\n"),
        {"a.png": CAT},
    ),
    "a header with capitals and spaces": Fault(
        table("File Name,X Min,Y Min,X Max,Y Max,Class Name\na.png,10,5,20,15,cat\n"),
        {"a.png": CAT},
    ),
    "the image's size in the first columns, and another one": Fault(
        table("width,height,filename,class,xmin,ymin,xmax,ymax\n120,80,a.png,cat,10,5,20,15\n"),
        {"a.png": CAT},
        ("1 images kept whose size is not the written one but another one",),
    ),
    "a header of unknown names": Fault(
        table("photo_ref,u,v,du,dv,kind\na.png,10,5,10,10,cat\n"),
        refused="no column of its header is known to hold the image: photo_ref, u, v, du, dv, kind",
    ),
    "fractions of the image": Fault(
        table(TABLE + "a.png,.1,.2,.5,.6,cat\n"), {"a.png": [("cat", [6, 8, 30, 24])]}
    ),
    "fractions among pixels": Fault(
        table(TABLE + "a.png,10,5,20,15,cat\na.png,.1,.2,.5,.6,cat\n"),
        {"a.png": CAT},
        ("1 boxes dropped within the first pixel (fractions of the image?)",),
    ),
    "a centre and a size": Fault(
        table("image,x_center,y_center,width,height,class\na.png,15,10,10,10,cat\n"),
        {"a.png": CAT},
    ),
    "the image's size beside the box": Fault(
        table("filename,width,height,class,xmin,ymin,xmax,ymax\na.png,60,40,cat,10,5,20,15\n"),
        {"a.png": CAT},
    ),
    "a bbox column and no class": Fault(
        table('image_id,width,height,bbox,source\na,60,40,"[10.0, 5.0, 10.0, 10.0]",x\n'),
        {"a.png": [("object", BOX)]},
        ("has no column of classes: all objects are 'object'",),
    ),
    "Open Images": Fault(
        {
            "train/a.png": 0,
            "train-annotations-bbox.csv": OPEN_IMAGES
            + "a,xclick,/m/01yrx,1,0.25,0.5,0.25,0.5,0,0,0\n",
            "class-descriptions-boxable.csv": "/m/01yrx,Cat\n/m/0bt9lr,Dog\n",
        },
        {"a.png": [("Cat", [15, 10, 30, 20])]},
    ),
    "a line without a finding": Fault(
        table(
            "image_id,class_name,x_min,y_min,x_max,y_max\na,cat,10,5,20,15\nb,No finding,,,,\n",
            "a.png",
            "b.png",
        ),
        {"a.png": CAT, "b.png": []},
    ),
    "a path of another machine": Fault(
        table(TABLE + "C:\\photos\\a.png,10,5,20,15,cat\n"), {"a.png": CAT}
    ),
    "a name in other letters, with another suffix": Fault(
        table(TABLE + "A.JPG,10,5,20,15,cat\n"), {"a.png": CAT}
    ),
    "an object written twice": Fault(
        table(TABLE + "a.png,10,5,20,15,cat\n" * 2),
        {"a.png": CAT},
        ("1 objects dropped that are written twice",),
    ),
    "a size for corners": Fault(
        table(
            TABLE + "".join(f"{n}.png,40,25,10,10,cat\n" for n in range(4)),
            *(f"{n}.png" for n in range(4)),
        ),
        refused="no image has an object; 4 boxes dropped that are empty",
    ),
    "corners for a size": Fault(
        table(
            "image,x,y,w,h,class\n" + "".join(f"{n}.png,30,20,50,35,cat\n" for n in range(4)),
            *(f"{n}.png" for n in range(4)),
        ),
        refused="4 of 4 boxes do not fit their images",
    ),
}
VOC = {
    "a stale <filename>": Fault(
        {
            "a.png": 0,
            "b.png": 1,
            "a.xml": voc(filename="b.png"),
            "b.xml": voc(name="dog", filename="a.png"),
        },
        {"a.png": CAT, "b.png": [("dog", BOX)]},
        ("2 names in <filename> ignored: an image has its xml's own name",),
    ),
    "train/annotations and train/images": Fault(
        {
            "train/annotations/a.xml": voc(),
            "train/images/a.png": 0,
            "val/annotations/b.xml": voc(),
            "val/images/b.png": 1,
        },
        {"a.png": CAT, "b.png": CAT},
        ("1 for training, 1 for validation",),
    ),
    "lists with spaces, suffixes and numbers": Fault(
        {
            **{f"Annotations/{name}.xml": voc() for name in ("my a", "b", "c")},
            **{f"JPEGImages/{name}.png": n for n, name in enumerate(("my a", "b", "c"))},
            "ImageSets/Main/train.txt": "my a\nb.jpg\n",
            "ImageSets/Main/val.txt": "c  1\ngone\n",
        },
        {"my a.png": CAT, "b.png": CAT, "c.png": CAT},
        (
            "2 for training, 1 for validation",
            "1 listed names without an annotation file, the first in val.txt: gone",
        ),
    ),
    "a box without a width": Fault(
        {"a.png": 0, "a.xml": voc(), "b.png": 1, "b.xml": voc((11, 6, 11, 15))},
        {"a.png": CAT},
        (
            "1 boxes dropped that are empty",
            "1 images left out all of whose objects were dropped: they are no background, the first in b.png",
        ),
    ),
    "corners that count from 0": Fault(
        {"a.png": 0, "a.xml": voc((10, 5, 20, 15)), "b.png": 1, "b.xml": voc((0, 0, 9, 9))},
        {"a.png": CAT, "b.png": [("cat", [0, 0, 9, 9])]},
        ("corners of VOC's xml count from 0 here",),
    ),
    "fractions": Fault(
        {"a.png": 0, "a.xml": voc((0.1, 0.2, 0.5, 0.6))},
        refused="all boxes are within one pixel: fractions of the image",
    ),
}
COCO = {
    "a name whose accent is a character of its own": Fault(
        {"images/caf\u00e9.png": 0, "a.json": coco(["cafe\u0301.png"])},
        {"caf\u00e9.png": CAT},
    ),
    "two categories of one name": Fault(
        {
            "a.png": 0,
            "a.json": coco(["a.png"])
            | {"categories": [{"id": 1, "name": "cat"}, {"id": 4, "name": "cat"}]},
        },
        {"a.png": CAT},
        ("2 categories of a.json are called 'cat': they are taken as one",),
    ),
    "boxes as texts": Fault(
        {"a.png": 0, "a.json": coco(["a.png"], bbox=["10", "5", "10", "10"])}, {"a.png": CAT}
    ),
    "polygons without boxes": Fault(
        {
            "a.png": 0,
            "a.json": coco(["a.png"], bbox=None, segmentation=[[10, 5, 20, 5, 20, 15, 12, 15]]),
        },
        {"a.png": CAT},
    ),
    "neither a box nor a polygon": Fault(
        {
            "a.png": 0,
            "b.png": 1,
            "a.json": coco(["a.png"]),
            "b.json": coco(["b.png"], bbox=[], segmentation={"counts": "x", "size": [40, 60]}),
        },
        {"a.png": CAT},
        ("1 objects without a box dropped", "1 images left out all of whose objects were dropped"),
    ),
    "corners, as the areas show": Fault(
        {"a.png": 0, "a.json": coco(["a.png"], bbox=[10, 5, 20, 15], area=100)},
        refused="a.json: the boxes are corners",
    ),
    "ids as texts": Fault(
        {"a.png": 0, "a.json": coco(["a.png"], category_id="1", image_id="0")}, {"a.png": CAT}
    ),
    "one id for two images": Fault(
        {
            "a.png": 0,
            "b.png": 1,
            "a.json": coco(["a.png"])
            | {"images": [{"id": 0, "file_name": "a.png"}, {"id": 0, "file_name": "b.png"}]},
        },
        refused="two images have the same id",
    ),
    "one id for two categories": Fault(
        {
            "a.png": 0,
            "a.json": coco(["a.png"])
            | {"categories": [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]},
        },
        refused="category 1 is both 'cat' and 'dog'",
    ),
    "a crowd of text": Fault(
        {"a.png": 0, "a.json": coco(["a.png"], iscrowd="0", area="100")}, {"a.png": CAT}
    ),
    "fractions": Fault(
        {"a.png": 0, "a.json": coco(["a.png"], bbox=[0.1, 0.2, 0.4, 0.4])},
        refused="all boxes are within one pixel: fractions of the image",
    ),
    "a file name with the folder of another machine": Fault(
        {"pictures/a.png": 0, "a.json": coco(["/mnt/d/set/pictures/a.png"])}, {"a.png": CAT}
    ),
    "an annotation file as the root": Fault(
        {
            "a.png": 0,
            "annotations/mine.json": coco(["a.png"]),
            "annotations/old.json": coco(["a.png"], bbox=[0, 0, 9, 9]),
        },
        {"a.png": CAT},
        root="annotations/mine.json",
    ),
}
CVAT = (
    '<annotations><version>1.1</version><image id="0" name="a.png" width="60" height="40">'
    '<box label="cat" xtl="10" ytl="5" xbr="20" ybr="15"/>'
    '<polygon label="dog" points="30,10;40,10;35,30"/><points label="cat" points="1,2"/></image></annotations>'
)
SHAPES = [
    {"label": "cat", "shape_type": "rectangle", "points": [[20, 15], [10, 5]]},
    {"label": "dog", "shape_type": "polygon", "points": [[30, 10], [40, 10], [35, 30]]},
    {"label": "sun", "shape_type": "circle", "points": [[50, 10], [50, 15]]},
    {"label": "cat", "shape_type": "point", "points": [[50, 10]]},
]
REGIONS = [
    {
        "shape_attributes": {"name": "rect", "x": 10, "y": 5, "width": 10, "height": 10},
        "region_attributes": {"label": "cat"},
    },
    {
        "shape_attributes": {
            "name": "polygon",
            "all_points_x": [30, 40, 35],
            "all_points_y": [10, 10, 30],
        },
        "region_attributes": {"kind": "dog"},
    },
]
DOG = ("dog", [30.0, 10.0, 40.0, 30.0])
FORMATS = {
    "CVAT": Fault(
        {"images/a.png": 0, "annotations.xml": CVAT},
        {"a.png": [*CAT, DOG]},
        ("(cvat)", "1 objects dropped that are no box, polygon or polyline with a label (points)"),
    ),
    "CVAT's turned boxes": Fault(
        {
            "a.png": 0,
            "annotations.xml": "<annotations><image name='a.png'>"
            "<box label='cat' xtl='10' ytl='10' xbr='30' ybr='20' rotation='90'/>"
            "<box label='cat' xtl='10' ytl='10' xbr='20' ybr='20' rotation='a bit'/>"
            "</image></annotations>",
        },
        {"a.png": [("cat", [15, 5, 25, 25])]},
        ("1 objects dropped that are no box, polygon or polyline with a label (box)",),
    ),
    "CVAT for videos": Fault(
        {"a.png": 0, "annotations.xml": '<annotations><track id="0" label="cat"/></annotations>'},
        refused="annotations.xml: CVAT's form for videos; expected its form for images",
    ),
    "labelme": Fault(
        {"a.png": 0, "a.json": {"shapes": SHAPES, "imagePath": "..\\old.png", "imageData": None}},
        {"a.png": [*CAT, DOG, ("sun", [45, 5, 55, 15])]},
        ("(labelme)", "1 shapes dropped that have no area (point)"),
    ),
    "VIA": Fault(
        {"a.png": 0, "via.json": {"a.png1": {"filename": "a.png", "regions": REGIONS}}},
        {"a.png": [*CAT, DOG]},
        ("(via)",),
    ),
    "VIA's project, with numbered regions": Fault(
        {
            "a.png": 0,
            "via.json": {
                "_via_settings": {},
                "_via_img_metadata": {
                    "a.png1": {"filename": "a.png", "regions": {"0": REGIONS[0]}}
                },
            },
        },
        {"a.png": CAT},
    ),
    "an odd csv beside YOLO": Fault(
        boxes(f"0 {CENTRE}")
        | {"sample_submission.csv": "image_id,PredictionString\n0,1 0 0\n", "notes.csv": "a,b\n"},
        {"0.png": CAT},
        ("(yolo)",),
    ),
    "an odd json beside VOC": Fault(
        {"a.png": 0, "a.xml": voc(), "notes.json": '{"annotations": "by me", "images": 3}', "package.json": "{}"},
        {"a.png": CAT},
        ("(voc)",),
    ),
    "an odd xml beside COCO": Fault(
        {f"{n}.png": n for n in range(5)}
        | {"all.json": coco([f"{n}.png" for n in range(5)]), "3.xml": voc((1, 1, 9, 9))},
        {f"{n}.png": CAT for n in range(5)},
        ("objects in voc left out: coco has them in 5 images, voc in 1",),
    ),
    "two formats that say the same": Fault(
        {"a.png": 0, "a.xml": voc(), "classes.txt": "cat\n", "a.txt": f"0 {CENTRE}"},
        {"a.png": CAT},
        ("objects in yolo (the same) left out",),
    ),
    "two formats that do not": Fault(
        {"a.png": 0, "a.xml": voc(), "classes.txt": "cat\n", "a.txt": f"0 {CENTRE}\n0 .5 .5 .5 .5"},
        refused=r"voc has objects in 1 images and yolo in 1; say which: task.data.format=voc or yolo",
    ),
    "a document of unknown form": Fault(
        {"a.png": 0, "a.json": {"objects": []}},
        refused="1 images, but no annotations; expected COCO's json",
    ),
    "photographs of rarer kinds": Fault(
        {"classes.txt": "cat\n"}
        | {f"images/{kind}.{kind}": n for n, kind in enumerate(("jfif", "avif", "mpo", "webp"))}
        | {f"labels/{kind}.txt": f"0 {CENTRE}" for kind in ("jfif", "avif", "mpo", "webp")},
        {f"{kind}.{kind}": CAT for kind in ("jfif", "avif", "mpo", "webp")},
    ),
    "hidden files of another system": Fault(
        boxes(f"0 {CENTRE}") | {"images/._0.png": b"\0\0\0\0Mac OS X", "__MACOSX/images/._0.png": b"\0"},
        {"0.png": CAT},
    ),
}  # fmt: skip
ALL = {
    f"{form}: {name}": fault
    for form, faults in (
        ("yolo", YOLO),
        ("csv", CSV),
        ("voc", VOC),
        ("coco", COCO),
        ("all", FORMATS),
    )
    for name, fault in faults.items()
}


@pytest.mark.parametrize("name", ALL)
def test_a_fault_is_read_right_or_named(tmp_path: Path, name: str) -> None:
    fault = ALL[name]
    plant(tmp_path, fault.files)
    if fault.refused:
        with pytest.raises(UserError, match=fault.refused) as mistake:
            open_folder(tmp_path / fault.root)
        assert "\n" not in str(mistake.value)
        return
    opened = open_folder(tmp_path / fault.root)
    report = "\n".join(opened.report)
    assert what_is_read(opened) == {k: sorted(v) for k, v in fault.reads.items()}, report
    for line in fault.says:
        assert line in report


def test_there_are_many_faults() -> None:
    assert len(ALL) >= 40


def test_a_linked_folder_is_read(tmp_path: Path) -> None:
    plant(tmp_path / "elsewhere", boxes(f"0 {CENTRE}"))
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere" / "images", tmp_path / "data" / "images")
    os.symlink(tmp_path / "elsewhere" / "labels", tmp_path / "data" / "labels")
    (tmp_path / "data" / "classes.txt").write_text("cat\n")
    assert what_is_read(open_folder(tmp_path / "data")) == {"0.png": CAT}
