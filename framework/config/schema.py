"""The schema of a whole configuration: every core key, its type and its range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


CountOrNever = Annotated[int, Field(ge=0)]


Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Choice(BaseModel):
    """A component by its registered name; the other keys are its options, checked against its signature."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EarlyStopping(Section):
    """Stop when the task's headline metric is good enough, or has not improved for long enough."""

    patience: Count | None = None  # evaluations without improvement
    target: float | None = None  # a value of the headline metric that is good enough


class QualitySettings(Section):
    """The live measurement of the estimator's bias, variance and cost."""

    every: CountOrNever
    repeats: Annotated[int, Field(ge=4)]
    estimators: list[str]


class TrainerSettings(Section):
    """What the one loop may be told; `configs/trainer/default.yaml` explains each key."""

    steps: Count
    seconds: Positive | None
    stop_at: Count | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16", "float16"]
    compile: bool
    threads: Count | None
    accumulate: Count
    clip_norm: Positive | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    log_every: Count
    evaluate_every: CountOrNever
    checkpoint_every: CountOrNever
    keep_checkpoints: Annotated[int, Field(ge=2)]
    early_stopping: EarlyStopping
    nonfinite_patience: Count
    quality: QualitySettings


class MonitorSettings(Section):
    """What is shown and written while training."""

    tensorboard: bool
    progress: Literal["auto", "bar", "lines", "none"]
    histograms_every: CountOrNever
    show_every: CountOrNever


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
