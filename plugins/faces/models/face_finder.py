"""One network from images to faces: boxes, scores, five landmarks and a feature for each face.

Faces are points: a heatmap says where their centres are, and at each place other maps tell the box's sides, as in the
detection plugin, and the landmarks. What a face's feature is made from is the *route*; a small network reads

joint              a patch of the shared features, as large as the face's own box says
aligned_features   a patch of them, turned and scaled so that the face's landmarks lie on a template
centre             a patch of them of one size around the face's centre, as a convolution would see it
two_stage          a patch of the image, aligned by landmarks: nothing is shared

All are differentiable from the feature to the pixels; in all but the last the first layers learn from both. Which of
the shared features are read is a choice, too: early ones, which are fine, or the late map that the detector's head
reads, which knows the surroundings. The late map around the centre is what the first joint networks read: it stays at
chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.detection.models.anchor_free import RARE, Pyramid, convolution, told
from plugins.detection.models.assignment import cell_centres, heat_targets
from plugins.detection.models.losses import box_loss, peak_focal
from plugins.faces.models.alignment import patches, similarity, upright
from plugins.faces.models.networks import Trunk, unit

Route = Literal["joint", "aligned_features", "two_stage", "centre"]
Shared = Literal["early", "late", "both"]
STRIDE = 4  # pixels between places of the map that tells faces
FINE = 2  # pixels between places of the features that patches are taken from
LANDMARK_UNIT = 8.0  # pixels for an output of 1
AROUND = (
    0.58  # half a patch's side in heights of the box: about as much of a head as the template shows
)


class Said(NamedTuple):
    """What the network says of images: logits `[B, 1, H, W]`, distances `[B, 4, H, W]`, landmarks `[B, 10, H, W]`.

    `fine` are features of stride 2 and `wide` those that the head reads, of stride 4.
    """

    logits: Tensor
    distances: Tensor
    landmarks: Tensor
    fine: Tensor
    wide: Tensor


class Located(NamedTuple):
    """Where faces are: boxes `[M, 4]` and landmarks `[M, 5, 2]` in pixels, in images `owner` `[M]`."""

    boxes: Tensor
    landmarks: Tensor
    owner: Tensor


@dataclass(frozen=True)
class SceneBatch:
    """Images of one size and all faces in them.

    Attributes:
        images: `[B, 3, H, W]` uint8 or floats 0..255.
        boxes: `[M, 4]`, landmarks: `[M, 5, 2]` in pixels, NaN where unknown.
        people: `[M]`, -1 where unknown.
        owner: `[M]`, which image a face is in.
        aim: where a detector would have said that they are: not quite there.
        number: which batch it is, counted from 0.
        ignored: boxes `[K, 4]` in which nothing is wrong to find, in images `ignored_owner` `[K]`.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    people: Tensor
    owner: Tensor
    aim: Located
    number: int = 0
    ignored: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    ignored_owner: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))


