"""Identity losses over classes: cross-entropy of scaled cosines between features and one prototype per person.

With prototypes w_j, c_j = cos(feature, w_j) = cos(t_j) and y the person, the logits are s * c_j, in which a margin
makes the target class's c_y smaller:

cosface          c_y - m                                                            (Wang et al. 2018)
arcface          cos(t_y + m); with the nearest of K sub-centres                     (Deng et al. 2019; 2020)
adaface          an angular margin for long features, an additive one for short ones (Kim et al. 2022)
magface          the margin grows with the feature's length, which is regularised    (Meng et al. 2021)
curricularface   hard negatives are weighted more as training progresses             (Huang et al. 2020)
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear

from framework.config.types import NonNegative, Positive
from plugins.faces.losses.identity_loss import IdentityLoss, NoWeightDecay
from plugins.faces.losses.margins import Gradient, margin_for, scale_for, with_angle
from plugins.faces.models.networks import unit

# Of AdaFace's angle with its margin, from 0 and from pi.
SMALLEST_ANGLE = 1e-3
Scale = Positive | None
Margin = Annotated[float, Field(ge=0, lt=1.5)] | None


class ClassLoss(IdentityLoss):
    """Cross-entropy of scaled cosines with prototypes.

    Args:
        scale: s; None: by the number of people (`scale_for`).
        margin: m; None: by the number of people (`margin_for`).
    """

    # For 85,742 people.
    default_margin: ClassVar[float] = 0.0

    def __init__(
        self, size: int, people: int, *, scale: Scale = None, margin: Margin = None
    ) -> None:
        super().__init__(size, people)
        self.scale = scale_for(people) if scale is None else scale
        self.margin = margin_for(people, self.default_margin) if margin is None else margin
        self.prototypes = NoWeightDecay(unit(torch.randn(people, size)))

    def loss(self, features: Tensor, people: Tensor, margin_scale: float) -> Tensor:
        cosines = self.cosines(unit(features))
        lengths = features.float().norm(dim=-1)
        return cross_entropy(self.logits(cosines, people, lengths, margin_scale), people)

    def cosines(self, embeddings: Tensor) -> Tensor:
        """`[B, people]`."""
        return linear(embeddings, unit(self.prototypes))

    def logits(
        self, cosines: Tensor, people: Tensor, lengths: Tensor, margin_scale: float
    ) -> Tensor:
        """The scaled cosines `[B, people]`, the target class's with the margin."""
        index = people[:, None]
        target = cosines.gather(1, index)[:, 0]
        with_margin = self.margin_cosine(target, lengths, margin_scale * self.margin)
        logits: Tensor = self.scale * cosines.scatter(1, index, with_margin[:, None])
        return logits

    def margin_cosine(self, target: Tensor, lengths: Tensor, margin: float) -> Tensor:
        """The target class's cosine `[B]` with the margin; here without one."""
        return target

    def loss_at_chance(self, people: Tensor, margin_scale: float = 1.0) -> float:
        with torch.no_grad():
            blank = torch.zeros(1, self.people, device=self.prototypes.device)
            first, length = blank[:, 0].long(), blank[:, 0] + self.size**0.5
            # Running statistics must not be updated.
            was, self.training = self.training, False
            logits = self.logits(blank, first, length, margin_scale)
            self.training = was
            return float(cross_entropy(logits, first))


class NormalisedSoftmax(ClassLoss):
    """Cross-entropy of scaled cosines, no margin."""

    def __init__(self, size: int, people: int, *, scale: Scale = None) -> None:
        super().__init__(size, people, scale=scale, margin=0.0)


class Softmax(IdentityLoss):
    """A linear classifier of features that are not normalised."""

    def __init__(self, size: int, people: int) -> None:
        super().__init__(size, people)
        self.classify = nn.Linear(size, people)

    def loss(self, features: Tensor, people: Tensor, margin_scale: float) -> Tensor:
        return cross_entropy(self.classify(features).float(), people)

    def loss_at_chance(self, people: Tensor, margin_scale: float = 1.0) -> float:
        return math.log(self.people)


class CosFace(ClassLoss):
    """The target cosine minus m."""

    default_margin = 0.4

    def margin_cosine(self, target: Tensor, lengths: Tensor, margin: float) -> Tensor:
        return target - margin


