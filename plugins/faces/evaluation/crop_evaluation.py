"""How well crops are verified by a network's embeddings, beside baselines that were not trained."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.faces.data.crops import Crops
from plugins.faces.evaluation.verification import verification
from plugins.faces.models.networks import Embedder, unit

# Crops that are embedded at once.
BATCH = 256
# The metrics that are reported of baselines.
BASELINE_METRICS = ("eer", "tar_at_far_0.01")


def embed(embedder: Embedder, images: Tensor) -> Tensor:
    """Unit-norm embeddings `[N, D]` of crops `[N, 3, S, S]` uint8, averaged with those of their mirror images."""
    device = next(embedder.parameters()).device
    parts = []
    for part in images.split(BATCH):
        part = part.to(device)
        parts.append((unit(embedder(part)) + unit(embedder(part.flip(3)))).cpu())
    return unit(torch.cat(parts)) if parts else torch.zeros(0, embedder.embedding_size)


def embeddings_with_baselines(
    crops: Crops, embedder: Embedder, untrained: Embedder
) -> dict[str, Tensor]:
    """Embeddings `[N, D]` by the prefix of their metrics: "" for the network's, others for the baselines'."""
    pixels = crops.images.float().flatten(1) / 255
    grey = crops.images.float().mean(1).flatten(1)
    even = (grey - grey.mean(1, keepdim=True)) / (grey.std(1, keepdim=True) + 1)
    return {
        "": embed(embedder, crops.images),
        "raw_pixels_": unit(pixels - pixels.mean(0)),
        "even_pixels_": unit(even - even.mean(0)),
        "random_network_": embed(untrained, crops.images),
    }


def verification_metrics(
    embeddings: dict[str, Tensor], people: Tensor, seed: int
) -> dict[str, float]:
    """The metrics of each method under its prefix; of baselines only `BASELINE_METRICS`."""
    metrics: dict[str, float] = {}
    for prefix, features in embeddings.items():
        measured = verification(features, people, None if prefix else seed)
        kept = measured if not prefix else [name for name in BASELINE_METRICS if name in measured]
        metrics |= {f"{prefix}{name}": measured[name] for name in kept}
    return metrics


def label(prefix: str) -> str:
    """A method's name in tables and pictures."""
    return prefix.strip("_").replace("_", " ") or "this network"
