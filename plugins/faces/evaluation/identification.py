"""Identification in a gallery: false negatives (FNIR) at stated false positives (FPIR), over simulated galleries.

Of the people that there are, some are enrolled by half of their pictures; their other pictures and those of all other
people are probes. A probe of somebody who is not enrolled is a false positive where its mean cosine with any enrolled
person reaches the threshold: the FPIR counts the whole gallery. A probe of somebody who is enrolled is a false negative
where their own mean cosine does not reach the threshold or somebody else's is larger.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.faces.evaluation.calibration import IdentificationRate

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)
RATES = (0.01, 0.03, 0.1, 0.3)
REPEATS = 20


def identification_rates(
    embeddings: Tensor, people: Tensor, seed: int = 0
) -> list[IdentificationRate]:
    """FNIR and threshold at each FPIR that can be measured, for galleries of several sizes.

    Args:
        embeddings: `[N, D]` of norm 1; people: `[N]`, of whom at least four have two pictures or more.

    Returns:
        estimates, none where there are too few people: an FPIR needs 1 / FPIR people who are not enrolled.
    """
    names, number, counts = people.unique(return_inverse=True, return_counts=True)
    able = (counts >= 2).nonzero()[:, 0]
    random = torch.Generator().manual_seed(seed)
    rates = []
    for size in SIZES:
        others = len(names) - size
        kept = [fpir for fpir in RATES if fpir * others >= 1]
        if size > len(able) or not kept:
            continue
        scores = [simulated(embeddings, number, able, size, random) for _ in range(REPEATS)]
        false, own, right = (torch.cat(parts) for parts in zip(*scores, strict=True))
        order = false.sort(descending=True).values
        for fpir in kept:
            # One above this many false positives.
            threshold = float(order[int(fpir * len(order))].clamp(-1, 1))
            missed = (own <= threshold) | ~right
            fnir = float(missed.double().mean())
            rates.append(
                IdentificationRate(gallery=size, fpir=fpir, threshold=threshold, fnir=fnir)
            )
    return rates


def simulated(
    embeddings: Tensor, number: Tensor, able: Tensor, size: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """One gallery: the others' largest cosines, enrolled people's own cosines, and whether these are the largest."""
    chosen = able[torch.randperm(len(able), generator=random)[:size]]
    means, probes, places = [], [], []
    for place, person in enumerate(chosen.tolist()):
        mine = (number == person).nonzero()[:, 0]
        mine = mine[torch.randperm(len(mine), generator=random)]
        half = len(mine) // 2
        means.append(embeddings[mine[:half]].mean(0))
        probes.append(embeddings[mine[half:]])
        places += [place] * (len(mine) - half)
    gallery = torch.stack(means)
    strangers = embeddings[~torch.isin(number, chosen)]
    cosines, index = torch.cat(probes) @ gallery.T, torch.tensor(places)
    own = cosines.gather(1, index[:, None])[:, 0]
    return (strangers @ gallery.T).amax(1), own, own >= cosines.amax(1)
