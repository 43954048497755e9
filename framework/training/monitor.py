"""What a run shows and records: TensorBoard, a progress bar or plain lines, `metrics.jsonl`, `log.txt`, `media/`.

Tags keep to a small vocabulary: train/ (objective, estimator's extras), gradient/, evaluation/, time/, media/.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from framework.atomic import LineFile
from framework.config.explanation import first_line
from framework.config.schema import MonitorSettings
from framework.errors import UserError
from framework.media import Image, Media, Projection, Text, Video
from framework.training.folders.records import drop_records
from framework.training.loggers import make_loggers
from framework.training.progress_line import ProgressLine

# The name of a file of events: a time in seconds stands first in the rest.
EVENTS = "events.out.tfevents.{}"
# Seconds between two plain lines, at least, and the columns of one that no terminal limits.
LINE_SECONDS = 2.0
PIPE_COLUMNS = 120


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
        self.writer = make_writer(folder, start) if shown else None
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
        bar = not self.quiet and shows_bar(settings.progress)
        self.bar = make_bar(self.line) if bar else None
        self.last_line = -math.inf
        # They go on where the session before has stopped.
        self.started = time.monotonic() - seconds
        if damage:
            self.log(damage)

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
        if self.writer is not None:
            for tag, value in values.items():
                self.writer.add_scalar(tag, value, step)
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
            self.log(self.line.plain(self.width()))
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
            if self.writer is None:
                continue
            tag = f"media/{media.name}"
            if isinstance(media, Image):
                self.writer.add_image(tag, media.pixels, step, dataformats="HWC")
            elif isinstance(media, Video):
                add_animation(self.writer, tag, media, step)
            elif isinstance(media, Text):
                self.writer.add_text(tag, media.text, step)
            elif isinstance(media, Projection):
                sprites = media.pictures.float() / 255
                self.writer.add_embedding(media.vectors, media.labels, sprites, step, media.name)

    def histograms(self, step: int, parameters: Mapping[str, Tensor]) -> None:
        """Distributions of parameters and gradients; what is not finite is counted instead."""
        if self.writer is None:
            return
        for name, parameter in parameters.items():
            for kind, values in (("parameters", parameter), ("gradients", parameter.grad)):
                if values is None:
                    continue
                finite = values.detach()[torch.isfinite(values)]
                missing = values.numel() - finite.numel()
                if missing:
                    self.writer.add_scalar(f"{kind}/{name}/not_finite", missing, step)
                if finite.numel():
                    self.writer.add_histogram(f"{kind}/{name}", finite, step)

    def texts(self, texts: Mapping[str, str]) -> None:
        """Long texts such as the configuration, shown as written."""
        if self.writer is not None:
            for tag, text in texts.items():
                self.writer.add_text(tag, "    " + text.replace("\n", "\n    "), 0)

    def hyperparameters(
        self, options: Mapping[str, Any], metrics: Mapping[str, float], first: Sequence[str] = ()
    ) -> None:
        """The configuration with the final metrics, for TensorBoard's HPARAMS page.

        `add_hparams` would make a second, time-stamped run; the same three summaries go to this run's own writer.

        Args:
            first: groups and keys whose columns come first.
        """
        if self.writer is None:
            return
        from torch.utils.tensorboard.summary import hparams

        plain = {
            k: v if isinstance(v, bool | int | float | str) else str(v)
            for k, v in options.items()
            if not k.startswith("monitor.")
        }
        finals = {f"final/{name}": value for name, value in metrics.items()}
        experiment, *session = hparams(plain, finals)
        put_first(experiment, {*first, *(f"{group}.name" for group in first)})
        file_writer = self.writer._get_file_writer()
        for summary in (experiment, *session):
            file_writer.add_summary(summary)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        for name, logger in self.loggers.items():
            try:
                logger.close()
            except Exception as error:
                self.log(f"monitor.loggers: {name} was not closed: {first_line(error)}")
        for record in (self.writer, self.metrics, self.log_file):
            if record is not None:
                # The disk may be full, which the last write has reported.
                with suppress(OSError):
                    record.close()


def make_writer(folder: Path, start: int) -> Any:
    """TensorBoard's writer; steps that a stopped run had written beyond `start` are purged."""
    from torch.utils.tensorboard import SummaryWriter

    before = sorted(folder.glob(EVENTS.format("*")))
    put_before_now(before)
    return SummaryWriter(str(folder), purge_step=start + 1 if before else None)


def put_before_now(files: Sequence[Path]) -> None:
    """Rename earlier event files where the clock was put back, or no second has passed since.

    TensorBoard reads them in the order of the seconds in their names.
    """
    latest, moves = int(time.time()) - 1, []
    for file in reversed(files):
        second, _, rest = file.name.removeprefix(EVENTS.format("")).partition(".")
        if second.isdigit():
            if int(second) > latest:
                moves.append((file, file.with_name(EVENTS.format(f"{latest:010d}.{rest}"))))
            latest = min(int(second), latest) - 1
    # The earliest first: none comes where another still is.
    for file, earlier in reversed(moves):
        file.rename(earlier)


def add_animation(writer: Any, tag: str, video: Video, step: int) -> None:
    """An animated GIF as an image summary: TensorBoard's pages play it."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    _, height, width, _ = video.frames.shape
    image = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=video.encoded()
    )
    writer._get_file_writer().add_summary(
        Summary(value=[Summary.Value(tag=tag, image=image)]), step
    )


def put_first(experiment: Any, names: Set[str]) -> None:
    """Mark hyper-parameters as different between runs: TensorBoard shows these first, then the others by name."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    metadata = experiment.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(metadata.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in names
    metadata.content = data.SerializeToString()


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