class ArcFace(ClassLoss):
    """The target angle plus m; `gradient` chooses how that is differentiated (see `margins`).

    Args:
        gradient: how the sum of angles is differentiated, see `margins`.
    """

    default_margin = 0.5

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

    def margin_cosine(self, target: Tensor, lengths: Tensor, margin: float) -> Tensor:
        return with_angle(target, margin, self.gradient)


class SubCentreArcFace(ArcFace):
    """ArcFace with several prototypes per person, of which the nearest counts: robust to wrong labels.

    Args:
        sub_centres: prototypes of each person.
    """

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
        self.prototypes = NoWeightDecay(unit(torch.randn(people * sub_centres, size)))

    def cosines(self, embeddings: Tensor) -> Tensor:
        every = linear(embeddings, unit(self.prototypes))
        return every.reshape(-1, self.people, self.sub_centres).amax(-1)


class AdaFace(ArcFace):
    """An angular margin for long features, an additive one for short ones: cos(t - m z) - (m z + m).

    z in -1..1 is the feature's length, standardised by running statistics.
    """

    default_margin = 0.4
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

    def margin_cosine(self, target: Tensor, lengths: Tensor, margin: float) -> Tensor:
        lengths = lengths.detach()
        if self.training and len(lengths) > 1:
            self.mean_length.lerp_(lengths.mean(), self.momentum)
            self.deviation.lerp_(lengths.std(), self.momentum)
        standard = (lengths - self.mean_length) / (self.deviation + 1e-3)
        z = (standard * self.concentration).clamp(-1, 1)
        # As in the paper, the angle stays between 0 and pi: beyond, a smaller one would be worse.
        angle = target.detach().clamp(-1, 1).acos()
        turn = (-margin * z).clamp(SMALLEST_ANGLE - angle, math.pi - SMALLEST_ANGLE - angle)
        return with_angle(target, turn, self.gradient) - margin * (z + 1)


class MagFace(ArcFace):
    """The margin rises with the feature's length a, regularised by 1 / a + a / longest^2.

    Args:
        reward: weight of the term that rewards long features.
    """

    default_margin = 0.5
    # Lengths, in units of sqrt(D), between which the margin rises.
    lengths: ClassVar[tuple[float, float]] = (0.5, 2.0)
    # The part of the margin at the shortest length.
    smallest_part: ClassVar[float] = 0.5

    def __init__(
        self,
        size: int,
        people: int,
        *,
        scale: Scale = None,
        margin: Margin = None,
        gradient: Gradient = "straight_through",
        reward: NonNegative = 1.0,
    ) -> None:
        super().__init__(size, people, scale=scale, margin=margin, gradient=gradient)
        self.reward = reward
        self.shortest, self.longest = (length * size**0.5 for length in self.lengths)

    def margin_cosine(self, target: Tensor, lengths: Tensor, margin: float) -> Tensor:
        within = lengths.clamp(self.shortest, self.longest)
        rise = (within - self.shortest) / (self.longest - self.shortest)
        part = self.smallest_part + (1 - self.smallest_part) * rise
        return with_angle(target, margin * part, self.gradient)

    def loss(self, features: Tensor, people: Tensor, margin_scale: float) -> Tensor:
        length = features.float().norm(dim=-1).clamp(self.shortest, self.longest)
        penalty: Tensor = (self.shortest / length + length * self.shortest / self.longest**2).mean()
        return super().loss(features, people, margin_scale) + self.reward * penalty


class CurricularFace(ArcFace):
    """Classes nearer than the target with its margin have logits c (t + c), t the running mean of target cosines."""

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

    def logits(
        self, cosines: Tensor, people: Tensor, lengths: Tensor, margin_scale: float
    ) -> Tensor:
        index = people[:, None]
        target = cosines.gather(1, index)
        with_margin = self.margin_cosine(target, lengths[:, None], margin_scale * self.margin)
        if self.training:
            self.progress.lerp_(target.detach().mean(), self.momentum)
        hard = cosines > with_margin.detach()
        others = torch.where(hard, cosines * (self.progress + cosines), cosines)
        return self.scale * others.scatter(1, index, with_margin)
