"""Object detection: learn to say which objects an image holds and where, judged by COCO's average precision."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from framework import Context, Estimator, Image, Program, Task, Text, UserError
from framework.config.validation import check_options
from framework.data import batches
from framework.media import Media
from framework.plugin import registry
from framework.randomness import generator
from framework.task import Split
from plugins.detection import prediction
from plugins.detection.data.augmentation import Augmentation, Augmented
from plugins.detection.data.resizing import resized
from plugins.detection.data.splits import Data, Splits, image_size, open_data, usual_objects
from plugins.detection.evaluation import figures as plot
from plugins.detection.evaluation.boxes_on_images import annotated, beside
from plugins.detection.evaluation.error_analysis import Analysis, analyse
from plugins.detection.evaluation.metrics import Precision, precision, require_coco_evaluation
from plugins.detection.models.detector import Detector
from plugins.detection.objectives.relaxed_precision import RelaxedPrecision
from plugins.detection.objectives.reward import Reward
from plugins.detection.objectives.tuning import (
    Criterion,
    begin_with,
    charge,
    refuse_random_weights,
    rewards,
)
from plugins.detection.sample import (
    Batch,
    Detections,
    Sample,
    Source,
    alike,
    collate,
    scaled,
    stacked,
)

Count = Annotated[int, Field(ge=1)]
Score = Annotated[float, Field(ge=0, lt=1)]
SHOWN = 6  # images of each kind


class Detection(Task):
    """Find the objects in images."""

    model: Detector
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "AP"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    split: Split = "test"

    def __init__(
        self,
        *,
        model: str = "nano",
        model_options: dict[str, Any] = {},  # noqa: B006  (a schema's default)
        data: Data = Data(),  # noqa: B008
        augmentation: Augmentation = Augmentation(),  # noqa: B008
        batch_size: Count | None = None,
        workers: Annotated[int, Field(ge=0)] = 0,
        multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        freeze: list[str] = [],  # noqa: B006
        steps: Count = 1000,
        accumulate: Count = 1,
        start: str | None = None,
        criterion: Criterion = "losses",
        reward: Reward = Reward(),  # noqa: B008
        relaxed: RelaxedPrecision = RelaxedPrecision(),  # noqa: B008
        most: Count = 100,
        floor: Score = 0.001,
        clear: Score = 0.3,
    ) -> None:
        require_coco_evaluation()
        self.data = data
        self.size = image_size(data)
        self.factory = registry().component("detection.models", model).load()
        self.options = check_options(self.factory, model_options, "task.model_options")
        self.categories = (
            list(self.splits.train.categories) if self.has_data else list(data.categories)
        )
        self.model = self.make_model()
        if self.has_data:
            self.model.usual_objects = usual_objects(self.splits.train)
        self.model.freeze(freeze)
        self.augmentation = augmentation.suiting(few=data.root is not None)
        self.workers, self.multi_scale = workers, multi_scale
        self.batch_size = batch_size or (16 if data.root is None else 8)
        self.most, self.floor, self.clear = most, floor, clear
        self.plain_from = int(steps * accumulate * (1 - augmentation.plain_share))
        self.start, self.criterion, self.reward, self.relaxed = start, criterion, reward, relaxed
        self.failure: UserError | None = None  # of taking the start's parameters
        self.knows_labels = False  # whether these came with the start's
        if criterion != "losses":
            self.model.hold_statistics()

    @property
    def has_data(self) -> bool:
        """Whether the images are here; a trained model is used also where they are not."""
        return self.data.root is None or Path(self.data.root).expanduser().is_dir()

    @cached_property
    def splits(self) -> Splits:
        """The images.

        Raises:
            UserError: they cannot be read.
        """
        return open_data(self.data, self.__dict__.get("categories", ()))

    def make_model(self) -> Detector:
        model: Detector = self.factory(max(1, len(self.categories)), **self.options)
        return model

    def program(self, estimator: Estimator) -> Program:
        """The losses; asked for when a training begins, which needs the images and takes the start's parameters.

        One that goes on needs no start and has its own parameters afterwards: only `batches` knows whether to complain.
        """
        assert self.splits
        if self.start is not None:
            run = Path(self.start).expanduser()
            try:
                self.knows_labels = begin_with(self.model, self.categories, run)
            except UserError as error:
                self.failure = error
        return super().program(estimator)

    def check_beginning(self) -> None:
        """Of a training that does not go on.

        Raises:
            UserError: it has no start to take, or a criterion that cannot teach what the start does not know.
        """
        if self.failure is not None:
            raise self.failure
        if not self.knows_labels:
            refuse_random_weights(self.criterion)
            if self.start is not None:
                told = "it has other labels; what is about these begins anew"
                print(f"task.start = '{self.start}': {told}", file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        """The names of the labels: a checkpoint says what its numbers mean."""
        return {"categories": list(self.categories)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the checkpoint's labels; where there were others, the images are read anew with these."""
        if state["categories"] == self.categories:
            return
        if len(state["categories"]) != self.model.classes:
            self.categories = list(state["categories"])
            self.model = self.make_model().to(self.device)
            self.__dict__.pop("parameters", None)
        self.categories = list(state["categories"])
        self.__dict__.pop("splits", None)

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Varied training images; batch number k is the same wherever a run begins."""
        if start == 0:
            self.check_beginning()
        number = start
        for made in self.loaded(seed, start):
            yield self.rescaled(made, seed, number)
            number += 1

    def loaded(self, seed: int, start: int) -> Iterator[Batch]:
        """Batches at the usual size: with mosaic and mixup first, without them from `plain_from` on."""
        strong = self.augmentation.mosaic + self.augmentation.mixup > 0
        plain_from = self.plain_from if strong else 0
        if start < plain_from:
            made = self.stream(seed, start, plain=False)
            for _ in range(start, plain_from):
                yield next(made)
        yield from self.stream(seed, max(start, plain_from), plain=True)

    def stream(self, seed: int, start: int, *, plain: bool) -> Iterator[Batch]:
        source = Augmented(self.splits.train, self.augmentation, self.size, plain=plain)
        size = min(self.batch_size, len(source))
        return batches(source, size, seed, start, workers=self.workers, collate=self.together)

    def together(self, samples: list[Sample]) -> Batch:
        return collate(samples, self.model.multiple)

    def rescaled(self, batch: Batch, seed: int, number: int) -> Batch:
        """The batch at a size drawn for it, from 1 - multi_scale to 1 + multi_scale times the usual one."""
        if not self.multi_scale:
            return batch
        draw = 2 * float(torch.rand((), generator=generator(seed, "scale", number))) - 1
        multiple = self.model.multiple
        height, width = batch.images.shape[-2:]
        tall, wide = (
            max(multiple, multiple * round(n * (1 + self.multi_scale * draw) / multiple))
            for n in (height, width)
        )
        images = functional.interpolate(batch.images.float(), (tall, wide), mode="bilinear")
        scale = (wide / width, tall / height)
        crowds = batch.crowds and batch.crowds._replace(boxes=scaled(batch.crowds.boxes, scale))
        return replace(
            batch,
            images=images.round().to(torch.uint8),
            boxes=scaled(batch.boxes, scale),
            crowds=crowds,
        )

    def objective(self, context: Context, batch: Batch) -> None:
        """What `criterion` says; by default the model's own losses, image by image."""
        charge(context, self.model, batch, self.criterion, self.reward, self.relaxed)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """COCO's numbers on held-out images, the precision of each class, and the kinds of errors."""
        self.split = split
        truths, found = self.judged()
        judged = precision(truths, found, self.categories)
        analysis = analyse(truths, found, len(self.categories), self.clear)
        tuned: dict[str, float] = {}
        if self.start is not None:
            samples = self.held_out()
            tuned = rewards(self.model, samples, self.reward, self.batch_size, seed)
        return judged.numbers | numbers(judged, analysis) | tuned

    def judged(self) -> tuple[list[Sample], list[Detections]]:
        """The held-out images without their pixels, and what the model finds in them, in the originals' pixels.

        Raises:
            UserError: all are damaged.
        """
        truths: list[Sample] = []

        def noted() -> Iterator[Sample]:
            for sample in self.held_out():
                truths.append(sample.without_pixels())
                yield sample

        found = list(self.find(noted()))
        if not truths:
            raise UserError(f"task.data.root: every image of the {self.split} data is damaged")
        return truths, found

    @property
    def judging(self) -> Source:
        """The data that judges now."""
        return self.splits.validation if self.split == "validation" else self.splits.test

    def held_out(self) -> Iterator[Sample]:
        """The images that judge, but damaged ones."""
        samples = (self.judging.sample(i) for i in range(len(self.judging)))
        return (sample for sample in samples if not sample.damaged)

    def find(self, samples: Iterable[Sample]) -> Iterator[Detections]:
        """What the model finds in samples, in the originals' pixels."""
        for part in alike(samples, self.batch_size, self.model.multiple):
            images = stacked([s.image for s in part], self.model.multiple).to(self.device)
            for sample, found in zip(
                part, self.model.detect(images, self.most, self.floor), strict=True
            ):
                on_cpu = Detections(*(tensor.cpu() for tensor in found))
                yield on_cpu.scaled(sample.scale, sample.size)

    def find_clear(self, images: Sequence[Tensor]) -> list[Detections]:
        """What is clear to see in images `[3, H, W]` of any size, in their own pixels."""
        bare = [bare_sample(image, self.size) for image in images]
        return [found.above(self.clear) for found in self.find(bare)]

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Pictures with boxes, `detections.json` in COCO's form and `detections.csv`."""
        return prediction.predict(source, self.find_clear, self.categories)

    def show(self, seed: int) -> Iterator[Media]:
        """The first and the worst held-out images with their boxes, and the figures of the evaluation."""
        truths, found = self.judged()
        judged = precision(truths, found, self.categories)
        analysis = analyse(truths, found, len(self.categories), self.clear)
        for number in range(min(SHOWN, len(truths))):
            yield self.pair(f"detections/{number}", number, truths[number], found[number])
        for place, number in enumerate(analysis.worst(SHOWN)):
            yield self.pair(f"worst/{place}", number, truths[number], found[number])
        yield Image.from_figure("precision", plot.precision_over_recall(judged, self.categories))
        yield Image.from_figure("confusion", plot.confusion(analysis, self.categories))
        yield Image.from_figure("errors", plot.errors(analysis))
        yield Text(
            "evaluation", json.dumps(whole(judged, analysis, truths, self.categories)), ".json"
        )

    def pair(self, name: str, number: int, truth: Sample, found: Detections) -> Image:
        """The truth on the left, what was found on the right; `number`: which of the judged images it is."""
        rest = range(number, len(self.judging))  # damaged ones before it were not judged
        samples = (self.judging.sample(i) for i in rest)
        sample = next(s for s in samples if s.image_id == truth.image_id)
        height, width = sample.image.shape[-2:]
        back = (1 / sample.scale[0], 1 / sample.scale[1])
        clear = found.above(self.clear).scaled(back, (height, width))
        true = annotated(sample.image, sample.boxes, sample.labels, self.categories)
        seen = annotated(sample.image, clear.boxes, clear.labels, self.categories, clear.scores)
        return Image(name, beside(true, seen))


