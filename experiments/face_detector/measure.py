"""A detector on the photographs of people that installed packages ship: prints the table.

    python -m experiments.face_detector.measure [bundled | mtcnn | RUN | FILE] [LIST IMAGES]

Needs scikit-image beside matplotlib and pygame-ce. Of people there are two portraits, looked at in several sizes, and
the 100 faces of 25 pixels of scikit-image's lfw_subset, enlarged and hung on walls, 25 in a picture. False detections
are counted in all of these and in photographs without people that no scene was made of. With LIST, in WIDER FACE's or
RetinaFace's format, of the faces in photographs of the folder IMAGES, it is measured on these instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from PIL import Image as Pillow
from torch import Tensor

from experiments.command import given_arguments
from framework import UserError
from plugins.detection.boxes import pairwise_iou
from plugins.faces.analysis.cutting import Places
from plugins.faces.analysis.detectors import Detector, make_detector
from plugins.faces.data.lists import read_annotations
from plugins.faces.data.photographs import read_photograph

# The faces' boxes, from hairline to chin.
PORTRAITS = (
    ("skimage", "data/astronaut.png", (181, 62, 268, 172)),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", (174, 120, 356, 340)),
)
LONGEST_SIDES = (160, 256, 384, 512)
HUNG = ("skimage", "data/lfw_subset.npy")
# Pixels of the enlarged faces, of a wall, and grey levels of the walls.
HUNG_SIDES, WALL, GREYS = (28, 34, 40, 48), 500, (60, 120, 180, 230)
QUIET = tuple(
    ("pygame", f"docs/generated/_images/camera_{name}.jpg")
    for name in ("average", "mask", "rgb", "thresholded", "yuv")
)
SCORES = (0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7)
MATCH_IOU = 0.35


class Photograph(NamedTuple):
    """A photograph, what it belongs to, and its faces' boxes `[M, 4]`."""

    kind: str
    image: Pillow.Image
    boxes: Tensor


def installed(package: str, name: str) -> Path:
    """A file of an installed package.

    Raises:
        UserError: it is not there.
    """
    spec = find_spec(package)
    file = Path(spec.origin).parent / name if spec and spec.origin else Path(name)
    if not file.is_file():
        raise UserError(f"{package}'s {name} is not installed: pip install scikit-image pygame-ce")
    return file


def photographs() -> Iterator[Photograph]:
    """All that is measured on."""
    for package, name, box in PORTRAITS:
        whole = read_photograph(installed(package, name))
        for longest in LONGEST_SIDES:
            factor = longest / max(whole.size)
            small = whole.resize((round(whole.width * factor), round(whole.height * factor)))
            yield Photograph("portraits", small, torch.tensor([box]) * factor)
    faces = numpy.load(installed(*HUNG), allow_pickle=False)[:100]
    for number, grey in enumerate(GREYS):
        wall, boxes = Pillow.new("RGB", (WALL, WALL), (grey,) * 3), []
        for k, face in enumerate(faces[25 * number : 25 * number + 25]):
            side = HUNG_SIDES[k % len(HUNG_SIDES)]
            left, top = 15 + 96 * (k % 5), 15 + 96 * (k // 5)
            picture = Pillow.fromarray((255 * face).astype("uint8")).convert("RGB")
            wall.paste(picture.resize((side, side)), (left, top))
            boxes.append([left, top, left + side, top + side])
        yield Photograph("hung faces", wall, torch.tensor(boxes).float())
    for package, name in QUIET:
        yield Photograph("no people", read_photograph(installed(package, name)), torch.zeros(0, 4))


def listed(listing: Path, images: Path) -> Iterator[Photograph]:
    """The photographs of a list."""
    for one in read_annotations(listing):
        yield Photograph("listed", read_photograph(images / one.file), one.boxes[~one.ignored])


def counted(photograph: Photograph, places: Places, score: float) -> tuple[int, int]:
    """How many faces were found from a score on, and how many detections were of none."""
    boxes = places.boxes[places.scores >= score]
    if not len(boxes) or not len(photograph.boxes):
        return 0, len(boxes)
    iou = pairwise_iou(boxes, photograph.boxes.float())
    return int((iou.amax(0) >= MATCH_IOU).sum()), int((iou.amax(1) < MATCH_IOU).sum())


def main(detector: Detector, measured: Iterable[Photograph]) -> None:
    """Print how many faces are found and how many false detections there are, by the least score."""
    seen = [(photograph, detector.places(photograph.image)) for photograph in measured]
    kinds = list(dict.fromkeys(photograph.kind for photograph, _ in seen))
    totals = {k: sum(len(p.boxes) for p, _ in seen if p.kind == k) for k in kinds}
    titles = [f"{k}: found of {totals[k]}, false" if totals[k] else f"{k}: false" for k in kinds]
    print(f"| score from | {' | '.join(titles)} |\n|{'---|' * (len(kinds) + 1)}")
    for score in SCORES:
        cells = []
        for kind in kinds:
            counts = [counted(p, places, score) for p, places in seen if p.kind == kind]
            found, false = (sum(column) for column in zip(*counts, strict=True))
            cells.append(f"{found}, {false}" if totals[kind] else str(false))
        print(f"| {score} | {' | '.join(cells)} |")


if __name__ == "__main__":
    arguments = given_arguments(__doc__, most=3) or ["bundled"]
    if len(arguments) == 2:
        raise SystemExit(f"LIST = '{arguments[1]}': expected LIST IMAGES, the folder beside it")
    main(
        make_detector(arguments[0]),
        listed(*map(Path, arguments[1:])) if arguments[1:] else photographs(),
    )
