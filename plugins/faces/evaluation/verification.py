"""Verification by embeddings: EER, TAR at a stated FAR, ROC, accuracy over ten folds of people.

A pair is accepted where its cosine is at least a threshold. The FAR is the fraction of impostor pairs (two people) that
are accepted, the TAR that of genuine pairs (one person); the EER is where FAR = 1 - TAR. Pairs that share a person are
not independent, so intervals come from a bootstrap over PEOPLE (a person drawn twice counts twice, a pair as often as
the product of its people's counts), and folds split people before pairs are formed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from framework.errors import UserError
from plugins.faces.evaluation.calibration import check_rate

# Of cosines -1..1: thresholds have a resolution of 0.0005.
BINS = 4000
# Impostor pairs in each bootstrap sample, at most.
RESAMPLED = 50_000
FARS = (1e-1, 1e-2, 1e-3)
# Rows of a square of cosines, and impostor pairs, that are looked at at once.
ROWS, AT_ONCE = 256, 4_000_000


@dataclass(frozen=True)
class Roc:
    """The fractions of pairs that are accepted at each of the descending thresholds `[K]`."""

    thresholds: Tensor
    far: Tensor
    tar: Tensor
    impostors: float
    genuines: float

    def eer(self) -> float:
        """The equal error rate, at which FAR = 1 - TAR."""
        miss = 1 - self.tar
        place = int((self.far >= miss).int().argmax())
        if place == 0:
            return float((self.far[0] + miss[0]) / 2)
        # Rising; zero lies between place - 1 and place.
        gaps = self.far - miss
        share = float(-gaps[place - 1] / (gaps[place] - gaps[place - 1]).clamp(min=1e-12))
        return float(torch.lerp(self.far[place - 1], self.far[place], share))

    def tar_at(self, far: float) -> float:
        """The TAR at the loosest threshold whose FAR is at most `far`.

        Raises:
            UserError: fewer impostor pairs than 1 / far: such a FAR cannot be measured.
        """
        self.check(far)
        return float(self.tar[self.far <= far].max())

    def threshold_at(self, far: float) -> float:
        """The loosest threshold whose FAR is at most `far`; raises as `tar_at` does."""
        self.check(far)
        return float(self.thresholds[int((self.far <= far).sum()) - 1])

    def check(self, far: float) -> None:
        """Refuse a FAR that these pairs cannot measure."""
        check_rate("far", far)
        if self.impostors * far < 1:
            count = max(int(self.impostors), 1)
            # Rounded up, or it would be refused itself.
            unit = 10 ** (len(str(count)) + 1)
            raise UserError(
                f"far = {far:g} needs at least {1 / far:,.0f} impostor pairs, there are {self.impostors:,.0f}; "
                f"the lowest that can be measured is {-(-unit // count) / unit:g}"
            )


def roc(genuine: Tensor, impostor: Tensor) -> Roc:
    """The curve from histograms over `BINS` thresholds."""
    accepted = [histogram.flip(0).cumsum(0) for histogram in (genuine, impostor)]
    nothing = torch.zeros(1, dtype=torch.float64)
    edges = torch.linspace(1, -1, BINS + 1, dtype=torch.float64)
    tar, far = (torch.cat([nothing, a]) / a[-1].clamp(min=1) for a in accepted)
    return Roc(edges, far, tar, float(accepted[1][-1]), float(accepted[0][-1]))


def pairs_roc(cosines: Tensor, same: Tensor) -> Roc:
    """The curve of given pairs: cosines `[P]` and whether they are of one person, bool `[P]`."""
    bins = bin_of(cosines)
    counts = [torch.bincount(bins[kind], minlength=BINS).double() for kind in (same, ~same)]
    return roc(counts[0], counts[1])


def bin_of(cosines: Tensor) -> Tensor:
    return ((cosines.double() + 1) / 2 * BINS).long().clamp(0, BINS - 1)


@dataclass(frozen=True)
class Pairs:
    """All pairs of some embeddings, in the form that a bootstrap over people needs.

    Attributes:
        genuine: `[P, BINS]`, the histogram of each person's genuine pairs.
        bins, first, second: `[Q]` each, the bin of each impostor pair and its two people, as small integers.
    """

    genuine: Tensor
    bins: Tensor
    first: Tensor
    second: Tensor

    def roc(self, weights: Tensor | None = None) -> Roc:
        """The curve with each person counted `weights[p]` times, once by default."""
        if weights is None:
            weights = torch.ones(len(self.genuine), dtype=torch.float64)
        impostor = torch.zeros(BINS, dtype=torch.float64)
        for bins, first, second in zip(
            *(pairs.split(AT_ONCE) for pairs in (self.bins, self.first, self.second)), strict=True
        ):
            both = weights[first.int()] * weights[second.int()]
            impostor += torch.bincount(bins.int(), weights=both, minlength=BINS)
        return roc(weights @ self.genuine, impostor)

    def subsampled(self, count: int, generator: torch.Generator) -> Pairs:
        """With `count` impostor pairs drawn at random, or all where there are no more.

        Every k-th pair would be biased: pairs lie in the order of pictures, so it might always hit the same ones.
        """
        if len(self.bins) <= count:
            return self
        some = torch.randperm(len(self.bins), generator=generator)[:count]
        return Pairs(self.genuine, self.bins[some], self.first[some], self.second[some])


def all_pairs(embeddings: Tensor, people: Tensor) -> Pairs:
    """Every pair of embeddings `[N, D]` (unit norm) of `people` `[N]`.

    Raises:
        UserError: fewer than two people, or none with two pictures.
    """
    _, number = people.unique(return_inverse=True)
    count = int(number.max()) + 1 if len(number) else 0
    if count < 2 or count == len(number):
        raise UserError(
            f"verification needs two people and two pictures of one; got {len(number)} pictures of {count} people"
        )
    genuine = torch.zeros(count * BINS, dtype=torch.float64)
    sizes = number.bincount()
    total = int(len(number) ** 2 - sizes.square().sum()) // 2
    # Of 10,000 pictures there are 50 million pairs: small integers, each written once, from a few rows at a time.
    person = torch.int16 if count < 2**15 else torch.int32
    impostor = [torch.empty(total, dtype=kind) for kind in (torch.int16, person, person)]
    place = 0
    for rows in torch.arange(len(number)).split(ROWS):
        bins = bin_of(embeddings[rows].float() @ embeddings.float().T)
        upper = torch.arange(len(number)) > rows[:, None]
        same = number[rows][:, None] == number
        own = (upper & same).nonzero()
        genuine += torch.bincount(
            number[rows[own[:, 0]]] * BINS + bins[upper & same], minlength=count * BINS
        )
        first, second = (upper & ~same).nonzero(as_tuple=True)
        end = place + len(first)
        for column, values in zip(
            impostor, (bins[first, second], number[rows[first]], number[second]), strict=True
        ):
            column[place:end] = values
        place = end
    return Pairs(genuine.reshape(count, BINS), *impostor)


def verification(embeddings: Tensor, people: Tensor, seed: int | None = None) -> dict[str, float]:
    """EER, TAR at each FAR that can be measured, ten-fold accuracy, and the numbers of pairs.

    Args:
        embeddings: `[N, D]` of norm 1; people: `[N]`.
        seed: of the bootstrap; where it is given, the ends of the EER's 95 % interval over people are added.
    """
    pairs = all_pairs(embeddings, people)
    curve = pairs.roc()
    metrics = {"eer": curve.eer()}
    if seed is not None:
        metrics["eer_low"], metrics["eer_high"] = interval(pairs, Roc.eer, seed)
    for far in FARS:
        if curve.impostors * far >= 1:
            metrics[f"tar_at_far_{far:g}"] = curve.tar_at(far)
    metrics["accuracy"] = ten_fold(embeddings, people)
    return metrics | {"impostor_pairs": curve.impostors, "genuine_pairs": curve.genuines}


def interval(
    pairs: Pairs,
    measure: Callable[[Roc], float],
    seed: int,
    repeats: int = 200,
    level: float = 0.95,
) -> tuple[float, float]:
    """The central interval of a measure over bootstrap samples of people.

    Of more than `RESAMPLED` impostor pairs a random subset is used: the width depends on the number of people.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs, count = pairs.subsampled(RESAMPLED, generator), len(pairs.genuine)
    values = []
    for _ in range(repeats):
        drawn = torch.randint(count, (count,), generator=generator)
        weights = torch.bincount(drawn, minlength=count).double()
        values.append(measure(pairs.roc(weights)))
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.tensor(values, dtype=torch.float64), ends).tolist()
    return low, high


