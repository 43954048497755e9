"""Faces clustered by person: average linkage, which joins the two closest clusters while they are close enough."""

from __future__ import annotations

from torch import Tensor


def clusters(embeddings: Tensor, threshold: float) -> list[list[int]]:
    """Indices of unit-norm embeddings `[N, D]`, a list for each cluster, the largest first.

    Two clusters are joined as long as the mean cosine between their members is at least the threshold.
    """
    if len(embeddings) < 2:
        return [[k] for k in range(len(embeddings))]
    from scipy.cluster.hierarchy import fcluster, linkage

    cosines = (embeddings @ embeddings.T).double()
    upper = (1 - cosines).clamp(min=0).numpy()
    condensed = [upper[i, j] for i in range(len(upper)) for j in range(i + 1, len(upper))]
    labels = fcluster(linkage(condensed, "average"), 1 - threshold + 1e-9, "distance").tolist()
    members: dict[int, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    return sorted(members.values(), key=lambda indices: (-len(indices), indices[0]))
