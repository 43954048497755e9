"""Object detection: learn to say which objects an image holds and where, judged by COCO's average precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch.nn import functional

from framework import Context, Image, Program, Task, UserError
from framework.config import check_options
from framework.data import batches
from framework.plugin import registry
from framework.randomness import generator
from framework.trainer import load_for_use
from plugins.detection.augmentation import Augmentation, Augmented
from plugins.detection.data import Data, open_data, usual_objects
from plugins.detection.drawing import annotated, beside
from plugins.detection.metrics import precision, require_coco_evaluation
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.relaxed_precision import RelaxedPrecision, mean_average_precision
from plugins.detection.reward import Reward, expected_reward, set_costs
from plugins.detection.sample import Batch, Detections, Sample, Source, collate, scaled, stacked
from plugins.detection.truth import truth_of

Count = Annotated[int, Field(ge=1)]
CLEAR = 0.3  # scores from which a detection is shown


class Detection(Task):
    """Find the objects in images."""

    model: Detector
    batch_axes: ClassVar[int] = 1
    headline: ClassVar[str] = "AP"
    goal: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        *,
        model: str = "nano",
        model_options: dict[str, Any] = {},  # noqa: B006  (a schema's default)
        data: Data = Data(),  # noqa: B008
        augmentation: Augmentation = Augmentation(),  # noqa: B008
        batch_size: Count = 16,
        workers: Annotated[int, Field(ge=0)] = 0,
        multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        freeze: list[str] = [],  # noqa: B006
        steps: Count = 1000,
        accumulate: Count = 1,
        start: str | None = None,
        criterion: Literal["losses", "reward", "average_precision"] = "losses",
        reward: Reward = Reward(),  # noqa: B008
        relaxed: RelaxedPrecision = RelaxedPrecision(),  # noqa: B008
        most: Count = 100,
        floor: Annotated[float, Field(ge=0, lt=1)] = 0.001,
    ) -> None:
        require_coco_evaluation()
        self.splits = open_data(data)
        self.categories = list(self.splits.train.categories)
        factory = registry().component("models", model).load()
        options = check_options(factory, model_options, "task.model_options")
        self.model = factory(len(self.categories), **options)
        self.model.usual_objects = usual_objects(self.splits.train)
        self.model.freeze(freeze)
        self.augmentation, self.workers, self.multi_scale = augmentation, workers, multi_scale
        self.batch_size, self.most, self.floor = batch_size, most, floor
        self.plain_from = int(steps * accumulate * (1 - augmentation.plain_share))
        self.criterion, self.reward, self.relaxed = criterion, reward, relaxed
        self.start = start
        if start is not None:
            self.begin_with(Path(start))
        if criterion != "losses":
            self.model.hold_statistics()

    def begin_with(self, run: Path) -> None:
        """Take the parameters of an earlier run's best checkpoint.

        Raises:
            UserError: there is no such run, or its model is another one.
        """
        if not (run / "checkpoints").is_dir():
            raise UserError(
                f"task.start = '{run}': expected the folder of a detection run (null: random weights)"
            )
        load_for_use(self, run, "best")

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Varied training images; batch number k is the same wherever a run begins.

        Raises:
            UserError: a criterion that cannot teach a model from random weights.
        """
        if start == 0 and self.start is None and self.criterion != "losses":
            raise UserError(
                f"task.criterion = '{self.criterion}' tunes a trained model: "
                "task.start=RUN_FOLDER of `diffobj train experiment=detection`"
            )
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
        source = Augmented(self.splits.train, self.augmentation, self.splits.size, plain=plain)
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
        boxes = scaled(batch.boxes, (wide / width, tall / height))
        return Batch(images.round().to(torch.uint8), boxes, batch.labels, batch.owner)

    def objective(self, context: Context, batch: Batch) -> None:
        """The model's own losses, image by image; or the reward of sets of boxes; or a relaxed average precision."""
        if self.criterion == "losses":
            for name, loss in self.model.losses(batch).items():
                context.cost(loss, name)
            return
        truth = truth_of(batch)
        if self.criterion == "reward":
            found = self.model.candidates(batch.images, self.reward.candidates)
            set_costs(context, found, truth, self.reward)
            return
        found = self.model.candidates(batch.images, self.relaxed.candidates)
        context.cost(1 - mean_average_precision(found, truth, self.relaxed), "precision")

    def evaluate(self, seed: int) -> dict[str, float]:
        """COCO's numbers on held-out images, and the precision of each class."""
        truths, found = self.judged()
        judged = precision(truths, found, self.categories)
        classes = {f"AP/{name}": both[0] for name, both in judged.classes.items()}
        tuned = self.rewards(truths, seed) if self.start is not None else {}
        return judged.numbers | classes | tuned

    def rewards(self, samples: list[Sample], seed: int) -> dict[str, float]:
        """The mean reward of sets drawn for each image, and of the boxes above 1/2, on images at the model's size."""
        draws = torch.Generator().manual_seed(seed)
        parts = []
        for first in range(0, len(samples), self.batch_size):
            batch = self.together(samples[first : first + self.batch_size])
            found = self.model.candidates(batch.images.to(self.device), self.reward.candidates)
            on_cpu = Candidates(*(tensor.cpu() for tensor in found))
            parts.append(expected_reward(on_cpu, truth_of(batch), self.reward, draws))
        drawn, clear = torch.cat(parts, 1).mean(1).tolist()
        return {"reward": drawn, "reward_of_clear": clear}

    def judged(self) -> tuple[list[Sample], list[Detections]]:
        """The held-out images and what the model finds in them, in the originals' pixels."""
        source = self.splits.validation if self.stage == "validation" else self.splits.test
        truths = [source.sample(i) for i in range(len(source))]
        return truths, list(self.find(truths))

    def find(self, samples: list[Sample]) -> Iterator[Detections]:
        """What the model finds in samples, in the originals' pixels."""
        for first in range(0, len(samples), self.batch_size):
            part = samples[first : first + self.batch_size]
            images = stacked([s.image for s in part], self.model.multiple).to(self.device)
            for sample, found in zip(
                part, self.model.detect(images, self.most, self.floor), strict=True
            ):
                on_cpu = Detections(*(tensor.cpu() for tensor in found))
                yield on_cpu.scaled(sample.scale, sample.size)

    def show(self, seed: int) -> Iterator[Image]:
        """Some held-out images: the truth on the left, what was found on the right."""
        source: Source = self.splits.test
        samples = [source.sample(i) for i in range(min(6, len(source)))]
        for number, (sample, found) in enumerate(zip(samples, self.find(samples), strict=True)):
            height, width = sample.image.shape[-2:]
            back = (1 / sample.scale[0], 1 / sample.scale[1])
            clear = found.above(CLEAR).scaled(back, (height, width))
            true = annotated(sample.image, sample.boxes, sample.labels, self.categories)
            seen = annotated(sample.image, clear.boxes, clear.labels, self.categories, clear.scores)
            yield Image(f"detections/{number:02d}", beside(true, seen))
