"""Faces clustered by person: average linkage, which joins the two closest clusters while they are close enough."""

from __future__ import annotations

from torch import Tensor


def clusters(embeddings: Tensor, threshold: float) -> list[list[int]]:
    """Indices of unit-norm embeddings `[N, D]`, a list for each cluster, the largest first.

    Two clusters are joined as long as the mean cosine between their members is at least the threshold.
    """
    if len(embeddings) < 2:
        return [[k] for k in range(len(embeddings))]
    import numpy
    from scipy.cluster.hierarchy import fcluster, linkage

    count, place = len(embeddings), 0
    # A row of the upper triangle at a time: the square would not fit where the triangle does.
    condensed = numpy.empty(count * (count - 1) // 2)
    for number in range(count - 1):
        row = (1 - embeddings[number + 1 :] @ embeddings[number]).clamp(min=0)
        condensed[place : place + len(row)] = row.numpy()
        place += len(row)
    labels = fcluster(linkage(condensed, "average"), 1 - threshold + 1e-9, "distance").tolist()
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    return sorted(members.values(), key=lambda indices: (-len(indices), indices[0]))
