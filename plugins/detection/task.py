"""Object detection: which objects an image holds and where, evaluated by COCO's average precision."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import tee
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, overload

import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydantic import Field
from torch import Tensor

from framework import Context, Program, Task, UserError, ranks
from framework.config.types import Count, CountOrZero, FractionBelowOne, Positive
from framework.config.validation import check_options
from framework.media import Media
from framework.photographs import photograph_of, photographs_of
from framework.plugin import registry
from framework.saved_state import check_saved
from framework.task import Split, TrainingPlan
from plugins.detection import prediction
from plugins.detection.data.augmentation import Augmentation
from plugins.detection.data.resizing import original, unlabelled_sample
from plugins.detection.data.splits import (
    Data,
    Splits,
    image_size,
    mean_objects_per_image,
    open_data,
)
from plugins.detection.data.training_batches import TrainingBatches
from plugins.detection.evaluation.metrics import require_coco_evaluation
from plugins.detection.evaluation.report import evaluate
from plugins.detection.evaluation.shown import shown
from plugins.detection.evaluation.thresholds import (
    DEFAULT,
    checked_threshold,
    tuned_thresholds,
)
from plugins.detection.export import export_detector
from plugins.detection.inspection.data_set import Inspection, inspect
from plugins.detection.limits import binding_limits, refuse_one_cell
from plugins.detection.models.detector import Detector
from plugins.detection.models.initial import PRETRAINED, load_initial_weights
from plugins.detection.objectives.relaxed_precision import RelaxedPrecision
from plugins.detection.objectives.reward import Reward
from plugins.detection.objectives.tuning import (
    Criterion,
    charge,
    mean_rewards,
    refuse_random_weights,
)
from plugins.detection.sample import (
    Batch,
    Detections,
    Sample,
    Source,
    batches_of_one_size,
    pad_and_stack,
)
from plugins.detection.tiles import Tiles, search


class Detection(Task):
    """Find the objects in images: boxes, labels and scores."""

    model: Detector
    batch_axes: ClassVar[int] = 1
    primary_metric: ClassVar[str] = "AP"
    metric_mode: ClassVar[Literal["min", "max"]] = "max"
    reports_best: ClassVar[bool] = True
    evaluates_in_parts: ClassVar[bool] = True
    metric_descriptions: ClassVar[Mapping[str, str]] = {
        "AP": "average precision as in COCO, mean over IoU 0.50 to 0.95",
        "AP50": "average precision at IoU 0.50",
        "AP75": "average precision at IoU 0.75",
        "AP_<size>": "average precision of small, medium or large objects",
        "AR<k>": "average recall with at most k detections in an image",
        "AR_<size>": "average recall of small, medium or large objects",
        "AP/<class>": "average precision of one class",
        "errors/<kind>": "errors of a kind for each object (Bolya et al. 2020)",
        "precision": "share of the detections above the display threshold that are right",
        "recall": "share of the objects that they detect",
        "reward": "mean reward of sampled sets of boxes",
        "reward_above_threshold": "mean reward of the boxes above the threshold",
        "reward_at_best": "the same at the best of 19 thresholds",
    }

    @staticmethod
    def inspect(options: Mapping[str, Any]) -> Inspection:
        """Look at the folder that these options name; see `diffobj inspect`."""
        chosen = ("model", "model_options", "max_detections")
        known = {name: options[name] for name in chosen if name in options}
        return inspect(options.get("data", Data()), **known)

    def __init__(
        self,
        *,
        model: str = "nano",
        model_options: dict[str, Any] = {},  # noqa: B006  (a schema's default)
        data: Data = Data(),  # noqa: B008
        augmentation: Augmentation = Augmentation(),  # noqa: B008
        batch_size: Count | None = None,
        workers: CountOrZero = 0,
        worker_timeout: Positive = 600.0,
        multi_scale: FractionBelowOne = 0.0,
        freeze: list[str] = [],  # noqa: B006
        init_from: str | None = None,
        criterion: Criterion = "losses",
        reward: Reward = Reward(),  # noqa: B008
        relaxed: RelaxedPrecision = RelaxedPrecision(),  # noqa: B008
        max_detections: Count = 100,
        score_threshold: FractionBelowOne = 0.001,
        display_threshold: FractionBelowOne | None = None,
        miss_cost: Positive | None = None,
        tiles: Tiles = Tiles(),  # noqa: B008
        track: bool = False,
    ) -> None:
        require_coco_evaluation()
        self.data = data
        self.size = image_size(data)
        self.name = model
        self.factory = registry().component("detection.models", model).load()
        self.options = check_options(self.factory, model_options, "task.model_options")
        self.splits_read: Splits | None = None
        self.categories = list(data.categories)
        self.category_ids: list[int] = [n + 1 for n in range(len(self.categories))]
        if self.has_data:
            self.categories = list(self.splits.train.categories)
            self.category_ids = self.splits.category_ids
        self.model = self.make_model()
        if self.has_data:
            self.model.mean_objects_per_image = mean_objects_per_image(self.splits.train)
        self.model.freeze(freeze)
        self.augmentation = augmentation.resolved(few=data.root is not None)
        self.workers, self.worker_timeout, self.multi_scale = workers, worker_timeout, multi_scale
        self.batch_size = batch_size or (16 if data.root is None else 8)
        self.max_detections = max_detections
        self.score_threshold = score_threshold
        self.display_threshold, self.miss_cost = display_threshold, miss_cost
        self.tiles, self.track = tiles, track
        # Chosen by each evaluation on validation images while training, and kept in checkpoints.
        self.tuned: list[float] = []
        self.learning = False
        self.init_from, self.criterion = init_from, criterion
        self.reward, self.relaxed = reward, relaxed
        # The number of the first batch without mosaic and mixup; `begin` knows it.
        self.plain_from = 0
        if criterion != "losses":
            self.model.freeze_batch_norm()

    @property
    def has_data(self) -> bool:
        """Whether the images are on this machine; a trained model can be used without them."""
        return self.data.root is None or Path(self.data.root).expanduser().is_dir()

    @property
    def thresholds(self) -> list[float]:
        """The score of each label from which a detection is shown, predicted and counted: given, tuned, or 0.3."""
        if self.display_threshold is not None or len(self.tuned) != len(self.categories):
            given = DEFAULT if self.display_threshold is None else self.display_threshold
            return [given] * len(self.categories)
        return self.tuned

    @property
    def splits(self) -> Splits:
        """The images, opened when they are first needed.

        Raises:
            UserError: they cannot be read.
        """
        if self.splits_read is None:
            self.splits_read = open_data(self.data, self.categories)
        return self.splits_read

    def make_model(self) -> Detector:
        model: Detector = self.factory(max(1, len(self.categories)), **self.options)
        return model

    def begin(self, plan: TrainingPlan) -> None:
        """Check that the images are there; a new run takes its parameters from `init_from`.

        Raises:
            UserError: no images, no such run, another model, or a criterion that needs a trained model.
        """
        if not self.has_data:
            raise UserError(f"task.data.root = '{self.data.root}': no such folder")
        refuse_one_cell(self.model, self.size, min(self.batch_size, len(self.splits.train)))
        self.learning = True
        share = 1 - self.augmentation.no_mosaic_fraction
        self.plain_from = int(plan.steps * plan.accumulate * share)
        if plan.resumed:
            return
        for line in binding_limits(self.model, self.splits.most_objects, self.max_detections):
            print(line, file=sys.stderr)
        same_labels, remark = False, ""
        if self.init_from is not None:
            same_labels, remark = load_initial_weights(
                self.model, self.name, self.categories, self.init_from
            )
        if not same_labels:
            refuse_random_weights(self.criterion)
        if remark:
            print(remark, file=sys.stderr)

    def state_dict(self) -> dict[str, Any]:
        """The labels' names and numbers, without which a checkpoint's outputs mean nothing, and thresholds."""
        return {
            "categories": list(self.categories),
            "category_ids": list(self.category_ids),
            "thresholds": list(self.tuned),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the checkpoint's labels; where they differ, the images are opened again with these."""
        kinds = {"category_ids": list[int], "thresholds": list[float]}
        check_saved(
            "the task",
            state,
            categories=Annotated[list[str], Field(min_length=1)],
            **{name: kind for name, kind in kinds.items() if name in state},
        )
        # Those of earlier versions hold neither.
        self.tuned = list(state.get("thresholds", ()))
        numbers = list(state.get("category_ids", ()))
        self.category_ids = numbers or [n + 1 for n in range(len(state["categories"]))]
        if state["categories"] == self.categories:
            return
        self.categories = list(state["categories"])
        if len(self.categories) != self.model.classes:
            self.replace_model(self.make_model())
        self.splits_read = None

    def batches(self, program: Program, seed: int, start: int) -> Iterator[Batch]:
        """Augmented training images; batch number k is the same wherever a run starts."""
        return TrainingBatches(
            self.splits.train,
            self.augmentation,
            self.size,
            self.batch_size,
            self.model.size_divisor,
            self.multi_scale,
            self.plain_from,
            self.workers,
            self.worker_timeout,
        ).start(seed, start)

    def objective(self, context: Context, batch: Batch) -> None:
        """Charge what `criterion` names; by default the model's own losses, image by image."""
        charge(context, self.model, batch, self.criterion, self.reward, self.relaxed)

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        """COCO's numbers on held-out images, the AP of each class, and the kinds of errors."""
        targets, detections = self.targets_and_detections(split)
        if ranks.rank() > 0:
            # The first process measures what all have found.
            return {}
        if split == "validation" and self.learning:
            classes = len(self.categories)
            self.tuned = tuned_thresholds(targets, detections, classes, self.miss_cost)
        found = evaluate(targets, detections, self.categories, self.thresholds)
        rewards: dict[str, float] = {}
        if self.init_from not in (None, PRETRAINED):
            samples = self.held_out(split)
            rewards = mean_rewards(self.model, samples, self.reward, self.batch_size, seed)
        return found.metrics() | rewards

    def targets_and_detections(self, split: Split) -> tuple[list[Sample], list[Detections]]:
        """Held-out images without their pixels, and the detections in them, in the original images' pixels.

        Raises:
            UserError: all images are damaged.
        """
        source = self.splits.held_out(split)

        def of(images: slice) -> list[tuple[Sample, Detections]]:
            own = self.searched(source, range(len(source))[images])
            return [(sample.without_pixels(), found) for _, sample, found in own]

        pairs = [pair for part in ranks.in_parts(len(source), of) for pair in part]
        if not pairs and ranks.rank() == 0:
            raise UserError(f"task.data.root: every image of the {split} data is damaged")
        return [sample for sample, _ in pairs], [found for _, found in pairs]

    def searched(
        self, source: Source, indices: Iterable[int]
    ) -> Iterator[tuple[int, Sample, Detections]]:
        """Images of a source by index, except damaged ones, with the detections in them, in the originals' pixels."""
        pairs = ((i, source.sample(i)) for i in indices)
        ours, theirs = tee((i, sample) for i, sample in pairs if not sample.damaged)
        if self.tiles.side is None:
            found = self.detections_in(sample for _, sample in theirs)
        else:
            found = (self.detections_by_tiles(original(source, i).image) for i, _ in theirs)
        for (i, sample), one in zip(ours, found, strict=True):
            yield i, sample, one

    def held_out(self, split: Split) -> Iterator[Sample]:
        """The images of a split except damaged ones."""
        source = self.splits.held_out(split)
        samples = (source.sample(i) for i in range(len(source)))
        return (sample for sample in samples if not sample.damaged)

    def detections_in(self, samples: Iterable[Sample]) -> Iterator[Detections]:
        """The detections in samples, in the original images' pixels, on the CPU."""
        divisor = self.model.size_divisor
        for part in batches_of_one_size(samples, self.batch_size, divisor):
            images = pad_and_stack([s.image for s in part], divisor).to(self.device)
            found = self.model.detect(images, self.max_detections, self.score_threshold)
            for sample, detections in zip(part, found, strict=True):
                yield detections.cpu().scaled(sample.scale, sample.size)

    def detections_by_tiles(self, image: Tensor) -> Detections:
        """The detections in an image `[3, H, W]` of any size, as a whole and by `tiles`, on the CPU."""

        def detect(parts: Sequence[Tensor]) -> list[Detections]:
            return list(self.detections_in(unlabelled_sample(part, self.size) for part in parts))

        return search(image, self.tiles, detect, self.max_detections)

    @overload
    def detect(
        self, image: str | Path | Pillow.Image | NDArray[Any], *, threshold: float | None = None
    ) -> Detections: ...

    @overload
    def detect(
        self, image: list[Any] | tuple[Any, ...], *, threshold: float | None = None
    ) -> list[Detections]: ...

    @overload
    def detect(
        self, image: Tensor, *, threshold: float | None = None
    ) -> Detections | list[Detections]: ...

    def detect(
        self, image: Any, *, threshold: float | None = None
    ) -> Detections | list[Detections]:
        """The objects in one image, or in each of several.

        Args:
            image: a path, a Pillow image, an array `[H, W, 3]` or `[H, W]`, or a tensor `[3, H, W]`; arrays and tensors
                are uint8 from 0 to 255 or floats from 0 to 1. Several: a list or tuple of these, or a tensor
                `[N, 3, H, W]`. EXIF orientation is applied to paths and Pillow images.
            threshold: the lowest score of a detection, from 0 to 1; None: that of its label, `thresholds`. None is
                below `score_threshold`.

        Returns:
            for one image its detections, best first: boxes `[K, 4]` as (x0, y0, x1, y1) in the image's own pixels,
            scores `[K]`, labels `[K]` and their K names, on the CPU; for several a list of these.

        Raises:
            UserError: no such file, or another type, shape or range of values.
        """
        if threshold is not None:
            threshold = checked_threshold(threshold)
        several = photographs_of(image)
        images = [photograph_of(image)] if several is None else several
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad():
                if self.tiles.side is None:
                    samples = (unlabelled_sample(one, self.size) for one in images)
                    found = list(self.detections_in(samples))
                else:
                    found = [self.detections_by_tiles(one) for one in images]
        finally:
            self.model.train(training)
        least = self.thresholds if threshold is None else threshold
        named = [one.above(least).named(self.categories) for one in found]
        return named[0] if several is None else named

    def predict(self, source: Path | None, seed: int) -> Iterator[Media]:
        """Pictures with boxes, `detections.json` in COCO's form and `detections.csv`."""

        def detect(frames: Sequence[Tensor]) -> list[Detections]:
            return self.detect(list(frames))

        return prediction.predict(
            source, detect, self.categories, self.category_ids, track=self.track
        )

    def export(self, path: Path, **options: Any) -> Path:
        """Write the model as ONNX (`.onnx`) or torch.export (`.pt2`), compare the file with it, and return the path.

        Args:
            options: of `plugins.detection.export.export_detector`: format, height, width, images.

        Raises:
            UserError: an unknown option or suffix, a model of torchvision's, or a file that computes something else.
        """
        return export_detector(self, path, **check_options(export_detector, options, "export")).path

    def show(self, seed: int) -> Iterator[Media]:
        """The first and the worst test images with their boxes, and the figures of the evaluation."""
        targets, detections = self.targets_and_detections("test")
        found = evaluate(targets, detections, self.categories, self.thresholds)
        source = self.splits.test
        return shown(source, targets, detections, found, self.categories, self.thresholds)
