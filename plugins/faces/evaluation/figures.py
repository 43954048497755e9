"""Pictures of faces, ROC curves and tables of verification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy
import torch
from matplotlib.figure import Figure
from PIL import Image as Pillow
from torch import Tensor

from framework import Image
from framework.media import Pixels
from plugins.detection.evaluation.boxes_on_images import draw_boxes, grid
from plugins.faces.analysis.detected import DetectedFaces
from plugins.faces.data.crops import Crops
from plugins.faces.evaluation.verification import FARS, Pairs, Roc, interval
from plugins.faces.synthetic.scenes import Scenes

# Pixels between pictures.
GAP = 2


def contact_sheet(crops: Crops, people: int = 8, pictures: int = 10) -> Pixels:
    """The first people, a row of `pictures` each, `[H, W, 3]`."""
    rows = []
    for person in range(min(people, len(crops.names))):
        mine = crops.images[crops.people == person][:pictures]
        blank = torch.full((pictures - len(mine), *crops.images.shape[1:]), 255, dtype=torch.uint8)
        rows.append(torch.cat([mine, blank]))
    return tiled(torch.stack(rows))


def tiled(images: Tensor) -> Pixels:
    """Images `[R, C, 3, S, S]` uint8 as one picture of R rows."""
    padded = torch.nn.functional.pad(images, (0, GAP, 0, GAP), value=255)
    rows, columns, _, height, width = padded.shape
    sheet = padded.permute(0, 3, 1, 4, 2).reshape(rows * height, columns * width, 3)
    return numpy.ascontiguousarray(sheet.numpy())


def pairs_sheet(crops: Crops, embeddings: Tensor, count: int = 10) -> Pixels:
    """Genuine pairs of highest and lowest cosine, impostor pairs of lowest and highest, two rows each.

    From above: easy genuine pairs, genuine pairs missed first, easy impostors, impostors accepted first.
    """
    upper, lower = torch.triu_indices(len(crops), len(crops), 1)
    cosines = (embeddings @ embeddings.T)[upper, lower]
    same = crops.people[upper] == crops.people[lower]
    rows = []
    for kind, largest in ((same, True), (same, False), (~same, False), (~same, True)):
        first, second = extreme_pairs(upper[kind], lower[kind], cosines[kind], largest, count)
        rows += [crops.images[first], crops.images[second]]
    return tiled(torch.stack(rows))


def extreme_pairs(
    first: Tensor, second: Tensor, cosines: Tensor, largest: bool, count: int
) -> tuple[Tensor, Tensor]:
    """The pairs of extreme cosine; no picture is in two of them as long as there are others."""
    order = cosines.topk(min(len(cosines), 50 * count), largest=largest).indices.tolist()
    chosen: list[int] = []
    used: set[int] = set()
    for place in order:
        pair = {int(first[place]), int(second[place])}
        if len(chosen) < count and not pair & used:
            chosen.append(place)
            used |= pair
    chosen += [order[k % len(order)] for k in range(count - len(chosen))]
    places = torch.tensor(chosen)
    return first[places], second[places]


def roc_picture(name: str, curves: Mapping[str, Roc]) -> Image:
    """TAR over FAR on a logarithmic axis, from the lowest FAR that the impostor pairs can measure."""
    figure = Figure(figsize=(5, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    for label, curve in curves.items():
        shown = curve.far * curve.impostors >= 1
        axes.plot(curve.far[shown], curve.tar[shown], label=f"{label}: EER {curve.eer():.3f}")
    axes.set(xscale="log", xlabel="false acceptances (FAR)", ylabel="true acceptances (TAR)")
    axes.set(xlim=(1e-4, 1), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return Image.from_figure(name, figure)


def table_of(curves: Mapping[str, Pairs], seed: int) -> str:
    """A Markdown table: EER with a 95 % interval over people, and TAR at each FAR that can be measured."""
    lines = [
        "| | EER (95 % interval over people) | TAR at FAR 0.1 | 0.01 | 0.001 |",
        "|---|---|---|---|---|",
    ]
    for name, pairs in curves.items():
        curve = pairs.roc()
        low, high = interval(pairs, Roc.eer, seed)
        tars = [
            f"{curve.tar_at(far):.3f}" if curve.impostors * far >= 1 else "too few pairs"
            for far in FARS
        ]
        lines.append(
            f"| {name} | {curve.eer():.3f} ({low:.3f} to {high:.3f}) | {' | '.join(tars)} |"
        )
    return "\n".join(lines)


def scenes_with_detections(
    scenes: Scenes, detections: Sequence[Mapping[str, Tensor]], count: int = 8
) -> Pixels:
    """The first `count` scenes with their detections."""
    pictures = [
        draw_boxes(
            with_landmarks(scenes.images[k], detections[k]["landmarks"], detections[k]["boxes"]),
            detections[k]["boxes"],
            *box_labels(detections[k]),
        )
        for k in range(min(count, len(scenes)))
    ]
    return grid(pictures, 4)


def box_labels(detections: Mapping[str, Tensor]) -> tuple[Tensor, list[str], Tensor]:
    """Labels, their names and the scores, as the detection plugin draws them beside boxes."""
    return torch.zeros(len(detections["boxes"]), dtype=torch.long), [""], detections["scores"]


def with_landmarks(image: Tensor, landmarks: Tensor, boxes: Tensor) -> Tensor:
    """An image `[3, H, W]` with a light square in a dark frame at each landmark, as large as its face's box allows."""
    image = image.clone()
    for points, box in zip(landmarks, boxes, strict=True):
        radius = max(0, round(float(box[3] - box[1]) / 60))
        for x, y in points[points.isfinite().all(1)].round().long().tolist():
            for reach, shade in ((radius + (radius > 0), 0), (radius, 255)):
                rows = slice(max(0, y - reach), max(0, y + reach + 1))
                columns = slice(max(0, x - reach), max(0, x + reach + 1))
                image[:, rows, columns] = shade
    return image


def photograph_with_detections(photograph: Pillow.Image, found: DetectedFaces) -> Pixels:
    """A photograph with its detections."""
    pixels = torch.from_numpy(numpy.array(photograph)).permute(2, 0, 1)
    detections = {"boxes": found.boxes, "scores": found.scores}
    marked = with_landmarks(pixels, found.landmarks, found.boxes)
    return draw_boxes(marked, found.boxes, *box_labels(detections))
