"""A threshold whose false acceptance rate (FAR) is bounded, not only estimated: an upper confidence limit over people.

All pairs that share a person depend on each other: ten pictures of each of five people make 1,000 impostor pairs and
have met ten pairs of people. So the units are people. The FAR is the mean over pairs of people of the fraction of
their pictures' cosines that reach the threshold, a U-statistic of order two, whose variance the jackknife over people
estimates (Arvesen 1969): leave each person out, with all pairs.

Estimates of the threshold with this FAR are made, of cosines and of Fisher's z = artanh(cosine):

    quantile   the lowest threshold that this fraction of the cosines reach
    normal     mean + q standard deviations, q the normal distribution's quantile

Each is raised by t standard errors, t the quantile of Student's distribution with (people - 1) degrees of freedom, and
the largest counts: the quantile is blind beyond the largest cosine that was met, and the normal tail to cosines
whose tail is heavier. Neither says anything of a FAR below 1 / (pairs of people), which is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from framework import UserError
from plugins.faces.evaluation.calibration import check_rate
from plugins.faces.evaluation.verification import BINS, bin_of

# The confidence with which a FAR is at most the stated one.
CONFIDENCE = 0.99
# The fewest people whose differences say how much people differ.
FEWEST_PEOPLE = 5
# Fisher's z of a cosine that is 1 within the width of a bin.
HIGHEST = math.atanh(1 - 2 / BINS)
# FARs at which thresholds are kept, the ratio of one to the next.
GRID_RATIO = 1.25


@dataclass(frozen=True)
class Impostors:
    """The cosines of pairs of two people, all pairs of people with equal weight.

    Attributes:
        histogram: `[BINS]`, weights by cosine; by_person: `[P, BINS]`, of the pairs that a person is in.
        moments: `[5]`, the sums of the weights, of the cosines and their squares, of their z and its squares;
            moments_by_person: `[P, 5]`.
        cosines, person_pairs: how many there are.
    """

    histogram: Tensor
    by_person: Tensor
    moments: Tensor
    moments_by_person: Tensor
    cosines: int
    person_pairs: int

    @property
    def people(self) -> int:
        return len(self.by_person)

    def far_at(self, threshold: float) -> float:
        """The estimated FAR: the fraction of cosines that reach a threshold."""
        bins = int(bin_of(torch.tensor(threshold)))
        return float(self.histogram[bins:].sum() / self.histogram.sum())

    def interval_at(self, threshold: float) -> tuple[float, float]:
        """The two ends of the FAR's 95 % interval over people, by the jackknife, within 0..1."""
        bins = int(bin_of(torch.tensor(threshold)))
        total, accepted = self.histogram.sum(), self.histogram[bins:].sum()
        without = (accepted - self.by_person[:, bins:].sum(1)) / (total - self.by_person.sum(1))
        half = student(0.975, self.people) * standard_error(without)
        far = float(accepted / total)
        return max(0.0, far - half), min(1.0, far + half)

    def lowest_far(self) -> float:
        """The lowest FAR that can be bounded, 1 / (pairs of people)."""
        return 1 / self.person_pairs

    def check(self, far: float) -> None:
        """Refuse a FAR that these people say nothing of.

        Raises:
            UserError: too few people; says how many are needed.
        """
        check_rate("far", far)
        needed = people_for(far)
        if self.people < FEWEST_PEOPLE:
            raise UserError(
                f"{self.people} people: a threshold needs {max(FEWEST_PEOPLE, needed)} people or more for far = {far:g}"
            )
        if far < self.lowest_far() * (1 - 1e-9):
            lowest = math.ceil(self.lowest_far() * 1e4) / 1e4
            raise UserError(
                f"far = {far:g} needs {1 / far:,.0f} pairs of people, so {needed:,} people; there are "
                f"{self.people:,} people with {self.person_pairs:,} pairs, "
                f"whose lowest is {lowest if lowest < 1 else 1 - 1e-4:g}"
            )

    def threshold_at(self, far: float, confidence: float = CONFIDENCE) -> float:
        """The threshold whose FAR is at most `far` with this confidence over people.

        Raises:
            UserError: too few people for this FAR, or people who differ so much that no threshold has it.
        """
        self.check(far)
        threshold = self.bound(far, confidence)
        if threshold >= 1:
            raise UserError(
                f"far = {far:g}: no threshold can be stated, since the {self.people} people differ too much from one "
                "another; expected more people, or a higher far"
            )
        return threshold

    def bound(self, far: float, confidence: float) -> float:
        """The upper confidence limit of the threshold, 1 where none below suffices."""
        t, quantiles = student(confidence, self.people), self.quantiles(far)
        cosines, z = self.normal_quantiles(far)
        limit = max(float(c[0]) + t * standard_error(c[1:]) for c in (quantiles, cosines))
        limit_z = max(float(v[0]) + t * standard_error(v[1:]) for v in (fisher(quantiles), z))
        if limit >= 1 or limit_z >= HIGHEST:
            return 1.0
        return max(limit, math.tanh(limit_z))

    @cached_property
    def accepted(self) -> Tensor:
        """The fraction `[1 + P, BINS]` of cosines in each bin or above: of all, and without each person."""
        curves = torch.cat([self.histogram[None], self.histogram - self.by_person])
        above = curves.flip(1).cumsum(1).flip(1)
        return above / above[:, :1].clamp(min=1e-12)

    def quantiles(self, far: float) -> Tensor:
        """The thresholds `[1 + P]` at which a fraction `far` is accepted: of all, and without each person."""
        # The lower edge of the first bin from which on no more are accepted; past the last bin it is 1.
        first = (self.accepted > far + 1e-12).sum(1)
        return -1 + 2 * first.double() / BINS

    def normal_quantiles(self, far: float) -> tuple[Tensor, Tensor]:
        """The same of normal distributions with the mean and the deviation of the cosines, and of their z."""
        sums = torch.cat([self.moments[None], self.moments - self.moments_by_person])
        q = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * far, dtype=torch.float64)))
        found = []
        for first in (1, 3):
            mean, square = sums[:, first] / sums[:, 0], sums[:, first + 1] / sums[:, 0]
            found.append(mean + q * (square - mean**2).clamp(min=0).sqrt())
        return found[0], found[1]

    def curve(self, lowest: float, confidence: float = CONFIDENCE) -> list[tuple[float, float]]:
        """(FAR, threshold) from the lowest FAR that can be bounded up to 0.5, thresholds falling."""
        fars = [max(lowest, self.lowest_far())]
        while fars[-1] * GRID_RATIO < 0.5:
            fars.append(fars[-1] * GRID_RATIO)
        bounds = [self.bound(far, confidence) for far in fars]
        falling = (
            torch.tensor(bounds, dtype=torch.float64).flip(0).cummax(0).values.flip(0).tolist()
        )
        return [(far, bound) for far, bound in zip(fars, falling, strict=True) if bound < 1]


