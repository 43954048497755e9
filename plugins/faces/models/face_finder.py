"""One network from images to faces: boxes, scores, five landmarks and an embedding of each face.

Faces are points: a heatmap predicts their centres, and at each of its cells other maps predict the sides of the box, as
in the detection plugin, and the landmarks. The `feature_source` is what a face's embedding is computed from; a small
network reads

joint              a patch of the shared features, as large as the face's predicted box
aligned_features   a patch of them, rotated and scaled so that the face's landmarks lie on a template
centre             a patch of them of constant size around the face's centre, as a convolution would see it
two_stage          a patch of the image, aligned by landmarks: nothing is shared

All are differentiable from the embedding to the pixels; in all but the last the first layers are trained by both tasks.
The `feature_level` chooses the shared features: the early ones, which have a fine resolution, or the late map that the
detection head reads, which has a large receptive field. The late map around the centre is what the first joint networks
read: it stays at chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.detection.models.anchor_free import (
    PRIOR_PROBABILITY,
    Pyramid,
    convolution,
    decode_boxes,
)
from plugins.detection.models.assignment import cell_centres, heat_targets
from plugins.detection.models.losses import box_loss, peak_focal
from plugins.faces.models.alignment import patches, similarity, upright
from plugins.faces.models.networks import Trunk, unit

FeatureSource = Literal["joint", "aligned_features", "two_stage", "centre"]
FeatureLevel = Literal["early", "late", "both"]
# Pixels between cells of the detection head's maps, and of the features that patches are taken from.
STRIDE, FINE_STRIDE = 4, 2
# Pixels for a landmark output of 1.
LANDMARK_UNIT = 8.0
# Half a patch's side in heights of the box: about as much of a head as the template shows.
PATCH_EXTENT = 0.58


class RawOutputs(NamedTuple):
    """The network's outputs: logits `[B, 1, H, W]`, distances `[B, 4, H, W]`, landmarks `[B, 10, H, W]`.

    `fine` are features of stride 2, `wide` those of stride 4 that the head reads.
    """

    logits: Tensor
    distances: Tensor
    landmarks: Tensor
    fine: Tensor
    wide: Tensor


class Located(NamedTuple):
    """Where faces are: boxes `[M, 4]` and landmarks `[M, 5, 2]` in pixels, in images `image_index` `[M]`."""

    boxes: Tensor
    landmarks: Tensor
    image_index: Tensor


@dataclass(frozen=True)
class SceneBatch:
    """Images of one size and all faces in them.

    Attributes:
        images: `[B, 3, H, W]` uint8 or floats 0..255.
        boxes: `[M, 4]` xyxy, landmarks: `[M, 5, 2]` in pixels, NaN where unknown.
        people: `[M]`, -1 where unknown.
        image_index: `[M]`, which image a face is in.
        jittered: where embeddings are read from: boxes and landmarks a little off, as a detector's are.
        number: the number of the batch, from 0.
        ignored: boxes `[K, 4]` in which no detection is wrong, in images `ignored_image_index` `[K]`.
        faces_in_whole, known_in_whole: faces, and those whose person is known, in as many images of the batch that this
            is a process's part of, on average; None: it is whole.
    """

    images: Tensor
    boxes: Tensor
    landmarks: Tensor
    people: Tensor
    image_index: Tensor
    jittered: Located
    number: int = 0
    ignored: Tensor = field(default_factory=lambda: torch.zeros(0, 4))
    ignored_image_index: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    faces_in_whole: float | None = None
    known_in_whole: float | None = None

    @property
    def faces(self) -> float:
        """What losses are divided by: the mean over the parts is then that of the whole batch."""
        return max(1, len(self.boxes)) if self.faces_in_whole is None else self.faces_in_whole

    @property
    def known(self) -> float:
        """The same for faces whose person is known; 0 where there are fewer than the two that a comparison needs."""
        if self.known_in_whole is not None:
            return self.known_in_whole
        known = int((self.people >= 0).sum())
        return known if known > 1 else 0

    def part(self, own: slice) -> SceneBatch:
        """Some of the images and the faces in them, for losses that are divided by what the whole holds."""
        index, ignored, jittered = self.image_index, self.ignored_image_index, self.jittered
        here = (index >= own.start) & (index < own.stop)
        left_out = (ignored >= own.start) & (ignored < own.stop)
        share = (own.stop - own.start) / len(self.images)
        return replace(
            self,
            images=self.images[own],
            boxes=self.boxes[here],
            landmarks=self.landmarks[here],
            people=self.people[here],
            image_index=index[here] - own.start,
            jittered=Located(
                jittered.boxes[here],
                jittered.landmarks[here],
                jittered.image_index[here] - own.start,
            ),
            ignored=self.ignored[left_out],
            ignored_image_index=ignored[left_out] - own.start,
            faces_in_whole=share * self.faces,
            known_in_whole=share * self.known,
        )


class FinePyramid(Pyramid):
    """A pyramid whose finest map has stride 4, and that returns its first features, too."""

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
        feature_source: what embeddings are computed from; see this module.
        feature_level: which of the detector's features they are computed from.
        embedding_size: D; 0: faces are detected and not embedded.
        patch_size: side of the patch in cells of stride 2; of a patch of image pixels the side is twice that.
        widths, blocks: of the pyramid; neck, head: channels of its map and inside the head.
        trunk: widths of the network that reads patches.
    """

    def __init__(
        self,
        feature_source: FeatureSource,
        *,
        feature_level: FeatureLevel = "early",
        embedding_size: int = 128,
        patch_size: int = 24,
        widths: Sequence[int] = (16, 32, 48, 64, 64),
        blocks: Sequence[int] = (1, 0, 1, 2, 1),
        neck: int = 48,
        head: int = 48,
        trunk: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.feature_source, self.feature_level = feature_source, feature_level
        self.embedding_size, self.patch_size = embedding_size, patch_size
        self.size_divisor = 2 ** len(widths)
        self.pyramid = FinePyramid(widths, blocks, neck)
        self.head = convolution(neck, head)
        self.score, self.distance, self.landmark = (nn.Conv2d(head, n, 1) for n in (1, 4, 10))
        biases = (math.log(PRIOR_PROBABILITY / (1 - PRIOR_PROBABILITY)), math.log(4.0), 0.0)
        for layer, bias in zip((self.score, self.distance, self.landmark), biases, strict=True):
            nn.init.normal_(layer.weight, std=0.01)
            layer.bias = nn.Parameter(torch.full((layer.out_channels,), bias))
        channels = {"early": widths[0], "late": neck, "both": widths[0] + neck}
        self.identity: Trunk | None = None
        if embedding_size and feature_source == "two_stage":
            self.identity = Trunk(3, 2 * patch_size, trunk, 1, embedding_size)
        elif embedding_size:
            width = channels[feature_level]
            self.identity = Trunk(width, patch_size, trunk, 1, embedding_size, halve_first=False)
        self.to(memory_format=torch.channels_last)

    def raw_outputs(self, images: Tensor) -> RawOutputs:
        """The outputs at every cell of images `[B, 3, H, W]` whose sides are multiples of `size_divisor`."""
        fine, wide = self.pyramid.both(images)
        x = self.head(wide)
        distances = STRIDE * (self.distance(x).float().clamp(max=6).exp() - 0.5)
        return RawOutputs(self.score(x).float(), distances, self.landmark(x).float(), fine, wide)

    def features(self, outputs: RawOutputs, images: Tensor, faces: Located) -> Tensor:
        """Each face's embedding `[M, D]`, not normalised."""
        if self.identity is None:
            return faces.boxes.new_zeros(len(faces.boxes), 0)
        extent = (images.shape[-2], images.shape[-1])
        matrices, image_index = self.patch_matrices(faces), faces.image_index
        if self.feature_source == "two_stage":
            pixels = (images.float() - 127.5) / 64
            cut = patches(pixels, image_index, matrices, 2 * self.patch_size, extent)
        else:
            early, late = [outputs.fine], [outputs.wide]
            maps = {"early": early, "late": late, "both": early + late}[self.feature_level]
            cut = torch.cat(
                [patches(m, image_index, matrices, self.patch_size, extent) for m in maps], 1
            )
        embeddings: Tensor = self.identity(cut.contiguous(memory_format=torch.channels_last))
        return embeddings

    def patch_matrices(self, faces: Located) -> Tensor:
        """Matrices `[M, 2, 3]` that map a patch's coordinates (-1 to 1) to the image's pixels."""
        if self.feature_source in ("aligned_features", "two_stage"):
            return similarity(faces.landmarks.float())
        corners = faces.boxes.float().unflatten(1, (2, 2))
        centre, height = corners.mean(1), corners[:, 1, 1] - corners[:, 0, 1]
        if self.feature_source == "joint":
            return upright(centre, PATCH_EXTENT * height)
        return upright(centre, torch.full_like(height, self.patch_size * FINE_STRIDE / 2))

    def losses(self, outputs: RawOutputs, batch: SceneBatch) -> dict[str, Tensor]:
        """The losses of centres, boxes and landmarks, divided by the number of faces."""
        shape = outputs.logits.shape
        labels = torch.zeros_like(batch.people)
        target = heat_targets(
            batch.boxes, labels, batch.image_index, (shape[0], 1, shape[2], shape[3]), STRIDE
        )
        count = batch.faces
        image_index = batch.image_index[target.object]
        boxes = decode_boxes(outputs.distances, STRIDE)[image_index, target.cell]
        box_losses = box_loss("giou", boxes, batch.boxes[target.object]) * target.weight
        true = batch.landmarks[target.object]
        points = decode_landmarks(outputs.landmarks)[image_index, target.cell]
        height = batch.boxes[target.object, 3] - batch.boxes[target.object, 1]
        errors = (points - true).abs().mean((1, 2)) / height.clamp(min=1)
        known = errors.isfinite()
        mask = loss_mask(target.heat, batch.ignored, batch.ignored_image_index)
        return {
            "centre": (peak_focal(outputs.logits, target.heat) * mask).sum() / count,
            "box": box_losses.sum() / count,
            "landmarks": (errors[known] * target.weight[known]).sum() / count,
        }

    def forward(
        self,
        images: Tensor,
        max_detections: int = 50,
        score_threshold: float = 0.3,
        mirrored: bool = False,
    ) -> list[dict[str, Tensor]]:
        """The faces of images `[B, 3, H, W]`, uint8 or floats 0..255, in order of falling score.

        Args:
            mirrored: a score is the mean of that in the image and that in its mirror image, for twice the time.

        Returns:
            for each image boxes `[K, 4]` in pixels, scores `[K]` of at least `score_threshold`, landmarks `[K, 5, 2]`
            and embeddings `[K, D]` of norm 1; K may be 0.
        """
        height, width = images.shape[-2:]
        images = padded(images, self.size_divisor)
        outputs = self.raw_outputs(images)
        likely = outputs.logits.sigmoid()
        if mirrored:
            likely = (likely + self.raw_outputs(images.flip(3)).logits.flip(3).sigmoid()) / 2
        scores, cells = peaks(likely, max_detections)
        image, rank = (scores >= score_threshold).nonzero(as_tuple=True)
        cell = cells[image, rank]
        boxes = decode_boxes(outputs.distances, STRIDE)[image, cell]
        edge = torch.tensor([width, height, width, height], device=boxes.device)
        boxes = torch.minimum(boxes.clamp(min=0), edge)
        landmarks = decode_landmarks(outputs.landmarks)[image, cell]
        embeddings = boxes.new_zeros(0, self.embedding_size)
        if len(boxes):
            embeddings = unit(self.features(outputs, images, Located(boxes, landmarks, image)))
        faces = {
            "boxes": boxes,
            "scores": scores[image, rank],
            "landmarks": landmarks,
            "embeddings": embeddings,
        }
        return [
            {name: value[image == number] for name, value in faces.items()}
            for number in range(len(images))
        ]


def loss_mask(heat: Tensor, ignored: Tensor, image_index: Tensor) -> Tensor:
    """1 where the heat `[B, 1, H, W]` is trained, 0 inside ignored boxes `[K, 4]` except at faces' centres."""
    height, width = heat.shape[-2:]
    centres = cell_centres(height, width, STRIDE, heat.device)
    low, high = ignored[:, None, :2] - STRIDE / 2, ignored[:, None, 2:] + STRIDE / 2
    inside = ((centres >= low) & (centres <= high)).all(-1).view(-1, 1, height, width)
    hidden = torch.zeros_like(heat).index_add(0, image_index, inside.to(heat.dtype)) > 0
    return (~hidden | (heat == 1)).to(heat.dtype)


def padded(images: Tensor, size_divisor: int) -> Tensor:
    """Images padded on the right and below with grey until their sides are multiples of `size_divisor`."""
    height, width = images.shape[-2:]
    more = (0, -width % size_divisor, 0, -height % size_divisor)
    return functional.pad(images, more, value=127) if any(more) else images


def decode_landmarks(outputs: Tensor) -> Tensor:
    """Landmarks `[B, H * W, 5, 2]` in pixels of outputs `[B, 10, H, W]`, which are offsets from each cell."""
    height, width = outputs.shape[-2:]
    centres = cell_centres(height, width, STRIDE, outputs.device)
    offsets = outputs.flatten(2).mT.unflatten(-1, (5, 2))
    points: Tensor = centres[:, None] + LANDMARK_UNIT * offsets
    return points


def peaks(scores: Tensor, max_detections: int) -> tuple[Tensor, Tensor]:
    """Scores and cells `[B, k]` of the maxima of 3x3 neighbourhoods of scores `[B, 1, H, W]`, best first."""
    highest = functional.max_pool2d(scores, 3, 1, 1)
    maxima = torch.where(scores == highest, scores, 0.0).flatten(1)
    best, cells = maxima.topk(min(max_detections, maxima.shape[1]), 1)
    return best, cells