def people_folds(people: Tensor, folds: int, seed: int = 0) -> Tensor:
    """The fold `[N]` of each picture: all pictures of a person are in one fold."""
    names, number = people.unique(return_inverse=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    fold_of_person = torch.empty(len(names), dtype=torch.long)
    fold_of_person[order] = torch.arange(len(names)) % folds
    return fold_of_person[number]


def ten_fold(embeddings: Tensor, people: Tensor, folds: int = 10) -> float:
    """Mean balanced accuracy over folds of people: genuine and impostor pairs have equal weight.

    A fold's threshold is the best one on the pairs inside the other folds. With n people there are at most n / 2 folds,
    so that each holds an impostor pair.
    """
    folds = min(folds, len(people.unique()) // 2)
    if folds < 2:
        return float("nan")
    fold = people_folds(people, folds)
    curves = [fold_histograms(embeddings[fold == k], people[fold == k]) for k in range(folds)]
    accuracies = []
    for k, own in enumerate(curves):
        others = [sum(c[i] for j, c in enumerate(curves) if j != k) for i in (0, 1)]
        threshold = int(balanced(torch.as_tensor(others[0]), torch.as_tensor(others[1])).argmax())
        if own[0].sum() and own[1].sum():
            accuracies.append(float(balanced(*own)[threshold]))
    return sum(accuracies) / len(accuracies) if accuracies else float("nan")


def fold_histograms(embeddings: Tensor, people: Tensor) -> tuple[Tensor, Tensor]:
    """Histograms `[BINS]` of the genuine and impostor cosines inside one fold."""
    upper, lower = torch.triu_indices(len(people), len(people), 1)
    bins = bin_of((embeddings.float() @ embeddings.float().T)[upper, lower])
    same = people[upper] == people[lower]
    genuine, impostor = (torch.bincount(bins[k], minlength=BINS).double() for k in (same, ~same))
    return genuine, impostor


def balanced(genuine: Tensor, impostor: Tensor) -> Tensor:
    """The mean of TAR and 1 - FAR at each threshold."""
    curve = roc(genuine, impostor)
    return (curve.tar + 1 - curve.far) / 2
