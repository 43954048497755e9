"""Recognition of faces that are already cut out: learn features from some people, verify others.

minimise  identity loss of f(picture), who it is        (`task.loss`, see losses.py)

The people it is judged on are never learned from. Drawn people are told apart by their numbers; of a user's folder a
share of the people is held out. A checkpoint notes which photographs were learned from, so that it can be used without
them, and be judged on any folder by the people of whom it saw none. Beside the network stand two that learned nothing:
the pixels themselves, and the same network with random weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor, nn

from framework import Context, Estimator, Image, Program, Text, UserError
from framework.config.schema import Section
from framework.data import Order
from framework.media import Media, Projection
from framework.randomness import generator, seeded
from framework.task import Split
from plugins.faces.data.augmentation import STRONG, Augmentation, augmented
from plugins.faces.data.crops import Crops
from plugins.faces.data.photographs import (
    Divided,
    colourless,
    digest,
    digests,
    divided,
    people_files,
    pictures_in,
    read_people,
    read_photograph,
    refuse_leaks,
    square,
    within,
)
from plugins.faces.evaluation.figures import contact_sheet, pairs_sheet, roc_picture, table_of
from plugins.faces.evaluation.model_card import DRAWINGS, card
from plugins.faces.evaluation.verification import all_pairs, verification
from plugins.faces.losses.identity_loss import IdentityLoss, make_loss
from plugins.faces.losses.margins import ramp
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.synthetic.drawn_crops import FIRST_UNSEEN, drawn_crops
from plugins.faces.tasks.face_task import FaceTask

Count = Annotated[int, Field(ge=1)]
AT_ONCE = 256  # pictures embedded together
BESIDE = ("eer", "tar_at_far_0.01")  # what is told of what learned nothing
MOST_TESTED = 2000  # pictures compared with one another


class Data(Section):
    """Where faces come from.

    Attributes:
        root: a folder with a folder of pictures for each person; None: drawn faces.
        side: pixels of a crop's side.
        held_out: the share of a folder's people who are tested on and not learned from. Of 50 others or more a tenth
            is not learned from either: they choose the checkpoint.
        people, pictures: drawn people to learn from, and pictures of each.
        tested_people, tested_pictures: likewise, to test on.
        seed: of the drawn people, or of who is held out.
    """

    root: str | None = None
    side: Annotated[int, Field(ge=16, le=160)] = 48
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.375
    people: Annotated[int, Field(ge=2, le=500_000)] = 800
    pictures: Annotated[int, Field(ge=2)] = 16
    tested_people: Annotated[int, Field(ge=2)] = 100
    tested_pictures: Annotated[int, Field(ge=2)] = 10
    seed: Annotated[int, Field(ge=0)] = 0


class Network(Section):
    """The embedder's shape.

    Attributes:
        size: numbers in an embedding.
        grey, even_light: see `Embedder`; None: as the pictures are, and True for photographs.
        dropout: None: 0.3 for photographs, else 0.
    """

    size: Annotated[int, Field(ge=2, le=1024)] = 128
    widths: Annotated[tuple[int, ...], Field(min_length=1, max_length=5)] = (32, 64, 128)
    blocks: Annotated[int, Field(ge=0, le=8)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    grey: bool | None = None
    even_light: bool | None = None


@dataclass(frozen=True)
class Shape:
    """What the network's shape follows of what it learns from; a checkpoint brings it along.

    Attributes:
        photographs: whether these are photographs; people: how many; grey: whether they have no colours.
    """

    photographs: bool
    people: int
    grey: bool


@dataclass
class Batch:
    """Faces to learn from.

    Attributes:
        images: `[B, 3, S, S]` float in 0..1, augmented.
        people: `[B]`, who it is.
        number: which batch it is, counted from 0.
    """

    images: Tensor
    people: Tensor
    number: int


class Recogniser(nn.Module):
    """The embedder, and the identity loss with its prototypes."""

    def __init__(self, embedder: Embedder, identity: IdentityLoss) -> None:
        super().__init__()
        self.embedder, self.identity = embedder, identity


class Recognition(FaceTask):
    """Features of cut-out faces that are near for the same person."""

    model: Recogniser
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "eer"
    split: Split = "test"

    def __init__(
        self,
        *,
        data: Data | None = None,
        network: Network | None = None,
        augmentation: Augmentation | None = None,
        loss: dict[str, Any] | None = None,
        ramp: Annotated[int, Field(ge=0)] = 0,
        batch_size: Annotated[int, Field(ge=2)] = 128,
        pictures_per_person: Count = 1,
    ) -> None:
        if pictures_per_person > batch_size:
            raise UserError(
                f"task.pictures_per_person = {pictures_per_person}: expected at most task.batch_size = {batch_size}"
            )
        self.data, self.network = data or Data(), network or Network()
        self.loss, self.ramp_steps = loss or {"name": "cosface"}, ramp
        self.root = None if self.data.root is None else Path(self.data.root).expanduser()
        self.augmentation = augmentation or (Augmentation() if self.root is None else STRONG)
        self.batch_size, self.each = batch_size, pictures_per_person
        self.shape = self.shape_of_data()
        self.model = self.make_model()
        if self.model.identity.pairs and pictures_per_person == 1:
            raise UserError(
                f"task.pictures_per_person = 1: the loss '{self.loss['name']}' compares pictures of one person; "
                "expected 2 or more"
            )
        self.latest: tuple[Tensor, Tensor, float] | None = None  # loss, people, share of the margin

    def shape_of_data(self) -> Shape:
        """The shape for what there is to learn from; a trained network is used also where its photographs are not."""
        if self.root is None:
            return Shape(False, self.data.people, self.network.grey or False)
        if not self.root.is_dir():
            return Shape(True, 2, self.network.grey or False)
        files = list(people_files(self.root).values())
        parts = self.divided(len(files))
        grey = self.network.grey
        if grey is None:
            grey = colourless(file for person in parts.learned for file in files[person])
        return Shape(True, len(parts.learned), grey)

    def divided(self, count: int) -> Divided:
        """What each of the folder's people is for."""
        return divided(count, self.data.held_out, 2, "held-out people", self.data.seed)

    def make_model(self) -> Recogniser:
        identity = make_loss(self.loss, self.network.size, self.shape.people, "task.loss")
        return Recogniser(self.embedder(), identity)

    def embedder(self) -> Embedder:
        """One with random weights."""
        network, photographs = self.network, self.shape.photographs
        return Embedder(
            self.data.side,
            size=network.size,
            widths=network.widths,
            blocks=network.blocks,
            dropout=(0.3 if photographs else 0.0) if network.dropout is None else network.dropout,
            grey=self.shape.grey,
            even_light=photographs if network.even_light is None else network.even_light,
        )

    def state_dict(self) -> dict[str, Any]:
        """What the network's shape follows, and which photographs it knows."""
        return asdict(self.shape) | {"seen": sorted(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the checkpoint's shape, whatever there is to learn from here."""
        self.seen = set(state["seen"])
        shape = Shape(state["photographs"], state["people"], state["grey"])
        if shape != self.shape:
            self.shape = shape
            self.model = self.make_model().to(self.device)
            self.__dict__.pop("parameters", None)

    def program(self, estimator: Estimator) -> Program:
        """The identity loss; asked for when a training begins, which needs photographs of enough people."""
        if self.root is not None:
            everyone, parts = self.everyone, self.divided(len(self.everyone.names))
            if len(parts.learned) < 2 or len(parts.tested) < 2:
                raise UserError(
                    f"task.data.root = '{self.root}': {len(everyone.names)} people; "
                    "expected four or more, two to learn from and two to test on"
                )
            refuse_leaks(self.learned, everyone.of([*parts.tested, *parts.validated]))
        return super().program(estimator)

    @cached_property
    def everyone(self) -> Crops:
        """The people of the folder."""
        assert self.root is not None
        return read_people(self.root, self.data.side)

    @cached_property
    def learned(self) -> Crops:
        """Faces to learn from; drawn or read when they are first asked for."""
        data = self.data
        if self.root is None:
            return drawn_crops(data.seed, 0, data.people, data.pictures, data.side)
        return self.everyone.of(self.divided(len(self.everyone.names)).learned)

    @cached_property
    def validated(self) -> Crops:
        """People of the folder who choose the checkpoint; nobody where there are too few."""
        return self.everyone.of(self.divided(len(self.everyone.names)).validated)

    @cached_property
    def unseen(self) -> Crops:
        """People of the folder of whom no picture was seen in training."""
        everyone = self.everyone
        pictures = zip(everyone.images, everyone.people.tolist(), strict=True)
        known = {person for image, person in pictures if digest(image) in self.seen}
        others = [p for p in self.divided(len(everyone.names)).order if p not in known]
        if len(others) < 2:
            raise UserError(
                f"task.data.root = '{self.root}': {len(others)} people who were not learned from; expected two or more"
            )
        return at_most(everyone.of(others), MOST_TESTED)

    @cached_property
    def seen(self) -> set[int]:
        """Digests of the photographs that were learned from or chose the checkpoint."""
        return set() if self.root is None else digests(self.learned) | digests(self.validated)

    def has_seen(self, photograph: Pillow.Image) -> bool:
        return digest(square(photograph, self.data.side)) in self.seen

    @property
    def drawn(self) -> bool:
        """Whether it learns from drawings."""
        return not self.shape.photographs

    def objective(self, context: Context, batch: Batch) -> None:
        """The identity loss."""
        share = ramp(batch.number, self.ramp_steps)
        features = self.model.embedder(batch.images)
        loss = self.model.identity(features, batch.people, share)
        self.latest = loss.detach(), batch.people, share
        context.cost(loss, "identity")

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Augmented crops; batch number k is the same wherever a run begins."""
        for number, chosen in enumerate(self.order(seed, start), start):
            images = augmented(
                self.learned.images[chosen],
                self.augmentation,
                generator(seed, "augmentation", number),
            )
            yield Batch(images, self.learned.people[chosen], number)

    def order(self, seed: int, start: int) -> Iterator[Tensor]:
        """The pictures of each batch: shuffled, or some of each of some people."""
        if self.each == 1:
            size = min(self.batch_size, len(self.learned))
            for places in Order(len(self.learned), size, seed, start):
                yield torch.tensor([index for _, index in places])
        number = start
        while True:
            yield some_of_each(
                self.learned,
                self.batch_size // self.each,
                self.each,
                generator(seed, "order", number),
            )
            number += 1

    def scalars(self) -> dict[str, float]:
        """The identity loss as a share of what features that say nothing would have."""
        if self.latest is None:
            return {}
        loss, people, share = self.latest
        chance = self.model.identity.chance(people, share)
        return {"train/identity_over_chance": float(loss) / max(chance, 1e-9)}

    def tested(self, seed: int) -> Crops:
        """People who are not learned from: those of a folder that are held out, or new ones drawn for this seed."""
        if self.root is not None:
            validating = self.split == "validation" and len(self.validated)
            return self.validated if validating else self.unseen
        data = self.data
        first = FIRST_UNSEEN + seed % 1000 * data.tested_people
        return drawn_crops(data.seed, first, data.tested_people, data.tested_pictures, data.side)

    def embed(self, images: Tensor, embedder: Embedder | None = None) -> Tensor:
        """Unit-norm embeddings `[N, D]` of bytes `[N, 3, S, S]`: each picture's and its mirror image's, averaged."""
        network = self.model.embedder if embedder is None else embedder
        device = self.device
        parts = []
        for part in images.split(AT_ONCE):
            part = part.to(device)
            parts.append((unit(network(part)) + unit(network(part.flip(3)))).cpu())
        return unit(torch.cat(parts)) if parts else torch.zeros(0, network.size)

    def judged(self, crops: Crops, seed: int) -> dict[str, Tensor]:
        """Embeddings of the network and of what learned nothing."""
        with seeded(seed):
            untrained = self.embedder().to(self.device).eval()
        pixels = crops.images.float().flatten(1) / 255
        grey = crops.images.float().mean(1).flatten(1)
        even = (grey - grey.mean(1, keepdim=True)) / (grey.std(1, keepdim=True) + 1)
        return {
            "": self.embed(crops.images),
            "raw_pixels_": unit(pixels - pixels.mean(0)),
            "even_pixels_": unit(even - even.mean(0)),
            "random_network_": self.embed(crops.images, untrained),
        }

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Verification of people who were not learned from, beside what learned nothing, and of those who were."""
        self.split = split
        crops = self.tested(seed)
        metrics: dict[str, float] = {}
        for name, embeddings in self.judged(crops, seed).items():
            found = verification(embeddings, crops.people, None if name else seed)
            told = found if not name else {k: found[k] for k in BESIDE if k in found}
            metrics |= {f"{name}{k}": v for k, v in told.items()}
        if self.drawn:
            metrics["seen_eer"] = self.seen_eer()
        return metrics

    def seen_eer(self) -> float:
        """The EER of new pictures of people who were learned from."""
        data, people = self.data, min(50, self.data.people)
        crops = drawn_crops(
            data.seed, 0, people, data.tested_pictures, data.side, first_picture=data.pictures
        )
        return all_pairs(self.embed(crops.images), crops.people).roc().eer()

    def show(self, seed: int) -> Iterator[Media]:
        """Who is learned from and who is tested on, the curves, telling pairs, the table and the model card."""
        crops = self.tested(seed)
        yield Image("learned", contact_sheet(self.learned))
        yield Image("tested", contact_sheet(crops))
        judged = self.judged(crops, seed)
        curves = {k: all_pairs(e, crops.people) for k, e in judged.items()}
        rocs = {label(k): pairs.roc() for k, pairs in curves.items()}
        yield roc_picture("roc", rocs)
        yield Image("pairs", pairs_sheet(crops, judged[""]))
        table = table_of({label(k): pairs for k, pairs in curves.items()}, seed)
        pairs = curves[""].roc()
        counted = f"{len(crops.names)} people, {pairs.genuines:,.0f} genuine and {pairs.impostors:,.0f} impostor pairs"
        yield Text("verification", f"{table}\n\n{counted}.\n")
        yield Text(
            "model_card",
            card(self.about(), f"{table}\n\n{counted}, none of whom were learned from."),
        )
        shown = torch.arange(len(crops))[:500]
        yield Projection(
            "embeddings",
            judged[""][shown],
            [crops.names[p] for p in crops.people[shown].tolist()],
            crops.images[shown],
        )

    def about(self) -> dict[str, str]:
        """What the model card says of the data and the network."""
        source = "invented, drawn faces" if self.drawn else f"photographs in {self.root}"
        count = sum(p.numel() for p in self.model.embedder.parameters())
        return {
            "What it does": "a feature for each cut-out face, near (cosine) for the same person",
            "Learned from": f"{source}: {self.shape.people} people, {len(self.learned):,} pictures",
            "Loss": str(self.loss["name"]),
            "Network": f"{count:,} parameters, {self.model.embedder.size} numbers per face",
            "Input": f"RGB, {self.data.side} x {self.data.side} pixels, the face alone, upright",
            "Drawn": DRAWINGS if self.drawn else "",
        }

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The whole picture as one face: boxes `[1, 4]`, scores `[1]`, landmarks `[1, 5, 2]` (unknown), embeddings."""
        width, height = photograph.size
        return {
            "boxes": torch.tensor([[0.0, 0.0, width, height]]),
            "scores": torch.ones(1),
            "landmarks": torch.full((1, 5, 2), torch.nan),
            "embeddings": self.embed(square(photograph, self.data.side)[None]),
        }

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """The embeddings of a picture's or a folder's faces as a table of comma-separated values."""
        if source is None:
            raise UserError(
                "which faces? input=PICTURE or input=FOLDER of pictures of one face each"
            )
        self.warn()
        lines = []
        for file, _ in pictures_in(source):
            try:
                found = self.faces_in(read_photograph(file))["embeddings"][0]
            except UserError as error:
                if not source.is_dir():
                    raise
                print(f"left out: {error}", file=sys.stderr)
                continue
            lines.append(
                ",".join([within(file, source), *(f"{number:.6f}" for number in found.tolist())])
            )
        if not lines:
            raise UserError(f"input = '{source}': no pictures in this folder that can be read")
        yield Text("embeddings", "\n".join(lines) + "\n", ".csv")


def at_most(crops: Crops, pictures: int) -> Crops:
    """The first people whose pictures together are no more than so many."""
    counts = torch.bincount(crops.people, minlength=len(crops.names)).cumsum(0)
    return crops.of(range(max(2, int((counts <= pictures).sum()))))


def some_of_each(crops: Crops, people: int, each: int, draw: torch.Generator) -> Tensor:
    """`each` pictures, drawn with replacement where there are fewer, of `people` people: indices `[people * each]`."""
    chosen = torch.randperm(len(crops.names), generator=draw)[:people]
    first = torch.searchsorted(crops.people, chosen)  # pictures lie ordered by person
    count = torch.searchsorted(crops.people, chosen, right=True) - first
    rank = torch.rand(len(chosen), int(count.max()), generator=draw)
    beyond = torch.arange(rank.shape[1]) >= count[:, None]
    shuffled = rank.masked_fill(beyond, 2.0).argsort(1)
    place = torch.arange(each) % count[:, None]
    return (first[:, None] + shuffled.gather(1, place)).flatten()


def label(name: str) -> str:
    return name.strip("_").replace("_", " ") or "this network"
