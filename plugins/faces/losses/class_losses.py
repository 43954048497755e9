"""What makes features of one person near and of two people far: by classes, or by pairs in the batch.

By classes every person who is learned from has a prototype w; with c_j = cos(feature, w_j) and y who it is, the loss is
the cross-entropy of the logits s * c_j, the own one made harder by a margin:

cosface   c_y - m                                         (Wang et al. 2018)
arcface   cos(t_y + m); the nearest of K sub-centres      (Deng et al. 2019; 2020)
adaface   the margin's kind by the feature's length: clear pictures by angle, blurred ones not (Kim et al. 2022)
magface   the margin grows with the feature's length, which is rewarded (Meng et al. 2021)
curricularface   other classes that are too near count more, the later the more (Huang et al. 2020)

By pairs there are no prototypes: contrastive (Hadsell et al. 2006), triplets (Schroff et al. 2015; Hermans et al. 2017)
and SupCon (Khosla et al. 2020). People with number -1 are nobody that is known: they have no identity loss.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from plugins.faces.losses.identity_loss import IdentityLoss, Undecayed
from plugins.faces.losses.margins import Gradient, margin_for, scale_for, with_angle
from plugins.faces.models.networks import unit

Scale = Annotated[float, Field(gt=0)] | None
Margin = Annotated[float, Field(ge=0, lt=1.5)] | None


class ClassLoss(IdentityLoss):
    """Cross-entropy of scaled cosines with prototypes.

    Args:
        scale: s; None: what suits the number of people.
        margin: m; None likewise.
    """

    usual_margin: ClassVar[float] = 0.0  # for 85,742 people
    centres: ClassVar[int] = 1

    def __init__(
        self, size: int, people: int, *, scale: Scale = None, margin: Margin = None
    ) -> None:
        super().__init__(size, people)
        self.scale = scale_for(people) if scale is None else scale
        self.margin = margin_for(people, self.usual_margin) if margin is None else margin
        self.prototypes = Undecayed(unit(torch.randn(people, size)))

    def loss(self, features: Tensor, people: Tensor, share: float) -> Tensor:
        cosines = self.cosines(unit(features))
        lengths = features.float().norm(dim=-1)
        return cross_entropy(self.logits(cosines, people, lengths, share), people)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """`[B, people]`."""
        return linear(embeddings, unit(self.prototypes))

    def logits(self, cosines: Tensor, people: Tensor, lengths: Tensor, share: float) -> Tensor:
        """The scaled cosines, the own one made harder."""
        index = people[:, None]
        own = cosines.gather(1, index)[:, 0]
        harder = self.harder(own, lengths, share * self.margin)
        logits: Tensor = self.scale * cosines.scatter(1, index, harder[:, None])
        return logits

    def harder(self, own: Tensor, lengths: Tensor, margin: float) -> Tensor:
        """The own class's cosine `[B]` with the margin; here without one."""
        return own

    def chance(self, people: Tensor, share: float = 1.0) -> float:
        with torch.no_grad():
            blank = torch.zeros(1, self.people, device=self.prototypes.device)
            first, length = blank[:, 0].long(), blank[:, 0] + self.size**0.5
            was, self.training = self.training, False  # running statistics take no note of it
            logits = self.logits(blank, first, length, share)
            self.training = was
            return float(cross_entropy(logits, first))


class NormalisedSoftmax(ClassLoss):
    """Cross-entropy of scaled cosines, no margin."""

    def __init__(self, size: int, people: int, *, scale: Scale = None) -> None:
        super().__init__(size, people, scale=scale, margin=0.0)


class Softmax(IdentityLoss):
    """A linear classifier of features as they are: the length counts, too."""

    def __init__(self, size: int, people: int) -> None:
        super().__init__(size, people)
        self.classify = nn.Linear(size, people)

    def loss(self, features: Tensor, people: Tensor, share: float) -> Tensor:
        return cross_entropy(self.classify(features).float(), people)

    def chance(self, people: Tensor, share: float = 1.0) -> float:
        return math.log(self.people)


