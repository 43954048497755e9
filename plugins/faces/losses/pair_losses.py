"""Identity losses over pairs of embeddings in a batch.

Contrastive (Hadsell et al. 2006), triplets (Schroff et al. 2015; Hermans et al. 2017), supervised contrastive (Khosla
et al. 2020).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import relu

from framework.config.types import Positive
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.networks import unit

# Keeps the root of a distance of 0 differentiable.
SMALLEST = 1e-12


class PairLoss(IdentityLoss):
    """A loss over the cosines of all pairs in a batch."""

    needs_pairs = True

    def loss(self, features: Tensor, people: Tensor, margin_scale: float) -> Tensor:
        embeddings = unit(features)
        cosines = embeddings @ embeddings.T
        same = people[:, None] == people[None, :]
        positive = same & ~torch.eye(len(people), dtype=torch.bool, device=people.device)
        if not positive.any() or same.all():
            return features.sum() * 0.0
        return self.of_pairs(cosines, positive, ~same)

    @abstractmethod
    def of_pairs(self, cosines: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """The loss of cosines `[B, B]`, given masks `[B, B]` of the pairs of one person and of two."""

    def loss_at_chance(self, people: Tensor, margin_scale: float = 1.0) -> float:
        blank = torch.zeros(len(people), self.size, device=people.device)
        with torch.no_grad():
            return float(self.loss(blank, people, margin_scale))


class Contrastive(PairLoss):
    """d^2 over pairs of one person, max(0, margin - d)^2 over pairs of two, both kinds weighted equally."""

    def __init__(
        self, size: int, people: int, *, margin: Annotated[float, Field(gt=0, le=2)] = 1.0
    ) -> None:
        super().__init__(size, people)
        self.margin = margin

    def of_pairs(self, cosines: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        far = relu(self.margin - (2 - 2 * cosines).clamp(min=SMALLEST).sqrt()).square()
        return (2 - 2 * cosines)[positive].mean() + far[negative].mean()


class BatchHardTriplet(PairLoss):
    """max(0, farthest positive - nearest negative + margin), for each anchor that has both."""

    def __init__(
        self, size: int, people: int, *, margin: Annotated[float, Field(gt=0, le=2)] = 0.3
    ) -> None:
        super().__init__(size, people)
        self.margin = margin

    def of_pairs(self, cosines: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        distance = (2 - 2 * cosines).clamp(min=SMALLEST).sqrt()
        farthest = distance.masked_fill(~positive, -math.inf).amax(1)
        nearest = distance.masked_fill(~negative, math.inf).amin(1)
        anchors = positive.any(1) & negative.any(1)
        return relu(farthest[anchors] - nearest[anchors] + self.margin).mean()


class SemiHardTriplet(PairLoss):
    """max(0, d^2 to the positive - d^2 to the negative + margin), for each pair of one person.

    The negative is the nearest that is farther than the positive; where there is none, the farthest of all.
    """

    def __init__(
        self, size: int, people: int, *, margin: Annotated[float, Field(gt=0, le=4)] = 0.2
    ) -> None:
        super().__init__(size, people)
        self.margin = margin

    def of_pairs(self, cosines: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        distance = 2 - 2 * cosines
        anchor, match = positive.nonzero(as_tuple=True)
        near = distance[anchor, match]
        others = distance[anchor].masked_fill(~negative[anchor], math.inf)
        semi_hard = others.masked_fill(others <= near[:, None], math.inf).amin(1)
        farthest = others.masked_fill(others.isinf(), -math.inf).amax(1)
        chosen = torch.where(semi_hard.isinf(), farthest, semi_hard)
        return relu(near - chosen + self.margin).mean()


class SupCon(PairLoss):
    """-log softmax of cosines / temperature over all others, averaged over the positives."""

    def __init__(self, size: int, people: int, *, temperature: Positive = 0.1) -> None:
        super().__init__(size, people)
        self.temperature = temperature

    def of_pairs(self, cosines: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        others = positive | negative
        logits = (cosines / self.temperature).masked_fill(~others, -math.inf)
        log_softmax = logits - logits.logsumexp(1, keepdim=True)
        mean = log_softmax.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)
        return -mean[positive.any(1)].mean()
