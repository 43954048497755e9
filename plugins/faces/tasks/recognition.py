"""Recognition of cropped faces: train embeddings on some people, verify others.

minimise  identity loss of f(picture), person        (`task.loss`, see losses/)

The people of a test are never trained on: synthetic people differ by their numbers, and of a user's folder some people
are held out. A checkpoint stores which photographs were trained on, so that it can be used without them and evaluated
on the people of any folder of whom it has seen no picture. The network is compared with baselines: the pixels
themselves, whitened principal components, and the same network with random weights. Few people are learned by heart by
a network, so that of photographs the whitened components stand beside its features.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework import Context, Image, Program, Text, UserError, ranks
from framework.config.types import Count, CountOrZero
from framework.config.validation import check_options
from framework.data import Order
from framework.media import Media, Projection
from framework.randomness import generator, seeded
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.faces.analysis.detectors import make_detector
from plugins.faces.analysis.embedders import RunEmbedder
from plugins.faces.analysis.pipeline import FacePipeline
from plugins.faces.data.augmentation import STRONG, Augmentation, augmented
from plugins.faces.data.crops import Crops
from plugins.faces.data.likeness import copies
from plugins.faces.data.photographs import (
    pictures_in,
    read_photograph,
    square,
    within,
)
from plugins.faces.evaluation.crop_evaluation import (
    embeddings_with_baselines,
    label,
    verification_metrics,
)
from plugins.faces.evaluation.figures import contact_sheet, pairs_sheet, roc_picture, table_of
from plugins.faces.evaluation.model_card import PRIVACY_NOTICE, SYNTHETIC_NOTICE, model_card
from plugins.faces.evaluation.verification import all_pairs
from plugins.faces.inspection import Inspection, inspect_people
from plugins.faces.losses.identity_loss import make_loss
from plugins.faces.losses.margins import margin_scale_at
from plugins.faces.models.networks import Embedder
from plugins.faces.models.recogniser import (
    Network,
    Recogniser,
    TrainingData,
    descriptors_beside,
    make_embedder,
    weight_beside,
)
from plugins.faces.models.whitened import Whitened
from plugins.faces.tasks.face_task import FaceTask
from plugins.faces.tasks.people_data import Data, PeopleData

COSFACE: Mapping[str, Any] = {"name": "cosface"}


@dataclass
class Batch:
    """Faces to train on.

    Attributes:
        images: `[B, 3, S, S]` float in 0..1, augmented.
        people: `[B]`, who it is.
        number: the number of the batch, from 0.
    """

    images: Tensor
    people: Tensor
    number: int


class Recognition(FaceTask):
    """Embeddings of cropped faces that are close for the same person."""

    model: Recogniser
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "eer"
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "eer": "equal error rate of verification on all pairs, of people not trained on",
        "eer_low": "lower end of its 95 % interval over people",
        "eer_high": "upper end of its 95 % interval over people",
        "tar_at_far_<far>": "true accept rate (TAR) at this false accept rate (FAR)",
        "accuracy": "accuracy of verification, ten-fold as on LFW",
        "impostor_pairs": "pairs of two people",
        "genuine_pairs": "pairs of one person",
        "raw_pixels_<metric>": "the same metric of the pixels themselves",
        "even_pixels_<metric>": "the same of grey pixels with mean 0 and deviation 1",
        "network_alone_<metric>": "the same of the network without the whitened components beside it",
        "whitened_pixels_<metric>": "the same of pixels' principal components, whitened within people",
        "whitened_gradients_<metric>": "the same of histograms of gradient directions",
        "whitened_patterns_<metric>": "the same of histograms of local binary patterns",
        "random_network_<metric>": "the same of an untrained network",
        "seen_eer": "equal error rate of new pictures of people trained on",
        "train/identity_over_chance": "identity loss over that of embeddings without information",
    }

    @staticmethod
    def inspect(options: Mapping[str, Any]) -> Inspection:
        """Look at the folder of people that these options name; see `diffobj inspect`."""
        return inspect_people(options["data"].root if "data" in options else None)

    def __init__(
        self,
        *,
        data: Data = Data(),  # noqa: B008
        network: Network = Network(),  # noqa: B008
        augmentation: Augmentation | None = None,
        loss: Mapping[str, Any] = COSFACE,
        margin_warmup: CountOrZero = 0,
        batch_size: Annotated[int, Field(ge=2)] = 128,
        pictures_per_person: Count = 1,
    ) -> None:
        if pictures_per_person > batch_size:
            raise UserError(
                f"task.pictures_per_person = {pictures_per_person}: expected at most task.batch_size = {batch_size}"
            )
        self.side, self.network = data.side, network
        self.loss, self.margin_warmup = loss, margin_warmup
        self.people = PeopleData(data)
        self.augmentation = augmentation or (Augmentation() if data.root is None else STRONG)
        self.batch_size, self.pictures_per_person = batch_size, pictures_per_person
        self.training_data = self.people.summary(network.grey)
        self.model = self.make_model()
        if self.model.identity.needs_pairs and pictures_per_person == 1:
            raise UserError(
                f"task.pictures_per_person = 1: the loss '{loss['name']}' compares pictures of one person; "
                "expected 2 or more"
            )
        # The last batch's loss, people and margin scale.
        self.latest: tuple[Tensor, Tensor, float] | None = None

    def make_model(self) -> Recogniser:
        """A model with random weights."""
        size = self.network.embedding_size
        people = self.training_data.people + self.people.data.extra_people
        identity = make_loss(self.loss, size, people, "task.loss")
        beside = descriptors_beside(self.network, self.training_data)
        whitened = Whitened() if beside or self.training_data.photographs else None
        weight = weight_beside(self.network, self.training_data)
        return Recogniser(self.make_embedder(), identity, beside, whitened, weight)

    def make_embedder(self) -> Embedder:
        """An embedder with random weights."""
        return make_embedder(self.network, self.side, self.training_data)

    def state_dict(self) -> dict[str, Any]:
        """What the network's shape depends on, and which photographs it has seen."""
        return asdict(self.training_data) | {"seen": self.people.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the checkpoint's shape, whatever data there is here."""
        check_saved("the task", state, seen=Tensor, photographs=bool, people=CountOrZero, grey=bool)
        self.people.seen = state["seen"]
        stored = TrainingData(state["photographs"], state["people"], state["grey"])
        if stored != self.training_data:
            self.training_data = stored
            self.replace_model(self.make_model())

    def begin(self, plan: TrainingPlan) -> None:
        """Read the photographs.

        Raises:
            UserError: too few people, or some both to train on and to evaluate on.
        """
        self.people.check()
        if self.model.whitened is not None:
            training = self.people.training
            self.model.whitened.fit(training.images, training.people)

    @cached_property
    def baseline(self) -> Whitened:
        """Whitened components of the people who were trained on."""
        if self.model.whitened is not None:
            return self.model.whitened
        whitened, training = Whitened(), self.people.training
        whitened.fit(training.images, training.people)
        return whitened

    def fingerprint(self) -> str:
        """A hash of the parameters and of how the parts of an embedding are weighted."""
        own = super().fingerprint()
        if not self.model.beside:
            return own
        parts = f"{own} {self.model.beside} {self.model.weight:.9g}"
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def has_seen(self, photograph: Pillow.Image) -> bool:
        return self.have_seen(square(photograph, self.side)[None])

    def have_seen(self, crops: Tensor) -> bool:
        """Whether any of some crops `[N, 3, side, side]`, or a copy of it, was trained on."""
        return bool(copies(crops, self.people.seen).any())

    def with_detector(self, detector: str | Path) -> FacePipeline:
        """These embeddings of the faces that a detector finds in whole photographs.

        Args:
            detector: "bundled", "mtcnn" (where facenet-pytorch is installed), the folder of a run of faces or
                face_detection, or a network's file; see `analysis/network_files.py`.
        """
        return FacePipeline(make_detector(detector), RunEmbedder(self, self._folder))

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on synthetic faces."""
        return not self.training_data.photographs

    def objective(self, context: Context, batch: Batch) -> None:
        """The identity loss of the whole batch."""
        scale = margin_scale_at(batch.number, self.margin_warmup)
        # Pictures are compared with those that other processes have, and running means are those of all.
        features = ranks.all_rows(self.model.embedder(batch.images))
        people = ranks.all_rows(batch.people)
        loss = self.model.identity(features, people, scale)
        self.latest = loss.detach(), people, scale
        context.cost(loss, "identity")

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Augmented crops; batch number k depends on the seed and k only.

        Of several processes each augments all of it and keeps its part: the same pictures as those of one process.
        """
        crops = self.people.training
        for number, chosen in enumerate(self.order(crops, seed, start), start):
            random = generator(seed, "augmentation", number)
            images, people = crops.images[chosen], crops.people[chosen]
            if self.people.data.extra_people:
                others = self.extra_pictures(len(chosen), generator(seed, "extra people", number))
                images = torch.cat([images, self.people.extra.images[others]])
                people = torch.cat([people, len(crops.names) + self.people.extra.people[others]])
            own = ranks.part(len(images))
            images = augmented(images, self.augmentation, random)
            yield Batch(images[own], people[own], number)

    def extra_pictures(self, count: int, random: torch.Generator) -> Tensor:
        """The indices of about `count` pictures of the synthetic people beside the folder's."""
        each = self.pictures_per_person
        return sample_per_person(self.people.extra, max(1, count // each), each, random)

    def order(self, crops: Crops, seed: int, start: int) -> Iterator[Tensor]:
        """The indices of each batch's pictures: shuffled, or several of each of some people."""
        each = self.pictures_per_person
        if each == 1:
            size = min(self.batch_size, len(crops))
            for places in Order(len(crops), size, seed, start, divided=False):
                yield torch.tensor([index for _, index in places])
        number = start
        while True:
            random = generator(seed, "order", number)
            yield sample_per_person(crops, self.batch_size // each, each, random)
            number += 1

    def scalars(self) -> dict[str, float]:
        """The identity loss divided by that of uninformative features."""
        if self.latest is None:
            return {}
        loss, people, scale = self.latest
        chance = self.model.identity.loss_at_chance(people, scale)
        return {"train/identity_over_chance": float(loss) / max(chance, 1e-9)}

    def embeddings(self, crops: Crops, seed: int) -> dict[str, Tensor]:
        """The crops' embeddings by this network and by baselines; see `embeddings_with_baselines`."""
        with seeded(seed):
            untrained = self.make_embedder().to(self.device).eval()
        return embeddings_with_baselines(crops, self.model, untrained, self.baseline)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """Verification of people who were not trained on, of synthetic ones who were, and by baselines."""
        crops = self.people.evaluated(seed, split)
        metrics = verification_metrics(self.embeddings(crops, seed), crops.people, seed)
        if self.synthetic:
            seen = self.people.new_pictures()
            pairs = all_pairs(self.model.embed(seen.images), seen.people)
            metrics["seen_eer"] = pairs.roc().eer()
        return metrics

    def show(self, seed: int) -> Iterator[Media]:
        """People of the training and of the test, ROC curves, extreme pairs, the table and the model card."""
        crops = self.people.evaluated(seed, "test")
        if not self.synthetic:
            yield Text("PRIVACY", f"{PRIVACY_NOTICE[0].upper()}{PRIVACY_NOTICE[1:]}.\n")
        yield Image("learned", contact_sheet(self.people.training))
        yield Image("tested", contact_sheet(crops))
        embeddings = self.embeddings(crops, seed)
        pairs = {label(name): all_pairs(e, crops.people) for name, e in embeddings.items()}
        curves = {name: p.roc() for name, p in pairs.items()}
        yield roc_picture("roc", curves)
        yield Image("pairs", pairs_sheet(crops, embeddings[""]))
        table, own = table_of(pairs, seed), curves[label("")]
        counts = f"{len(crops.names)} people, {own.genuines:,.0f} genuine and {own.impostors:,.0f} impostor pairs"
        yield Text("verification", f"{table}\n\n{counts}.\n")
        results = f"{table}\n\n{counts}, none of whom were trained on."
        yield Text("model_card", model_card(self.about(), results))
        shown = torch.arange(len(crops))[:500]
        names = [crops.names[p] for p in crops.people[shown].tolist()]
        yield Projection("embeddings", embeddings[""][shown], names, crops.images[shown])

    def about(self) -> dict[str, str]:
        """The data and the network, for the model card."""
        source = "synthetic faces" if self.synthetic else f"photographs in {self.people.root}"
        people, pictures = self.training_data.people, len(self.people.training)
        embedder = self.model.embedder
        count = sum(p.numel() for p in embedder.parameters())
        beside = "".join(f", beside whitened {name}" for name in self.model.beside)
        return {
            "Function": "an embedding of each cropped face, close (by its cosine) for the same person",
            "Trained on": f"{source}: {people} people, {pictures:,} pictures",
            "Loss": str(self.loss["name"]),
            "Network": f"{count:,} parameters{beside}; {self.embedding_size} numbers per face",
            "Input": f"RGB, {self.side} x {self.side} pixels, the face alone, upright",
            "Notice": SYNTHETIC_NOTICE if self.synthetic else "",
            **({} if self.synthetic else {"Privacy": PRIVACY_NOTICE}),
        }

    @property
    def embedding_size(self) -> int:
        return self.model.embedding_size

    def faces_in(self, photograph: Pillow.Image) -> dict[str, Tensor]:
        """The whole picture as one face, whose landmarks `[1, 5, 2]` are NaN."""
        width, height = photograph.size
        return {
            "boxes": torch.tensor([[0.0, 0.0, width, height]]),
            "scores": torch.ones(1),
            "landmarks": torch.full((1, 5, 2), torch.nan),
            "embeddings": self.model.embed(square(photograph, self.side)[None]),
        }

    def export(self, path: Path, **options: Any) -> Path:
        """Write the embedder as ONNX (`.onnx`) or torch.export (`.pt2`), without photographs; see `exporting.py`.

        Raises:
            UserError: an option, of which there is none, another suffix, or a file that computes something else.
        """
        from plugins.faces.analysis.exporting import export_embedder

        check_options(export_embedder, options, "export")
        return export_embedder(self.model, path)

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
                embedding = self.faces_in(read_photograph(file))["embeddings"][0]
            except UserError as error:
                if not source.is_dir():
                    raise
                print(f"left out: {error}", file=sys.stderr)
                continue
            numbers = (f"{number:.6f}" for number in embedding.tolist())
            lines.append(",".join([within(file, source), *numbers]))
        if not lines:
            raise UserError(f"input = '{source}': no pictures in this folder that can be read")
        yield Text("embeddings", "\n".join(lines) + "\n", ".csv")


def sample_per_person(crops: Crops, people: int, each: int, random: torch.Generator) -> Tensor:
    """Indices `[people * each]` of `each` pictures, with repetitions where there are fewer, of `people` people."""
    chosen = torch.randperm(len(crops.names), generator=random)[:people]
    # Pictures lie ordered by person.
    first = torch.searchsorted(crops.people, chosen)
    count = torch.searchsorted(crops.people, chosen, right=True) - first
    rank = torch.rand(len(chosen), int(count.max()), generator=random)
    beyond = torch.arange(rank.shape[1]) >= count[:, None]
    shuffled = rank.masked_fill(beyond, 2.0).argsort(1)
    place = torch.arange(each) % count[:, None]
    return (first[:, None] + shuffled.gather(1, place)).flatten()