class CosFace(ClassLoss):
    """The own cosine less m."""

    usual_margin = 0.4

    def harder(self, own: Tensor, lengths: Tensor, margin: float) -> Tensor:
        return own - margin


class ArcFace(ClassLoss):
    """The own angle plus m; `gradient` says how that is differentiated (see `margins`)."""

    usual_margin = 0.5

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin)
        self.gradient: Gradient = gradient

    def harder(self, own: Tensor, lengths: Tensor, margin: float) -> Tensor:
        return with_angle(own, margin, self.gradient)


class SubCentreArcFace(ArcFace):
    """ArcFace with several prototypes for each person, of which the nearest counts: for wrongly labelled pictures."""

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
        sub_centres: Annotated[int, Field(ge=1, le=16)] = 3,
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin, gradient=gradient)
        self.sub_centres = sub_centres
        self.prototypes = Undecayed(unit(torch.randn(people * sub_centres, size)))

    def cosines(self, embeddings: Tensor) -> Tensor:
        every = linear(embeddings, unit(self.prototypes))
        return every.reshape(-1, self.people, self.sub_centres).amax(-1)


class AdaFace(ArcFace):
    """An angle for long features, a plain difference for short ones.

    With z in -1..1 the feature's length, standardised by running statistics: cos(t - m z) - (m z + m).
    """

    usual_margin = 0.4
    concentration: ClassVar[float] = 0.333
    momentum: ClassVar[float] = 0.01

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin, gradient=gradient)
        self.mean_length: Tensor
        self.deviation: Tensor
        self.register_buffer("mean_length", torch.tensor(size**0.5))
        self.register_buffer("deviation", torch.tensor(0.2 * size**0.5))

    def harder(self, own: Tensor, lengths: Tensor, margin: float) -> Tensor:
        lengths = lengths.detach()
        if self.training and len(lengths) > 1:
            self.mean_length.lerp_(lengths.mean(), self.momentum)
            self.deviation.lerp_(lengths.std(), self.momentum)
        standard = (lengths - self.mean_length) / (self.deviation + 1e-3)
        z = (standard * self.concentration).clamp(-1, 1)
        return with_angle(own, -margin * z, self.gradient) - margin * (z + 1)


class MagFace(ArcFace):
    """The margin rises with the feature's length a, and longer features are rewarded by 1 / a + a / longest^2."""

    usual_margin = 0.5
    lengths: ClassVar[tuple[float, float]] = (
        0.5,
        2.0,
    )  # of sqrt(D): between these the margin rises
    least: ClassVar[float] = 0.5  # of the margin, at the shortest length

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
        reward: Annotated[float, Field(ge=0)] = 1.0,
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin, gradient=gradient)
        self.reward = reward
        self.shortest, self.longest = (share * size**0.5 for share in self.lengths)

    def harder(self, own: Tensor, lengths: Tensor, margin: float) -> Tensor:
        within = lengths.clamp(self.shortest, self.longest)
        share = (within - self.shortest) / (self.longest - self.shortest)
        return with_angle(own, margin * (self.least + (1 - self.least) * share), self.gradient)

    def loss(self, features: Tensor, people: Tensor, share: float) -> Tensor:
        length = features.float().norm(dim=-1).clamp(self.shortest, self.longest)
        prize: Tensor = (self.shortest / length + length * self.shortest / self.longest**2).mean()
        return super().loss(features, people, share) + self.reward * prize


class CurricularFace(ArcFace):
    """Other classes nearer than the own one with its margin count as c (t + c), t the running mean of own cosines."""

    momentum: ClassVar[float] = 0.01

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin, gradient=gradient)
        self.progress: Tensor
        self.register_buffer("progress", torch.tensor(0.0))

    def logits(self, cosines: Tensor, people: Tensor, lengths: Tensor, share: float) -> Tensor:
        index = people[:, None]
        own = cosines.gather(1, index)
        harder = self.harder(own, lengths[:, None], share * self.margin)
        if self.training:
            self.progress.lerp_(own.detach().mean(), self.momentum)
        hard = cosines > harder.detach()
        others = torch.where(hard, cosines * (self.progress + cosines), cosines)
        return self.scale * others.scatter(1, index, harder)
