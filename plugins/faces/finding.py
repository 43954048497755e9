"""One network from images to faces: boxes, scores, five landmarks and a feature for each face.

Faces are points: a heatmap says where their centres are, and at each place other maps tell the box's sides, as in the
detection plugin, and the landmarks. What the feature is made from is the *route*:

joint              the feature map at the face's centre: nothing is aligned, all is one map
aligned_features   a patch of the early, fine features, turned and scaled so that the landmarks lie on a template
two_stage          the same patch out of the image itself, for a network of its own that shares nothing

All three are differentiable from the feature to the pixels; in the first two the detector's layers learn from both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.detection.assignment import cell_centres, heat_targets
from plugins.detection.losses import box_loss, peak_focal
from plugins.detection.models.anchor_free import RARE, Pyramid, convolution, told
from plugins.faces.alignment import patches, similarity
from plugins.faces.networks import Trunk, unit

Route = Literal["joint", "aligned_features", "two_stage"]
STRIDE = 4  # pixels between places of the map that tells faces
FINE = 2  # pixels between places of the features that patches are taken from
LANDMARK_UNIT = 8.0  # pixels for an output of 1


class Said(NamedTuple):
    """What the network says of images: logits `[B, 1, H, W]`, distances `[B, 4, H, W]`, landmarks `[B, 10, H, W]`.

    `fine` are features of stride 2 and `wide` those that the head reads, of stride 4.
    """

    logits: Tensor
    distances: Tensor
    landmarks: Tensor
    fine: Tensor
    wide: Tensor


@dataclass(frozen=True)
class SceneBatch:
    """Images of one size and all faces in them.

    Attributes:
        images: `[B, 3, H, W]` uint8 or floats 0..255.
        boxes: `[M, 4]`, landmarks: `[M, 5, 2]` in pixels, NaN where unknown.
        people: `[M]`, -1 where unknown.
        owner: `[M]`, which image a face is in.
        aim: `[M, 5, 2]`, the landmarks as a detector would have told them: not quite right.
        number: which batch it is, counted from 0.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    people: Tensor
    owner: Tensor
    aim: Tensor
    number: int = 0


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
        size: numbers in an embedding.
        patch: side of the aligned patch; in image pixels twice as many are taken.
        widths, blocks: of the pyramid; neck, head: channels of its map and inside the head.
        trunk: widths of the network that reads patches.
    """

    def __init__(
        self,
        route: Route,
        *,
        size: int = 128,
        patch: int = 24,
        widths: Sequence[int] = (16, 32, 48, 64, 64),
        blocks: Sequence[int] = (0, 0, 1, 2, 1),
        neck: int = 48,
        head: int = 48,
        trunk: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.route, self.size, self.patch = route, size, patch
        self.multiple = 2 ** len(widths)
        self.pyramid = FinePyramid(widths, blocks, neck)
        self.head = convolution(neck, head)
        self.score, self.distance, self.landmark = (nn.Conv2d(head, n, 1) for n in (1, 4, 10))
        biases = (math.log(RARE / (1 - RARE)), math.log(4.0), 0.0)
        for layer, bias in zip((self.score, self.distance, self.landmark), biases, strict=True):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))
        self.identity = self.reader(widths[0], neck, trunk)
        self.to(memory_format=torch.channels_last)

    def reader(self, fine: int, neck: int, trunk: Sequence[int]) -> nn.Module:
        """What makes a feature: of a place in the map, of a patch of features, or of a patch of the image."""
        if self.route == "joint":
            return nn.Sequential(
                convolution(neck, trunk[-1]),
                convolution(trunk[-1], trunk[-1]),
                nn.Conv2d(trunk[-1], self.size, 1),
            )
        if self.route == "aligned_features":
            return Trunk(fine, self.patch, trunk, 1, self.size, halve_first=False)
        return Trunk(3, 2 * self.patch, trunk, 1, self.size)

    def said(self, images: Tensor) -> Said:
        """Everything that is told at every place of images `[B, 3, H, W]`, sides a multiple of `multiple`."""
        fine, wide = self.pyramid.both(images)
        x = self.head(wide)
        distances = STRIDE * (self.distance(x).float().clamp(max=6).exp() - 0.5)
        return Said(self.score(x).float(), distances, self.landmark(x).float(), fine, wide)

    def features(self, said: Said, images: Tensor, landmarks: Tensor, owner: Tensor) -> Tensor:
        """A feature `[M, D]`, not normalised, of each face: landmarks `[M, 5, 2]` in images `owner` `[M]`."""
        height, width = images.shape[-2:]
        matrices = similarity(landmarks.float())
        if self.route == "joint":
            middle = matrices.clone()
            middle[..., :2] = 0.0  # of the patch only its middle: one place of the map
            return patches(self.identity(said.wide), owner, middle, 1, (height, width)).flatten(1)
        if self.route == "aligned_features":
            cut = patches(said.fine, owner, matrices, self.patch, (height, width))
        else:
            pixels = (images.float() - 127.5) / 64
            cut = patches(pixels, owner, matrices, 2 * self.patch, (height, width))
        described: Tensor = self.identity(cut.contiguous(memory_format=torch.channels_last))
        return described

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
        return {
            "centre": peak_focal(said.logits, target.heat).sum() / count,
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
            embeddings = unit(self.features(said, images, landmarks, image))
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
