"""What a task shows: images, videos and texts, for TensorBoard and for the run folder."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy
from numpy.typing import NDArray
from PIL import Image as Pillow

from framework.atomic import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

Pixels = NDArray[numpy.uint8]
# How many pixels a video's palette is computed from.
PALETTE_PIXELS = 1_000_000


@dataclass(frozen=True)
class Image:
    """A picture, `[H, W, 3]` uint8."""

    name: str
    pixels: Pixels

    def encoded(self) -> bytes:
        """The picture as PNG."""
        buffer = io.BytesIO()
        Pillow.fromarray(self.pixels).save(buffer, "PNG")
        return buffer.getvalue()

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}.png", self.encoded())

    @classmethod
    def from_figure(cls, name: str, figure: Figure) -> Image:
        """A matplotlib figure as a picture; needs no display."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return cls(name, numpy.asarray(canvas.buffer_rgba())[:, :, :3].copy())


class PackedFrames(Sequence[Pixels]):
    """Frames `[H, W, 3]` uint8 of one size, compressed until they are read.

    A film of a drawn game has flat colours: its pixels outweigh the training, and packed they are a hundredth of that.
    """

    def __init__(self, frames: Iterable[Pixels] = ()) -> None:
        self.shape: tuple[int, ...] = ()
        self.packed: list[bytes] = []
        for frame in frames:
            self.append(frame)

    def append(self, frame: Pixels) -> None:
        """Add a frame at the end.

        Raises:
            ValueError: it has another size than those before.
        """
        if self.packed and frame.shape != self.shape:
            raise ValueError(f"a frame of shape {frame.shape} in a video of {self.shape}")
        self.shape = frame.shape
        self.packed.append(zlib.compress(numpy.ascontiguousarray(frame, numpy.uint8).data, 1))

    def __len__(self) -> int:
        return len(self.packed)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> PackedFrames: ...
    def __getitem__(self, index: int | slice) -> Pixels | PackedFrames:
        if isinstance(index, slice):
            return PackedFrames(self[i] for i in range(*index.indices(len(self))))
        pixels = numpy.frombuffer(zlib.decompress(self.packed[index]), numpy.uint8)
        return pixels.reshape(self.shape)


@dataclass(frozen=True)
class Video:
    """Frames `[T, H, W, 3]` uint8, written as an animated GIF, which TensorBoard plays as an image."""

    name: str
    frames: Pixels | Sequence[Pixels]
    frames_per_second: float = 25.0

    def encoded(self) -> bytes:
        """The frames as an animated GIF; all frames share their 256 colours, so that nothing flickers."""
        size = len(self.frames) * self.frames[0].size // 3
        stride = math.ceil(math.sqrt(size / PALETTE_PIXELS))
        # Some of every frame.
        some = [frame[::stride, ::stride].reshape(1, -1, 3) for frame in self.frames]
        palette = Pillow.fromarray(numpy.concatenate(some, 1)).quantize(256)
        # One after the other: all frames in four bytes a pixel would outweigh the training.
        drawn = (
            Pillow.fromarray(frame).quantize(palette=palette, dither=Pillow.Dither.NONE)
            for frame in self.frames
        )
        # GIF counts centiseconds.
        duration = max(20, 10 * math.ceil(100 / self.frames_per_second))
        buffer = io.BytesIO()
        next(drawn).save(
            buffer, "GIF", save_all=True, append_images=drawn, duration=duration, loop=0
        )
        return buffer.getvalue()

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}.gif", self.encoded())


@dataclass(frozen=True)
class Text:
    """A text such as a Markdown table or an SVG; `suffix` is its file's."""

    name: str
    text: str
    suffix: str = ".md"

    def save(self, folder: Path) -> Path:
        return write(folder / f"{self.name}{self.suffix}", self.text.encode())


@dataclass(frozen=True)
class Projection:
    """Vectors `[N, D]` with a label and a small square picture `[N, 3, S, S]` uint8 each, for TensorBoard's projector.

    In the run folder they are a table of tab-separated values.
    """

    name: str
    vectors: Tensor
    labels: list[str]
    pictures: Tensor

    def save(self, folder: Path) -> Path:
        lines = [
            "\t".join([label, *(f"{number:.6g}" for number in vector)])
            for label, vector in zip(self.labels, self.vectors.tolist(), strict=True)
        ]
        return write(folder / f"{self.name}.tsv", ("\n".join(lines) + "\n").encode())


Media = Image | Video | Text | Projection


def write(path: Path, data: bytes) -> Path:
    """Write a file, making the folders on the way; see `write_atomically`."""
    write_atomically(path, data)
    return path
