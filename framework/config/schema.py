"""The schema of a whole configuration: every core key, its type and its range."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from framework.config.types import Count, CountOrZero, Positive


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