class FinePyramid(Pyramid):
    """A pyramid whose finest map has stride 4, and that hands out its first features, too."""

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], neck: int) -> None:
        super().__init__(widths, blocks, neck)
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in widths[1:])

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of stride 2, `[B, widths[0], H / 2, W / 2]`, and of stride 4, aware of all coarser ones."""
        x = ((images.float() - 127.5) / 64).contiguous(memory_format=torch.channels_last)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        sums = [lateral(m) for lateral, m in zip(self.lateral, maps[1:], strict=True)]
        wide = sums[-1]
        for finer in reversed(sums[:-1]):
            wide = finer + functional.interpolate(wide, scale_factor=2.0, mode="nearest")
        return maps[0], wide


class FaceFinder(nn.Module):
    """Images to faces.

    Args:
        route: what features are made from.
        shared: which of the detector's features they are made from.
        size: numbers in an embedding.
        patch: side of the aligned patch; in image pixels twice as many are taken.
        widths, blocks: of the pyramid; neck, head: channels of its map and inside the head.
        trunk: widths of the network that reads patches.
    """

    def __init__(
        self,
        route: Route,
        *,
        shared: Shared = "early",
        size: int = 128,
        patch: int = 24,
        widths: Sequence[int] = (16, 32, 48, 64, 64),
        blocks: Sequence[int] = (1, 0, 1, 2, 1),
        neck: int = 48,
        head: int = 48,
        trunk: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.route, self.shared, self.size, self.patch = route, shared, size, patch
        self.multiple = 2 ** len(widths)
        self.pyramid = FinePyramid(widths, blocks, neck)
        self.head = convolution(neck, head)
        self.score, self.distance, self.landmark = (nn.Conv2d(head, n, 1) for n in (1, 4, 10))
        biases = (math.log(RARE / (1 - RARE)), math.log(4.0), 0.0)
        for layer, bias in zip((self.score, self.distance, self.landmark), biases, strict=True):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))
        channels = {"early": widths[0], "late": neck, "both": widths[0] + neck}
        self.identity = (
            Trunk(3, 2 * patch, trunk, 1, size)
            if route == "two_stage"
            else Trunk(channels[shared], patch, trunk, 1, size, halve_first=False)
        )
        self.to(memory_format=torch.channels_last)

    def said(self, images: Tensor) -> Said:
        """Everything that is told at every place of images `[B, 3, H, W]`, sides a multiple of `multiple`."""
        fine, wide = self.pyramid.both(images)
        x = self.head(wide)
        distances = STRIDE * (self.distance(x).float().clamp(max=6).exp() - 0.5)
        return Said(self.score(x).float(), distances, self.landmark(x).float(), fine, wide)

    def features(self, said: Said, images: Tensor, faces: Located) -> Tensor:
        """A feature `[M, D]`, not normalised, of each face."""
        extent = (images.shape[-2], images.shape[-1])
        places, owner = self.places(faces), faces.owner
        if self.route == "two_stage":
            pixels = (images.float() - 127.5) / 64
            cut = patches(pixels, owner, places, 2 * self.patch, extent)
        else:
            maps = {"early": [said.fine], "late": [said.wide], "both": [said.fine, said.wide]}
            cuts = [patches(m, owner, places, self.patch, extent) for m in maps[self.shared]]
            cut = torch.cat(cuts, 1)
        described: Tensor = self.identity(cut.contiguous(memory_format=torch.channels_last))
        return described

    def places(self, faces: Located) -> Tensor:
        """Matrices `[M, 2, 3]` from a patch to where it is cut out, in pixels."""
        if self.route in ("aligned_features", "two_stage"):
            return similarity(faces.landmarks.float())
        corners = faces.boxes.float().unflatten(1, (2, 2))
        centre, height = corners.mean(1), corners[:, 1, 1] - corners[:, 0, 1]
        if self.route == "joint":
            return upright(centre, AROUND * height)
        return upright(centre, torch.full_like(height, self.patch * FINE / 2))

    def losses(self, said: Said, batch: SceneBatch) -> dict[str, Tensor]:
        """What is wrong with centres, boxes and landmarks, divided by the number of faces."""
        shape = said.logits.shape
        labels = torch.zeros_like(batch.people)
        target = heat_targets(
            batch.boxes, labels, batch.owner, (shape[0], 1, shape[2], shape[3]), STRIDE
        )
        count = max(1, len(batch.boxes))
        owner = batch.owner[target.object]
        boxes = told(said.distances, STRIDE)[owner, target.cell]
        wrong = box_loss("giou", boxes, batch.boxes[target.object]) * target.weight
        true = batch.landmarks[target.object]
        points = told_landmarks(said.landmarks)[owner, target.cell]
        height = batch.boxes[target.object, 3] - batch.boxes[target.object, 1]
        off = (points - true).abs().mean((1, 2)) / height.clamp(min=1)
        known = off.isfinite()
        attended = attention(target.heat, batch.ignored, batch.ignored_owner)
        return {
            "centre": (peak_focal(said.logits, target.heat) * attended).sum() / count,
            "box": wrong.sum() / count,
            "landmarks": (off[known] * target.weight[known]).sum() / count,
        }

    def forward(
        self, images: Tensor, most: int = 50, floor: float = 0.3
    ) -> list[dict[str, Tensor]]:
        """Faces of images `[B, 3, H, W]`, bytes or 0..255, best first.

        Returns:
            for each image boxes `[K, 4]` in pixels, scores `[K]` of at least `floor`, landmarks `[K, 5, 2]` and
            embeddings `[K, D]` of norm 1; K may be 0.
        """
        height, width = images.shape[-2:]
        images = padded(images, self.multiple)
        said = self.said(images)
        scores, cells = peaks(said.logits, most)
        image, rank = (scores >= floor).nonzero(as_tuple=True)
        cell = cells[image, rank]
        boxes = told(said.distances, STRIDE)[image, cell]
        edge = torch.tensor([width, height, width, height], device=boxes.device)
        boxes = torch.minimum(boxes.clamp(min=0), edge)
        landmarks = told_landmarks(said.landmarks)[image, cell]
        embeddings = boxes.new_zeros(0, self.size)
        if len(boxes):
            embeddings = unit(self.features(said, images, Located(boxes, landmarks, image)))
        everything = {
            "boxes": boxes,
            "scores": scores[image, rank],
            "landmarks": landmarks,
            "embeddings": embeddings,
        }
        return [
            {name: value[image == number] for name, value in everything.items()}
            for number in range(len(images))
        ]


def attention(heat: Tensor, ignored: Tensor, owner: Tensor) -> Tensor:
    """1 where the heat `[B, 1, H, W]` is to be learned, 0 inside ignored boxes `[K, 4]` except at faces' centres."""
    height, width = heat.shape[-2:]
    centres = cell_centres(height, width, STRIDE, heat.device)
    low, high = ignored[:, None, :2] - STRIDE / 2, ignored[:, None, 2:] + STRIDE / 2
    inside = ((centres >= low) & (centres <= high)).all(-1).view(-1, 1, height, width)
    hidden = torch.zeros_like(heat).index_add(0, owner, inside.to(heat.dtype)) > 0
    return (~hidden | (heat == 1)).to(heat.dtype)


def padded(images: Tensor, multiple: int) -> Tensor:
    """Images with sides made a multiple of `multiple`, grey on the right and below."""
    height, width = images.shape[-2:]
    more = (0, -width % multiple, 0, -height % multiple)
    return functional.pad(images, more, value=127) if any(more) else images


def told_landmarks(outputs: Tensor) -> Tensor:
    """Landmarks `[B, H * W, 5, 2]` in pixels of outputs `[B, 10, H, W]`, which are offsets from each place."""
    height, width = outputs.shape[-2:]
    centres = cell_centres(height, width, STRIDE, outputs.device)
    offsets = outputs.flatten(2).mT.unflatten(-1, (5, 2))
    points: Tensor = centres[:, None] + LANDMARK_UNIT * offsets
    return points


def peaks(logits: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Scores and places `[B, k]` of the highest among their 3x3 neighbours, best first; elsewhere scores are 0."""
    scores = logits.sigmoid()
    highest = functional.max_pool2d(scores, 3, 1, 1)
    alone = torch.where(scores == highest, scores, 0.0).flatten(1)
    best, place = alone.topk(min(most, alone.shape[1]), 1)
    return best, place
