"""Faces grouped by person: average linkage, joining the two nearest groups while they are near enough."""

from __future__ import annotations

from torch import Tensor


def groups(embeddings: Tensor, threshold: float) -> list[list[int]]:
    """Indices of unit-norm embeddings `[N, D]`, a list for each group, the largest first.

    Two groups are one person's as long as the mean cosine between their members is at least the threshold.
    """
    if len(embeddings) < 2:
        return [[k] for k in range(len(embeddings))]
    from scipy.cluster.hierarchy import fcluster, linkage

    cosines = (embeddings @ embeddings.T).double()
    upper = (1 - cosines).clamp(min=0).numpy()
    condensed = [upper[i, j] for i in range(len(upper)) for j in range(i + 1, len(upper))]
    labels = fcluster(linkage(condensed, "average"), 1 - threshold + 1e-9, "distance").tolist()
    found: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        found.setdefault(label, []).append(index)
    return sorted(found.values(), key=lambda members: (-len(members), members[0]))
