"""The trained module of recognition: an embedder of crops, shaped by the data it learns from, and its identity loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import nn

from framework.config.schema import Section
from framework.config.types import FractionBelowOne
from plugins.faces.losses.identity_loss import IdentityLoss
from plugins.faces.models.networks import Embedder


class Network(Section):
    """The embedder's shape.

    Attributes:
        embedding_size: numbers in an embedding.
        widths: channels of the stages, each of which halves the resolution.
        blocks: residual blocks in each stage.
        dropout: None: 0.3 for photographs, else 0.
        grey, standardise: see `Embedder`; None: where the pictures have no colours, and True for photographs.
    """

    embedding_size: Annotated[int, Field(ge=2, le=1024)] = 128
    widths: Annotated[tuple[int, ...], Field(min_length=1, max_length=5)] = (32, 64, 128)
    blocks: Annotated[int, Field(ge=0, le=8)] = 1
    dropout: FractionBelowOne | None = None
    grey: bool | None = None
    standardise: bool | None = None


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
    """The embedder, and the identity loss with its prototypes."""

    def __init__(self, embedder: Embedder, identity: IdentityLoss) -> None:
        super().__init__()
        self.embedder, self.identity = embedder, identity


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
