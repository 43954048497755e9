"""What a run shows and records: TensorBoard, a progress bar or plain lines, `metrics.jsonl`, `log.txt`, `media/`.

Tags keep to a small vocabulary: train/ (objective, estimator's extras), gradient/, evaluation/, time/, media/.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from framework.atomic import LineFile
from framework.config.explanation import first_line
from framework.config.schema import MonitorSettings
from framework.errors import UserError
from framework.media import Media
from framework.training.event_file import EventFile
from framework.training.folders.records import drop_records
from framework.training.loggers import make_loggers
from framework.training.progress_line import ProgressLine

# Seconds between two plain lines, at least, and the columns of one that no terminal limits.
LINE_SECONDS = 2.0
PIPE_COLUMNS = 120
# Kinds of tags, and what the line of such numbers ends with.
EVALUATIONS = {"evaluation": "  (validation)", "final": "  (test)"}


class Monitor:
    """Writes one run's records; numbers arrive already collected, so nothing here waits for a device."""

    def __init__(
        self,
        folder: Path,
        settings: MonitorSettings,
        *,
        experiment: str,
        steps: int,
        start: int,
        end: int | None = None,
        metric: str = "objective",
        numbers: Mapping[str, str] = MappingProxyType({}),
        config: Mapping[str, Any] = MappingProxyType({}),
        evaluated: int = 0,
        quiet: bool = False,
    ) -> None:
        """Open the records of a session.

        Args:
            metric, numbers: what the console shows, see `ProgressLine`.
            config: the configuration by dotted key, for `monitor.loggers`.
            start, end: the steps between which the session trains.
            evaluated: the step of the latest evaluation that counts.
            quiet: print nothing.
        """
        self.folder = folder

        def comes_again(record: Mapping[str, Any]) -> bool:
            """What a killed run had recorded beyond its last checkpoint; evaluations that are repeated."""
            step, kinds = record["step"], {tag.partition("/")[0] for tag in record}
            return step > start or "final" in kinds or ("evaluation" in kinds and step > evaluated)

        seconds, damage = drop_records(folder / "metrics.jsonl", comes_again)
        self.metrics = LineFile(folder / "metrics.jsonl")
        self.log_file = LineFile(folder / "log.txt")
        shown = settings.tensorboard or "tensorboard" in settings.loggers
        self.loggers = make_loggers(
            settings.loggers,
            folder,
            experiment=experiment,
            config=config,
            comes_again=comes_again,
        )
        self.quiet = quiet or settings.progress == "none"
        self.line = ProgressLine(
            experiment, steps=steps, start=start, end=end, metric=metric, numbers=numbers
        )
        self.events: EventFile | None = None
        self.bar: Any = None
        if shown:
            self.open_events(start)
        if not self.quiet and shows_bar(settings.progress):
            self.bar = make_bar(self.line)
        self.last_line = -math.inf
        # They go on where the session before has stopped.
        self.started = time.monotonic() - seconds
        if damage:
            self.log(damage)

    def open_events(self, start: int) -> None:
        """Begin a file of events for TensorBoard."""
        try:
            self.events = EventFile(self.folder, start)
        except OSError as error:
            self.log(f"monitor.tensorboard: it gets nothing: {error.strerror or error}")

    def log(self, text: str) -> None:
        """A sentence for the console and `log.txt`."""
        self.log_file.append(text)
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False)
        elif not self.quiet:
            print(text, flush=True)

    def scalars(self, step: int, values: Mapping[str, float], *, announce: bool = False) -> None:
        """Numbers by tag. `announce` prints a line whatever was printed last."""
        record: dict[str, Any] = {
            "step": step,
            "seconds": round(time.monotonic() - self.started, 3),
        }
        record |= {tag: value if math.isfinite(value) else None for tag, value in values.items()}
        self.metrics.append(json.dumps(record))
        self.to_tensorboard(step, lambda events: events.scalars(step, values))
        for name, logger in list(self.loggers.items()):
            try:
                logger.scalars(step, values)
            except UserError:
                raise
            # A service that fails must not end a training.
            except Exception as error:
                del self.loggers[name]
                self.log(
                    f"monitor.loggers: {name} gets nothing from step {step}: {first_line(error)}"
                )
        self.line.update(step, values)
        now = time.monotonic()
        if announce or (self.bar is None and now - self.last_line >= LINE_SECONDS):
            split = evaluated_split(values) if announce else ""
            self.log(self.line.plain(self.width() - len(split)) + split)
            self.last_line = now

    def width(self) -> int:
        """The columns that a line may have."""
        if self.bar is not None:
            return int(self.bar.console.width)
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_COLUMNS

    def media(self, step: int, shown: Iterable[Media]) -> None:
        """Pictures, videos and texts: into `media/` and TensorBoard."""
        for media in shown:
            media.save(self.folder / "media")
            self.to_tensorboard(step, partial(EventFile.media, step=step, media=media))

    def histograms(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Distributions of parameters and gradients; what is not finite is counted instead."""
        self.to_tensorboard(step, lambda events: events.histograms(step, parameters))

    def texts(self, texts: Mapping[str, str]) -> None:
        """Long texts such as the configuration, shown as written."""
        self.to_tensorboard(0, lambda events: events.texts(texts))

    def hyperparameters(
        self, options: Mapping[str, Any], metrics: Mapping[str, float], first: Sequence[str] = ()
    ) -> None:
        """The configuration with the final metrics, for TensorBoard's HPARAMS page; `first` are its first columns."""
        self.to_tensorboard(None, lambda events: events.hyperparameters(options, metrics, first))

    def to_tensorboard(self, step: int | None, write: Callable[[EventFile], None]) -> None:
        """Let TensorBoard have something, where there is one; what it could not write ends it, but no training."""
        if self.events is None:
            return
        try:
            write(self.events)
        except OSError as error:
            self.events = None
            since = "at the end of the run" if step is None else f"from step {step}"
            self.log(f"monitor.tensorboard: it gets nothing {since}: {error.strerror or error}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        for name, logger in self.loggers.items():
            try:
                logger.close()
            except Exception as error:
                self.log(f"monitor.loggers: {name} was not closed: {first_line(error)}")
        # The disk may be full, which is no news where it has ended the training.
        with suppress(UserError):
            self.to_tensorboard(None, EventFile.close)
        for record in (self.metrics, self.log_file):
            record.close()


def evaluated_split(values: Mapping[str, float]) -> str:
    """What is added to the line of an evaluation: its numbers are not those of the other split."""
    kinds = {tag.partition("/")[0] for tag in values}
    return next((note for kind, note in EVALUATIONS.items() if kind in kinds), "")


def shows_bar(progress: str) -> bool:
    return progress == "bar" or (progress == "auto" and sys.stdout.isatty())


def make_bar(line: ProgressLine) -> Any:
    """A bar at the bottom of the terminal that follows a line's numbers."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text as RichText

    console = Console()

    def drawn() -> RichText:
        text = line.bar(console.width)
        if console.options.ascii_only:
            text = text.replace("━", "#").replace("─", "-")
        shown = RichText(text, no_wrap=True, overflow="crop")
        shown.highlight_regex("[━#]+", "green")
        shown.highlight_regex("─+", "dim")
        return shown

    live = Live(console=console, get_renderable=drawn)
    live.start()
    return live
