"""The schema of a whole configuration: every core key, its type and its range."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from framework.config.types import Count, CountOrZero, Positive


class Section(BaseModel):
    """A part of the configuration: unknown keys, NaN and infinity are errors, and so is `true` for a number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        if stands_for_number(value, cls.model_fields[str(info.field_name)].annotation):
            raise PydanticCustomError("number", "expected a number, not true or false")
        return value


def stands_for_number(value: Any, annotation: Any) -> bool:
    """Whether there is a truth value where the annotation allows numbers only, in a list, too."""
    kinds = alternatives(annotation)
    if isinstance(value, list):
        parts = [part for kind in kinds for part in get_args(kind) if part is not ...]
        return any(stands_for_number(item, Union[*parts]) for item in value) if parts else False
    return isinstance(value, bool) and bool(kinds & {int, float}) and not kinds & {bool, Any}


def alternatives(annotation: Any) -> set[Any]:
    """The types that an annotation allows, without what else is said of them."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in alternatives(part)}
    return {annotation}


class Choice(BaseModel):
    """A component by its registered name; the other keys are its options, checked against its signature."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EarlyStopping(Section):
    """Stop when the task's primary metric is good enough, or has not improved for long enough."""

    # Evaluations without improvement.
    patience: Count | None = None
    # A value of the primary metric that is good enough.
    target: float | None = None


class QualitySettings(Section):
    """The live measurement of the estimator's bias, variance and cost."""

    every: CountOrZero = 2000
    repeats: Annotated[int, Field(ge=4)] = 16
    estimators: list[str] = []


class TrainerSettings(Section):
    """The training loop's options; `configs/trainer/default.yaml` explains each key."""

    steps: Count = 1000
    seconds: Positive | None = None
    stop_at: Count | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    compile: bool = False
    threads: Count | None = None
    ranks: Count | None = None
    launcher: Literal["torchrun", "ray"] = "torchrun"
    shards: Count | None = None
    sharding: Literal["none", "full"] = "none"
    activation_checkpointing: bool = False
    watchdog: Positive = 10.0
    accumulate: Count = 1
    clip_norm: Positive | None = None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    log_every: Count = 10
    evaluate_every: CountOrZero = 0
    checkpoint_every: CountOrZero = 0
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2
    early_stopping: EarlyStopping = EarlyStopping()
    on_nonfinite: Literal["skip", "roll_back", "stop"] = "skip"
    nonfinite_patience: Count = 10
    quality: QualitySettings = QualitySettings()


class MonitorSettings(Section):
    """What is shown and written while training."""

    tensorboard: bool = True
    loggers: list[Literal["tensorboard", "csv", "wandb", "mlflow"]] = []
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    histograms_every: CountOrZero = 0
    show_every: CountOrZero = 0


class Settings(Section):
    """A whole experiment, validated."""

    experiment: str
    input: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    task: Choice
    estimator: Choice
    optimizer: Choice
    scheduler: Choice
    trainer: TrainerSettings
    monitor: MonitorSettings
