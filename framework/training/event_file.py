"""TensorBoard's file of events: numbers, histograms, pictures, texts and the page of hyper-parameters of one session.

A thread of TensorBoard's writes it; what the disk refuses is raised, as an `OSError`, by the next call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from framework.media import Image, Media, Projection, Text, Video

# Its name: a time in seconds stands first in the rest.
EVENTS = "events.out.tfevents.{}"


class EventFile:
    """The file of one session; steps that a stopped run had written beyond `start` are purged.

    Raises:
        OSError: here and in all methods: the disk is full or refuses.
    """

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        silence_its_thread()
        before = sorted(folder.glob(EVENTS.format("*")))
        put_before_now(before)
        self.writer = SummaryWriter(str(folder), purge_step=start + 1 if before else None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        for tag, value in values.items():
            self.writer.add_scalar(tag, value, step)

    def media(self, step: int, media: Media) -> None:
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
        """Texts, shown as written."""
        for tag, text in texts.items():
            self.writer.add_text(tag, "    " + text.replace("\n", "\n    "), 0)

    def hyperparameters(
        self, options: Mapping[str, Any], metrics: Mapping[str, float], first: Sequence[str] = ()
    ) -> None:
        """The configuration with the final metrics.

        `add_hparams` would make a second, time-stamped run; the same three summaries go to this run's own writer.

        Args:
            first: groups and keys whose columns come first.
        """
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
        self.writer.close()


@cache
def silence_its_thread() -> None:
    """Keep the thread that writes the file from printing a traceback: what ends it is raised by the next call."""
    before = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        its = type(failed.thread).__module__.startswith("tensorboard.")
        if not (its and isinstance(failed.exc_value, OSError)):
            before(failed)

    threading.excepthook = hook


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

    height, width, _ = video.frames[0].shape
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