def bare_sample(image: Tensor, size: int) -> Sample:
    """An image of which nothing is known, as a sample whose longer side is `size`."""
    none = torch.zeros(0)
    height, width = image.shape[-2:]
    bare = Sample(image, none.view(0, 4), none.long(), none.bool(), none, 0, (height, width))
    return resized(bare, size)


def numbers(judged: Precision, analysis: Analysis) -> dict[str, float]:
    """The numbers beside COCO's: of each class, and errors for each object that there was to find."""
    classes = {f"AP/{name}": both[0] for name, both in judged.classes.items()}
    objects = max(1, analysis.objects)
    errors = {f"errors/{kind}": count / objects for kind, count in analysis.errors.items()}
    return classes | errors | {"precision": analysis.precision, "recall": analysis.recall}


def whole(
    judged: Precision, analysis: Analysis, truths: Sequence[Sample], categories: Sequence[str]
) -> dict[str, Any]:
    """All that the evaluation found, as plain data."""
    curves = {
        name: [round(float(p), 4) for p in judged.curves[0, :, label]]
        for label, name in enumerate(categories)
    }
    return {
        "numbers": judged.numbers,
        "classes": {n: {"AP": ap, "AP50": ap50} for n, (ap, ap50) in judged.classes.items()},
        "precision at recall 0, .01, ..., 1 and IoU .50": curves,
        "errors": analysis.errors | {"right": analysis.right, "objects": analysis.objects},
        "confusion (rows: truth; last: nothing)": analysis.confusion.tolist(),
        "worst images": [truths[i].image_id for i in analysis.worst(50)],
    }