def people_for(far: float) -> int:
    """The number of people who make 1 / far pairs."""
    return max(FEWEST_PEOPLE, math.ceil((1 + math.sqrt(1 + 8 / far * (1 - 1e-9))) / 2))


def fisher(cosines: Tensor) -> Tensor:
    """Fisher's z of cosines, as high as a bin's width below 1 at most."""
    return cosines.clamp(-1 + 2 / BINS, 1 - 2 / BINS).atanh()


def powers(cosines: Tensor) -> tuple[Tensor, ...]:
    """What moments are sums of."""
    z = fisher(cosines)
    return torch.ones_like(cosines), cosines, cosines**2, z, z**2


def student(confidence: float, people: int) -> float:
    """The one-sided quantile of Student's distribution with people - 1 degrees of freedom."""
    from scipy.stats import t

    return float(t.ppf(confidence, people - 1))


def standard_error(without: Tensor) -> float:
    """The jackknife's standard error of a statistic from its values `[P]` without each person."""
    count = len(without)
    return float(((count - 1) / count * (without - without.mean()).square().sum()).sqrt())


def impostors(embeddings: Tensor, people: Tensor) -> Impostors:
    """All pairs of embeddings `[N, D]` (unit norm) of two of the `people` `[N]`, computed person by person.

    Raises:
        UserError: fewer than two people.
    """
    _, number, count = people.unique(return_inverse=True, return_counts=True)
    if len(count) < 2:
        raise UserError(f"{len(count)} people: expected two or more")
    histogram = torch.zeros(len(count), BINS, dtype=torch.float64)
    moments = torch.zeros(len(count), 5, dtype=torch.float64)
    pictures = 1 / count[number].double()
    for person in range(len(count)):
        mine = number == person
        cosines = (embeddings[mine].float() @ embeddings[~mine].float().T).double()
        weights = (pictures[~mine] / count[person]).expand(cosines.shape)
        histogram[person] = torch.bincount(bin_of(cosines).flatten(), weights.flatten(), BINS)
        moments[person] = torch.stack([(weights * power).sum() for power in powers(cosines)])
    pairs = int((count.sum() ** 2 - (count**2).sum()) // 2)
    whole = (histogram.sum(0) / 2, histogram, moments.sum(0) / 2, moments)
    return Impostors(*whole, cosines=pairs, person_pairs=len(count) * (len(count) - 1) // 2)


def listed_impostors(
    cosines: Tensor, first: Iterable[object], second: Iterable[object]
) -> Impostors:
    """Given pairs of two people, such as those of LFW's list: cosines `[Q]` and who the two are.

    Raises:
        UserError: no pair.
    """
    pairs = list(zip(first, second, strict=True))
    if not pairs:
        raise UserError("no pair of two people: expected some")
    names = {name: k for k, name in enumerate(sorted({str(n) for pair in pairs for n in pair}))}
    index = torch.tensor([sorted(names[str(n)] for n in pair) for pair in pairs])
    _, which, together = index.unique(dim=0, return_inverse=True, return_counts=True)
    weights, cosines = 1 / together[which].double(), cosines.double()
    sums = torch.stack([weights * power for power in powers(cosines)], 1)
    histogram = torch.zeros(len(names), BINS, dtype=torch.float64)
    moments = torch.zeros(len(names), 5, dtype=torch.float64)
    for person in index.T:
        histogram.index_put_((person, bin_of(cosines)), weights, accumulate=True)
        moments.index_add_(0, person, sums)
    whole = (histogram.sum(0) / 2, histogram, moments.sum(0) / 2, moments)
    return Impostors(*whole, cosines=len(pairs), person_pairs=len(together))
