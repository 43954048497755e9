"""Objects as a set: so many learned queries look at the image and each says one object, or none.

A query carries a content and a box, both learned at first. Each layer lets the queries see each other (so that two do
not say the same object) and the image near their boxes, and moves the boxes:

    attention(query, place)  ~  exp(q k / sqrt(d)  -  sharpness (dx^2 / w^2 + dy^2 / h^2))
    box  <-  sigmoid(logit(box) + what the layer says)

In training objects and queries are matched one to one by the least total cost (Hungarian matching), the other queries
are to say "nothing": no suppression is needed in use. (DETR: Carion et al. 2020; attention around the box: Gao et al.
2021; boxes moved layer by layer: Zhu et al. 2021, Liu et al. 2022.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from plugins.detection.boxes import from_centre_and_size, giou, to_centre_and_size
from plugins.detection.models.anchor_free import Pyramid
from plugins.detection.models.assignment import cell_centres, hungarian, require_matching
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.sample import Batch, Detections

STRIDE = 8  # of the map that the queries look at
Weight = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Queries = Annotated[int, Field(ge=1, le=1000)]


class Said(NamedTuple):
    """What the queries say behind a layer: logits `[B, N, C + 1]`, the last one "nothing", and boxes `[B, N, 4]`.

    Boxes are (centre x, centre y, width, height) in shares of the image's sides.
    """

    logits: Tensor
    boxes: Tensor


class Attention(nn.Module):
    """Queries look at keys, each head with its own eye."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """What each of `[B, N, D]` sees of `[B, P, D]`; the bias `[B, heads, N, P]` is added to the logits."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, x in ((self.query, query), (self.key, key), (self.value, value))
        )
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.out(seen.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Queries see each other, then the image around their boxes, then think."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.mutual, self.image = Attention(width, heads), Attention(width, heads)
        self.think = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(inplace=True), nn.Linear(2 * width, width)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.sharpness = nn.Parameter(torch.linspace(0.0, 3.0, heads))  # before softplus

    def forward(
        self, content: Tensor, place: Tensor, boxes: Tensor, seen: Tensor, key: Tensor, at: Tensor
    ) -> Tensor:
        """New contents `[B, N, D]`.

        Args:
            content: `[B, N, D]`, place: `[B, N, D]`, and boxes: `[B, N, 4]`, of the queries.
            seen: `[B, P, D]`, the image's places, key: `[B, P, D]`, also where they are; at: `[P, 2]`, in shares.
        """
        one = content + place
        content = self.norms[0](content + self.mutual(one, one, content, None))
        away = (at - boxes[..., None, :2]) / boxes[..., None, 2:].clamp(min=0.02)  # [B, N, P, 2]
        distance = away.square().sum(-1).unsqueeze(1)
        bias = -functional.softplus(self.sharpness).view(-1, 1, 1) * distance
        content = self.norms[1](content + self.image(content + place, key, seen, bias))
        return self.norms[2](content + self.think(content))  # type: ignore[no-any-return]


class SetPrediction(Detector):
    """A pyramid's finest map and a few layers of queries.

    Args:
        widths, blocks: channels and residual blocks of the pyramid's stages.
        width, layers, heads: of the queries' part.
        queries: the most objects that an image can have.
        nothing_weight: of saying "nothing" beside saying a class.
        class_cost, corner_weight, agreement_weight: what the matching, and the last two the losses, make of the class,
            of the difference of (x, y, w, h), and of the GIoU.
    """

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
        nothing_weight: float = 0.1,
        class_cost: float = 2.0,
        corner_weight: float = 5.0,
        agreement_weight: float = 2.0,
    ) -> None:
        super().__init__(classes)
        require_matching()
        self.multiple = 2 ** len(widths)
        self.nothing_weight, self.class_cost = nothing_weight, class_cost
        self.corner_weight, self.agreement_weight = corner_weight, agreement_weight
        self.pyramid = Pyramid(widths, blocks, width)
        self.content = nn.Parameter(0.1 * torch.randn(queries, width))
        self.start = nn.Parameter(even_boxes(queries).logit())
        self.place = nn.Sequential(nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.score = nn.Linear(width, classes + 1)
        self.move = nn.Sequential(nn.Linear(width, width), nn.ReLU(True), nn.Linear(width, 4))
        last = self.move[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> list[Said]:
        """What the queries say of images `[B, 3, H, W]` behind each layer."""
        image = self.pyramid(images)[0]
        count, width, rows, columns = image.shape
        size = torch.tensor([columns, rows], device=image.device)
        at = cell_centres(rows, columns, 1, image.device) / size
        seen = image.flatten(2).mT
        key = seen + waves(at, width)
        content = self.content.expand(count, -1, -1)
        boxes = self.start.sigmoid().expand(count, -1, -1)
        said = []
        for layer in self.layers:
            place = self.place(waves(boxes, width))
            content = layer(content, place, boxes, seen, key, at)
            boxes = (boxes.clamp(1e-4, 1 - 1e-4).logit() + self.move(content)).sigmoid()
            said.append(Said(self.score(content), boxes))
            boxes = boxes.detach()
        return said

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        height, width = batch.images.shape[-2:]
        sides = torch.tensor([width, height, width, height], device=batch.boxes.device)
        true = to_centre_and_size(batch.boxes / sides)
        layers = [self.losses_of(said, true, batch) for said in self(batch.images)]
        names = ("class", "corners", "agreement")
        sums = (torch.stack(parts).sum(0) for parts in zip(*layers, strict=True))
        return {n: total / self.usual_objects for n, total in zip(names, sums, strict=True)}

    def losses_of(self, said: Said, true: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The three losses of one layer, `[B]` each, against boxes `[M, 4]` in shares."""
        image, query, thing = self.match(said, true, batch)
        logits, boxes = said.logits.float(), said.boxes.float()
        wanted = batch.labels.new_full(logits.shape[:2], self.classes)
        wanted[image, query] = batch.labels[thing]
        weight = torch.ones(self.classes + 1, device=logits.device)
        weight[-1] = self.nothing_weight
        wrong = functional.cross_entropy(logits.mT, wanted, weight, reduction="none").sum(1)
        found, right = boxes[image, query], true[thing]
        corners = (found - right).abs().sum(-1)
        agreed = giou(from_centre_and_size(found), from_centre_and_size(right))
        nothing = wrong.new_zeros(len(wrong))
        return (
            wrong,
            self.corner_weight * nothing.index_add(0, image, corners),
            self.agreement_weight * nothing.index_add(0, image, 1 - agreed),
        )

    @torch.no_grad()
    def match(self, said: Said, true: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Images, queries and objects that belong together, `[P]` each."""
        chance = said.logits.float().softmax(-1)
        parts = []
        for image in range(len(chance)):
            mine = (batch.owner == image).nonzero().squeeze(1)
            found, right = said.boxes[image].float().unsqueeze(1), true[mine]
            cost = (
                self.corner_weight * (found - right).abs().sum(-1)
                - self.class_cost * chance[image][:, batch.labels[mine]]
                - self.agreement_weight
                * giou(from_centre_and_size(found), from_centre_and_size(right))
            )
            query, column = hungarian(cost)
            parts.append((torch.full_like(query, image), query, mine[column]))
        image_of, query_of, thing_of = (torch.cat(part) for part in zip(*parts, strict=True))
        return image_of, query_of, thing_of

    def detect(self, images: Tensor, most: int = 100, floor: float = 0.0) -> list[Detections]:
        """A query may be found as several classes, each with its score."""
        logits, boxes = self(images)[-1]
        chance = logits.float().softmax(-1)[..., :-1].flatten(1)
        scores, place = chance.topk(min(most, chance.shape[1]), 1)
        query, labels = place // self.classes, place % self.classes
        found = pixels(boxes, images).gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return [Detections(*one).above(floor) for one in zip(found, scores, labels, strict=True)]

    def candidates(self, images: Tensor, most: int) -> Candidates:
        logits, boxes = self(images)[-1]
        chance, label = logits.float().softmax(-1)[..., :-1].max(-1)
        scores, query = chance.topk(min(most, chance.shape[1]), 1)
        found = pixels(boxes, images).gather(1, query.unsqueeze(-1).expand(-1, -1, 4))
        return Candidates(found, scores, label.gather(1, query))


def pixels(boxes: Tensor, images: Tensor) -> Tensor:
    """Boxes in shares as corners in pixels, inside the image."""
    height, width = images.shape[-2:]
    sides = torch.tensor([width, height, width, height], device=boxes.device)
    return from_centre_and_size(boxes.float()).clamp(0, 1) * sides


def even_boxes(count: int) -> Tensor:
    """Boxes `[count, 4]` spread evenly over the image, each as large as its share of it and half again."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = cell_centres(rows, columns, 1)[:count] / torch.tensor([columns, rows])
    return torch.cat(
        [grid, torch.tensor([1.5 / (columns + 1), 1.5 / (rows + 1)]).expand(count, 2)], 1
    )


def waves(values: Tensor, width: int) -> Tensor:
    """Numbers from 0 to 1, `[..., d]`, as sines and cosines of d * width / 2d frequencies each: `[..., width]`."""
    each = width // (2 * values.shape[-1])
    frequency = math.pi * 1.5 ** torch.arange(each, device=values.device)
    phase = (values.unsqueeze(-1) * frequency).flatten(-2)
    return torch.cat([phase.sin(), phase.cos()], -1)


def set_nano(
    classes: int,
    *,
    queries: Queries = 36,
    nothing_weight: Share = 0.1,
    class_cost: Weight = 2.0,
    corner_weight: Weight = 5.0,
    agreement_weight: Weight = 2.0,
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
        nothing_weight=nothing_weight,
        class_cost=class_cost,
        corner_weight=corner_weight,
        agreement_weight=agreement_weight,
    )


def set_tiny(
    classes: int,
    *,
    queries: Queries = 100,
    nothing_weight: Share = 0.1,
    class_cost: Weight = 2.0,
    corner_weight: Weight = 5.0,
    agreement_weight: Weight = 2.0,
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
        nothing_weight=nothing_weight,
        class_cost=class_cost,
        corner_weight=corner_weight,
        agreement_weight=agreement_weight,
    )
