"""The trained module of recognition: an embedder of crops, shaped by the data it learns from, and its identity loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from framework.config.schema import Section
from framework.config.types import FractionBelowOne
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.descriptors import Descriptor
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.models.whitened import COMPONENTS, Whitened

# Crops that are embedded at once by a network, and described at once, each in many views.
BATCH, WHITENED_BATCH = 256, 64
# Learned people from whom on a network's features count as much as a descriptor.
ENOUGH_PEOPLE = 70


class Network(Section):
    """The embedder's shape.

    Attributes:
        embedding_size: numbers in an embedding.
        widths: channels of the stages, each of which halves the resolution.
        blocks: residual blocks in each stage.
        dropout: None: 0.3 for photographs, else 0.
        grey, standardise: see `Embedder`; None: where the pictures have no colours, and True for photographs.
        whitened: descriptors whose whitened components stand beside the network's features (see `whitened.py`); None:
            gradients and patterns for photographs, which are of few people, else none.
        weight: of the network's cosine where a descriptor's is 1; None: the more people are learned, the more it
            counts, 1 from `ENOUGH_PEOPLE` on.
    """

    embedding_size: Annotated[int, Field(ge=2, le=1024)] = 128
    widths: Annotated[tuple[int, ...], Field(min_length=1, max_length=5)] = (32, 64, 128)
    blocks: Annotated[int, Field(ge=0, le=8)] = 1
    dropout: FractionBelowOne | None = None
    grey: bool | None = None
    standardise: bool | None = None
    whitened: tuple[Descriptor, ...] | None = None
    weight: Annotated[float, Field(ge=0, le=100)] | None = None


@dataclass(frozen=True)
class TrainingData:
    """What the network's shape depends on in its training data; a checkpoint stores it.

    Attributes:
        photographs: whether they are photographs, not synthetic faces.
        people: the number of people.
        grey: whether the pictures have no colours.
    """

    photographs: bool
    people: int
    grey: bool


class Recogniser(nn.Module):
    """The embedder, the identity loss with its prototypes, and the whitened components beside it.

    Args:
        beside: the descriptors that are part of an embedding.
        whitened: their components, and those of the other descriptors as baselines; None: there are none.
        weight: of the network's cosine where a descriptor's is 1.
    """

    def __init__(
        self,
        embedder: Embedder,
        identity: IdentityLoss,
        beside: Sequence[Descriptor] = (),
        whitened: Whitened | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.embedder, self.identity, self.whitened = embedder, identity, whitened
        self.beside, self.weight = tuple(beside), weight

    @property
    def embedding_size(self) -> int:
        return self.embedder.embedding_size + COMPONENTS * len(self.beside)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings `[N, D]` of norm 1 of crops `[N, 3, S, S]` uint8: a cosine is the weighted mean of the parts'."""
        own = embed(self.embedder, images)
        if self.whitened is None or not self.beside:
            return own
        beside = [components_of(self.whitened, images, name) for name in self.beside]
        return self.together(own, beside)

    def together(self, own: Tensor, beside: Sequence[Tensor]) -> Tensor:
        """One embedding `[N, D]` of the network's and the descriptors' parts, each of norm 1."""
        return unit(torch.cat([math.sqrt(self.weight) * own, *beside], 1))


def components_of(whitened: Whitened, images: Tensor, name: Descriptor) -> Tensor:
    """The whitened components `[N, COMPONENTS]` of a descriptor of crops `[N, 3, S, S]` uint8, on the CPU."""
    parts = [whitened(part, name).cpu() for part in images.split(WHITENED_BATCH)]
    return torch.cat(parts) if len(images) else torch.zeros(0, COMPONENTS)


def embed(embedder: Embedder, images: Tensor) -> Tensor:
    """Unit-norm embeddings `[N, D]` of crops `[N, 3, S, S]` uint8, averaged with those of their mirror images."""
    device = next(embedder.parameters()).device
    parts = []
    for part in images.split(BATCH):
        part = part.to(device)
        parts.append((unit(embedder(part)) + unit(embedder(part.flip(3)))).cpu())
    return unit(torch.cat(parts)) if len(images) else torch.zeros(0, embedder.embedding_size)


def make_embedder(network: Network, side: int, data: TrainingData) -> Embedder:
    """An embedder of crops of `side` pixels with random weights."""
    usual_dropout = 0.3 if data.photographs else 0.0
    return Embedder(
        side,
        embedding_size=network.embedding_size,
        widths=network.widths,
        blocks=network.blocks,
        dropout=usual_dropout if network.dropout is None else network.dropout,
        grey=data.grey,
        standardise=data.photographs if network.standardise is None else network.standardise,
    )


def descriptors_beside(network: Network, data: TrainingData) -> tuple[Descriptor, ...]:
    """The descriptors that are part of an embedding."""
    if network.whitened is not None:
        return network.whitened
    return ("gradients", "patterns") if data.photographs else ()


def weight_beside(network: Network, data: TrainingData) -> float:
    """The weight of the network's cosine where a descriptor's is 1."""
    return min(1.0, data.people / ENOUGH_PEOPLE) if network.weight is None else network.weight
