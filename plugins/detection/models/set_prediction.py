"""Objects as a set: learned queries attend to the image, and each predicts one object, or none.

A query has a content and a box, both learned. Each layer lets the queries attend to each other (so that no two predict
the same object) and to the image near their boxes, and refines the boxes:

    attention(query, place)  ~  exp(q k / sqrt(d)  -  sharpness (dx^2 / w^2 + dy^2 / h^2))
    box  <-  sigmoid(logit(box) + the layer's output)

In training objects and queries are matched one to one at the least total cost (Hungarian matching), and the target of
the other queries is "no object": no non-maximum suppression is needed. (DETR: Carion et al. 2020; attention around the
box: Gao et al. 2021; boxes refined layer by layer: Zhu et al. 2021, Liu et al. 2022.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from framework.config.types import Positive
from plugins.detection.boxes import from_centre_and_size, giou, to_centre_and_size
from plugins.detection.models.anchor_free import Pyramid
from plugins.detection.models.assignment import cell_centres, hungarian, require_matching
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.sample import Batch, Detections

# Of the map that the queries attend to.
STRIDE = 8
Share = Annotated[float, Field(gt=0, le=1)]
Queries = Annotated[int, Field(ge=1, le=1000)]


class RawOutputs(NamedTuple):
    """The queries' outputs after a layer: logits `[B, N, C + 1]`, the last one "no object", and boxes `[B, N, 4]`.

    Boxes are (centre x, centre y, width, height) as fractions of the image's sides.
    """

    logits: Tensor
    boxes: Tensor


class Attention(nn.Module):
    """Multi-head attention of queries to keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Attention `[B, N, D]` of queries `[B, N, D]` to `[B, P, D]`, with a bias `[B, heads, N, P]` on the logits."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Self-attention of the queries, attention to the image around their boxes, and a feed-forward network."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.mutual, self.image = Attention(width, heads), Attention(width, heads)
        self.think = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(inplace=True), nn.Linear(2 * width, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        # Before softplus.
        self.sharpness = nn.Parameter(torch.linspace(0.0, 3.0, heads))

    def forward(
        self, content: Tensor, place: Tensor, boxes: Tensor, seen: Tensor, key: Tensor, at: Tensor
    ) -> Tensor:
        """New contents `[B, N, D]`.

        Args:
            content: `[B, N, D]`, place: `[B, N, D]`, and boxes: `[B, N, 4]`, of the queries.
            seen: `[B, P, D]`, the image's cells; key: `[B, P, D]`, with their positions; at: `[P, 2]`, their centres.
        """
        one = content + place
        content = self.norms[0](content + self.mutual(one, one, content, None))
        # [B, N, P, 2]
        away = (at - boxes[..., None, :2]) / boxes[..., None, 2:].clamp(min=0.02)
        distance = away.square().sum(-1).unsqueeze(1)
        bias = -functional.softplus(self.sharpness).view(-1, 1, 1) * distance
        content = self.norms[1](content + self.image(content + place, key, seen, bias))
        return self.norms[2](content + self.think(content))  # type: ignore[no-any-return]


class SetPrediction(Detector):
    """A pyramid's finest map and a few layers of queries.

    Args:
        widths, blocks: channels and residual blocks of the pyramid's stages.
        width, layers, heads: of the attention layers.
        queries: the largest number of objects in an image.
        no_object_weight: of the class "no object" in the cross entropy; the others' is 1.
        class_cost: weight of the class's probability in the matching cost.
        l1_weight, giou_weight: weights of the L1 distance of (x, y, w, h) and of the GIoU, in matching and losses.
    """

    of_cells: Tensor
    of_boxes: Tensor

    def __init__(
        self,
        classes: int,
        widths: Sequence[int],
        blocks: Sequence[int],
        width: int,
        layers: int,
        heads: int,
        *,
        queries: int = 36,
        no_object_weight: float = 0.1,
        class_cost: float = 2.0,
        l1_weight: float = 5.0,
        giou_weight: float = 2.0,
    ) -> None:
        super().__init__(classes)
        require_matching()
        self.size_divisor = 2 ** len(widths)
        self.max_objects = queries
        self.no_object_weight, self.class_cost = no_object_weight, class_cost
        self.l1_weight, self.giou_weight = l1_weight, giou_weight
        self.pyramid = Pyramid(widths, blocks, width)
        self.content = nn.Parameter(0.1 * torch.randn(queries, width))
        self.start = nn.Parameter(grid_boxes(queries).logit())
        self.place = nn.Sequential(nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.score = nn.Linear(width, classes + 1)
        self.move = nn.Sequential(nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, 4))
        last = self.move[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        # Constants of an exported file: a last bit of a power, times a place, would be a thousandth of a turn.
        self.register_buffer("of_cells", frequencies(width, 2), persistent=False)
        self.register_buffer("of_boxes", frequencies(width, 4), persistent=False)

    def forward(self, images: Tensor) -> list[RawOutputs]:
        """The queries' outputs for images `[B, 3, H, W]` after each layer."""
        image = self.pyramid(images)[0]
        count, _, rows, columns = image.shape
        size = torch.tensor([columns, rows], device=image.device)
        at = cell_centres(rows, columns, 1, image.device) / size
        seen = image.flatten(2).mT
        key = seen + sine_embedding(at, self.of_cells)
        content = self.content.expand(count, -1, -1)
        boxes = self.start.sigmoid().expand(count, -1, -1)
        found = []
        for layer in self.layers:
            place = self.place(sine_embedding(boxes, self.of_boxes))
            content = layer(content, place, boxes, seen, key, at)
            boxes = (boxes.clamp(1e-4, 1 - 1e-4).logit() + self.move(content)).sigmoid()
            found.append(RawOutputs(self.score(content), boxes))
            boxes = boxes.detach()
        return found

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        height, width = batch.images.shape[-2:]
        sides = torch.tensor([width, height, width, height], device=batch.boxes.device)
        true = to_centre_and_size(batch.boxes / sides)
        layers = [self.losses_of(outputs, true, batch) for outputs in self(batch.images)]
        names = ("class", "l1", "giou")
        sums = (torch.stack(parts).sum(0) for parts in zip(*layers, strict=True))
        return {
            n: total / self.mean_objects_per_image for n, total in zip(names, sums, strict=True)
        }

    def losses_of(
        self, outputs: RawOutputs, true: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three losses of one layer, `[B]` each, against boxes `[M, 4]` as fractions."""
        image, query, assigned = self.match(outputs, true, batch)
        logits, boxes = outputs.logits.float(), outputs.boxes.float()
        target = batch.labels.new_full(logits.shape[:2], self.classes)
        target[image, query] = batch.labels[assigned]
        weight = torch.ones(self.classes + 1, device=logits.device)
        weight[-1] = self.no_object_weight
        wrong = functional.cross_entropy(logits.mT, target, weight, reduction="none").sum(1)
        found, right = boxes[image, query], true[assigned]
        distance = (found - right).abs().sum(-1)
        agreement = giou(from_centre_and_size(found), from_centre_and_size(right))
        nothing = wrong.new_zeros(len(wrong))
        return (
            wrong,
            self.l1_weight * nothing.index_add(0, image, distance),
            self.giou_weight * nothing.index_add(0, image, 1 - agreement),
        )

    @torch.no_grad()
    def match(
        self, outputs: RawOutputs, true: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The matched images, queries and objects, `[P]` each."""
        probability = outputs.logits.float().softmax(-1)
        parts = []
        for image in range(len(probability)):
            mine = (batch.image_index == image).nonzero().squeeze(1)
            found, right = outputs.boxes[image].float().unsqueeze(1), true[mine]
            cost = (
                self.l1_weight * (found - right).abs().sum(-1)
                - self.class_cost * probability[image][:, batch.labels[mine]]
                - self.giou_weight * giou(from_centre_and_size(found), from_centre_and_size(right))
            )
            query, column = hungarian(cost)
            parts.append((torch.full_like(query, image), query, mine[column]))
        image_of, query_of, object_of = (torch.cat(part) for part in zip(*parts, strict=True))
        return image_of, query_of, object_of

    def detect(
        self, images: Tensor, max_detections: int = 100, score_threshold: float = 0.0
    ) -> list[Detections]:
        """A query may give several detections, one for each class."""
        logits, boxes = self(images)[-1]
        probability = logits.float().softmax(-1)[..., :-1].flatten(1)
        scores, place = probability.topk(min(max_detections, probability.shape[1]), 1)
        query, labels = place // self.classes, place % self.classes
        found = pixels(boxes, images).gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return [
            Detections(*one).above(score_threshold)
            for one in zip(found, scores, labels, strict=True)
        ]

    def candidates(self, images: Tensor, count: int) -> Candidates:
        logits, boxes = self(images)[-1]
        probability, label = logits.float().softmax(-1)[..., :-1].max(-1)
        scores, query = probability.topk(min(count, probability.shape[1]), 1)
        found = pixels(boxes, images).gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return Candidates(found, scores, label.gather(1, query))


def pixels(boxes: Tensor, images: Tensor) -> Tensor:
    """Boxes given as fractions, as corners in pixels, clipped to the image."""
    height, width = images.shape[-2:]
    sides = torch.tensor([width, height, width, height], device=boxes.device)
    return from_centre_and_size(boxes.float()).clamp(0, 1) * sides


def grid_boxes(count: int) -> Tensor:
    """Boxes `[count, 4]` on a regular grid over the image, each one and a half times as large as its cell."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = cell_centres(rows, columns, 1)[:count] / torch.tensor([columns, rows])
    return torch.cat(
        [grid, torch.tensor([1.5 / (columns + 1), 1.5 / (rows + 1)]).expand(count, 2)], 1
    )


def frequencies(width: int, count: int) -> Tensor:
    """The frequencies of an embedding of `count` numbers in `width` channels, `[width / 2 count]`."""
    return math.pi * 1.5 ** torch.arange(width // (2 * count))


def sine_embedding(values: Tensor, frequency: Tensor) -> Tensor:
    """Numbers from 0 to 1, `[..., d]`, as sines and cosines of f frequencies each: `[..., 2 d f]`."""
    phase = (values.unsqueeze(-1) * frequency).flatten(-2)
    return torch.cat([phase.sin(), phase.cos()], -1)


def set_nano(
    classes: int,
    *,
    queries: Queries = 36,
    no_object_weight: Share = 0.1,
    class_cost: Positive = 2.0,
    l1_weight: Positive = 5.0,
    giou_weight: Positive = 2.0,
) -> SetPrediction:
    """0.7 M parameters, three layers of queries."""
    widths, blocks = (16, 32, 48, 64, 64), (0, 0, 1, 2, 1)
    return SetPrediction(
        classes,
        widths,
        blocks,
        width=96,
        layers=3,
        heads=6,
        queries=queries,
        no_object_weight=no_object_weight,
        class_cost=class_cost,
        l1_weight=l1_weight,
        giou_weight=giou_weight,
    )


def set_tiny(
    classes: int,
    *,
    queries: Queries = 100,
    no_object_weight: Share = 0.1,
    class_cost: Positive = 2.0,
    l1_weight: Positive = 5.0,
    giou_weight: Positive = 2.0,
) -> SetPrediction:
    """4.4 M parameters, four layers of queries."""
    widths, blocks = (24, 48, 96, 160, 192), (0, 1, 2, 2, 1)
    return SetPrediction(
        classes,
        widths,
        blocks,
        width=192,
        layers=4,
        heads=8,
        queries=queries,
        no_object_weight=no_object_weight,
        class_cost=class_cost,
        l1_weight=l1_weight,
        giou_weight=giou_weight,
    )
