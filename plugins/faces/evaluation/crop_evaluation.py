"""How well crops are verified by a model's embeddings, beside its parts and baselines without a network."""

from __future__ import annotations

from torch import Tensor

from plugins.faces.data.crops import Crops
from plugins.faces.evaluation.verification import verification
from plugins.faces.models.descriptors import DESCRIPTORS
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.models.recogniser import Recogniser, components_of, embed
from plugins.faces.models.whitened import Whitened

# The metrics that are reported of baselines.
BASELINE_METRICS = ("eer", "tar_at_far_0.01", "tar_at_far_0.001")


def embeddings_with_baselines(
    crops: Crops, model: Recogniser, untrained: Embedder, whitened: Whitened
) -> dict[str, Tensor]:
    """Embeddings `[N, D]` by the prefix of their metrics: "" for the model's, others for its parts and the baselines.

    Args:
        untrained: the same network with random weights.
        whitened: components computed from the people who were trained on.
    """
    pixels = pixel_embeddings(crops.images.float())
    parts = {"network_alone_": embed(model.embedder, crops.images)} if model.beside else {}
    components = {
        f"whitened_{name}_": components_of(whitened, crops.images, name) for name in DESCRIPTORS
    }
    return {
        "": model.embed(crops.images),
        **parts,
        **{f"{name.replace(' ', '_')}_": features for name, features in pixels.items()},
        **components,
        "random_network_": embed(untrained, crops.images),
    }


def pixel_embeddings(images: Tensor) -> dict[str, Tensor]:
    """Raw and evened pixels `[N, F]`, less their mean and of norm 1, of images `[N, 3, S, S]` of floats 0..255."""
    raw, grey = images.flatten(1), images.mean(1).flatten(1)
    even = (grey - grey.mean(1, keepdim=True)) / (grey.std(1, keepdim=True) + 1)
    return {"raw pixels": unit(raw - raw.mean(0)), "even pixels": unit(even - even.mean(0))}


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
    return prefix.strip("_").replace("_", " ") or "this model"
