"""Writing data sets to a folder in the formats that the readers read.

    python -m plugins.detection.data.writing FOLDER [coco|voc|yolo|csv|cvat|labelme|via] [train=12000] [validation=300]
                                             [test=1000] [size=128]

writes the generated data set.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from framework.errors import UserError, suggestion
from plugins.detection.boxes import to_centre_and_size
from plugins.detection.data import coco_json
from plugins.detection.data.generated import Generated
from plugins.detection.sample import Sample, Source

SHORT = {"train": "train", "validation": "val", "test": "test"}


def write(folder: Path, format: str, splits: Mapping[str, Source]) -> None:
    """Write splits (train, validation, test) in one of the formats, images as PNG.

    Raises:
        UserError: another format.
    """
    if format not in WRITERS:
        raise UserError(f"format = '{format}': {suggestion(format, WRITERS)}")
    WRITERS[format](folder, splits)


def file_name(split: str, index: int) -> str:
    return f"{SHORT[split]}_{index:06d}.png"


def save_image(sample: Sample, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(path)


def write_coco(folder: Path, splits: Mapping[str, Source]) -> None:
    """annotations/instances_train.json and train/*.png, and so on."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split, source in splits.items():
        samples = [source.sample(i) for i in range(len(source))]
        names = [file_name(split, i) for i in range(len(source))]
        for sample, name in zip(samples, names, strict=True):
            save_image(sample, folder / SHORT[split] / name)
        text = json.dumps(coco_json.ground_truth(samples, source.categories, names))
        (folder / "annotations" / f"instances_{SHORT[split]}.json").write_text(text)


def write_voc(folder: Path, splits: Mapping[str, Source]) -> None:
    """Annotations/*.xml, JPEGImages/*.png and ImageSets/Main/train.txt, and so on."""
    for part in ("Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for split, source in splits.items():
        names = [file_name(split, i) for i in range(len(source))]
        for index, name in enumerate(names):
            sample = source.sample(index)
            save_image(sample, folder / "JPEGImages" / name)
            path = folder / "Annotations" / name
            path.with_suffix(".xml").write_bytes(voc_xml(sample, name, source.categories))
        stems = "".join(f"{name.removesuffix('.png')}\n" for name in names)
        (folder / "ImageSets" / "Main" / f"{SHORT[split]}.txt").write_text(stems)


def voc_xml(sample: Sample, name: str, categories: list[str]) -> bytes:
    """An image's annotation; corners count from 1 and are inclusive."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = name
    size = ElementTree.SubElement(root, "size")
    for key, value in zip(("height", "width", "depth"), (*sample.size, 3), strict=True):
        ElementTree.SubElement(size, key).text = str(value)
    for box, label in zip(sample.boxes.tolist(), sample.labels.tolist(), strict=True):
        element = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(element, "name").text = categories[label]
        ElementTree.SubElement(element, "difficult").text = "0"
        bounds = ElementTree.SubElement(element, "bndbox")
        corners = (box[0] + 1, box[1] + 1, box[2], box[3])
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
            ElementTree.SubElement(bounds, key).text = f"{value:g}"
    return ElementTree.tostring(root)


def write_yolo(folder: Path, splits: Mapping[str, Source]) -> None:
    """data.yaml, images/train/*.png and labels/train/*.txt, and so on."""
    categories = next(iter(splits.values())).categories
    folder.mkdir(parents=True, exist_ok=True)
    places = "".join(f"{SHORT[split]}: images/{SHORT[split]}\n" for split in splits)
    (folder / "data.yaml").write_text(f"{places}names: {json.dumps(categories)}\n")
    for split, source in splits.items():
        for index in range(len(source)):
            sample, name = source.sample(index), file_name(split, index)
            save_image(sample, folder / "images" / SHORT[split] / name)
            height, width = sample.size
            lines = [
                f"{label} {x / width:.9g} {y / height:.9g} {w / width:.9g} {h / height:.9g}\n"
                for label, (x, y, w, h) in zip(
                    sample.labels.tolist(), to_centre_and_size(sample.boxes).tolist(), strict=True
                )
            ]
            path = folder / "labels" / SHORT[split] / name.replace(".png", ".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(lines))


def write_csv(folder: Path, splits: Mapping[str, Source]) -> None:
    """train.csv and images/*.png, and so on; an image without objects has a line without a box."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, source in splits.items():
        with (folder / f"{SHORT[split]}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["image", "xmin", "ymin", "xmax", "ymax", "class"])
            for index in range(len(source)):
                sample, name = source.sample(index), file_name(split, index)
                save_image(sample, folder / "images" / name)
                rows = [[name, *box, label] for label, box in objects_of(sample, source.categories)]
                table.writerows(rows or [[name, "", "", "", "", ""]])


def write_cvat(folder: Path, splits: Mapping[str, Source]) -> None:
    """train.xml and images/*.png, and so on: CVAT's form for images."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, source in splits.items():
        root = ElementTree.Element("annotations")
        labels = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "labels")
        for category in source.categories:
            ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = category
        for index in range(len(source)):
            sample, name = source.sample(index), file_name(split, index)
            save_image(sample, folder / "images" / name)
            height, width = map(str, sample.size)
            image = ElementTree.SubElement(root, "image", name=name, width=width, height=height)
            for label, box in objects_of(sample, source.categories):
                corners = {
                    key: f"{v:g}" for key, v in zip(("xtl", "ytl", "xbr", "ybr"), box, strict=True)
                }
                ElementTree.SubElement(image, "box", {"label": label, **corners})
        (folder / f"{SHORT[split]}.xml").write_bytes(ElementTree.tostring(root))


def write_labelme(folder: Path, splits: Mapping[str, Source]) -> None:
    """train/*.json beside train/*.png, and so on."""
    for split, source in splits.items():
        for index in range(len(source)):
            sample, name = source.sample(index), file_name(split, index)
            path = folder / SHORT[split] / name
            save_image(sample, path)
            shapes = [
                {"label": label, "shape_type": "rectangle", "points": [[x0, y0], [x1, y1]]}
                for label, (x0, y0, x1, y1) in objects_of(sample, source.categories)
            ]
            height, width = sample.size
            whole = {
                "imagePath": name,
                "imageHeight": height,
                "imageWidth": width,
                "shapes": shapes,
            }
            path.with_suffix(".json").write_text(json.dumps(whole))


def write_via(folder: Path, splits: Mapping[str, Source]) -> None:
    """train/via_region_data.json and train/*.png, and so on."""
    for split, source in splits.items():
        whole = {}
        for index in range(len(source)):
            sample, name = source.sample(index), file_name(split, index)
            path = folder / SHORT[split] / name
            save_image(sample, path)
            regions = [
                {
                    "shape_attributes": {
                        "name": "rect", "x": x0, "y": y0, "width": x1 - x0, "height": y1 - y0,
                    },
                    "region_attributes": {"label": label},
                }
                for label, (x0, y0, x1, y1) in objects_of(sample, source.categories)
            ]  # fmt: skip
            size = path.stat().st_size
            whole[f"{name}{size}"] = {"filename": name, "size": size, "regions": regions}
        (folder / SHORT[split] / "via_region_data.json").write_text(json.dumps(whole))


def objects_of(sample: Sample, categories: Sequence[str]) -> list[tuple[str, list[float]]]:
    """The name and the corners of each object."""
    pairs = zip(sample.labels.tolist(), sample.boxes.tolist(), strict=True)
    return [(categories[label], box) for label, box in pairs]


WRITERS: Mapping[str, Callable[[Path, Mapping[str, Source]], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "csv": write_csv,
    "cvat": write_cvat,
    "labelme": write_labelme,
    "via": write_via,
}


def main(arguments: list[str]) -> None:
    words = [a for a in arguments if "=" not in a]
    counts = {"train": 12000, "validation": 300, "test": 1000, "size": 128}
    counts |= {
        key: int(value) for key, _, value in (a.partition("=") for a in arguments if "=" in a)
    }
    side = counts.pop("size")
    splits = {split: Generated(split, count, side) for split, count in counts.items()}
    write(Path(words[0]), words[1] if len(words) > 1 else "coco", splits)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    main(sys.argv[1:])
