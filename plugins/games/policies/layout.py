"""How the numbers of an observation are read: as they are, or as a picture of that many channels.

Three axes are a picture or a board. Bytes from 0 to 255 are pictures in any layout: grey ones without a channel axis
(gymnasium's GrayscaleObservation), and stacks of frames (its FrameStackObservation), which become channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy
from gymnasium import Space
from gymnasium.spaces import Box, Dict

# Bytes with a shorter side than this are numbers.
SMALLEST = 8


@dataclass(frozen=True)
class Layout:
    """A picture's axes.

    Attributes:
        shape: `[channels, height, width]`, as the convolutions see it.
        axes: of the observation.
        channels_last: of each frame.
    """

    shape: tuple[int, int, int]
    axes: int
    channels_last: bool

    @property
    def words(self) -> str:
        channels, height, width = self.shape
        return f"a picture of {channels} channel{'s'[: channels != 1]}, {height} x {width}"


def layout_of(space: Box) -> Layout:
    """The layout of a picture of two, three or four axes.

    The channel axis is the end of a frame's three that differs from the two others, as in a square board of many
    planes; else the smaller end.
    """
    shape = space.shape
    if len(shape) == 2:
        return Layout((1, *shape), 2, False)
    frames, frame = (1, shape) if len(shape) == 3 else (shape[0], shape[1:])
    first, middle, final = frame
    one_differs = (first == middle) != (middle == final)
    last = first == middle if one_differs else final < first
    channels, height, width = (frame[-1], *frame[:-1]) if last else frame
    return Layout((frames * channels, height, width), len(shape), last)


def is_picture(space: Space[Any]) -> bool:
    """Whether an observation is read as a picture where nothing else is asked for."""
    if not isinstance(space, Box) or 0 in space.shape:
        return False
    return len(space.shape) == 3 or (
        len(space.shape) in (2, 4)
        and has_bytes(space)
        and min(layout_of(space).shape[1:]) >= SMALLEST
    )


def can_be_picture(space: Space[Any]) -> bool:
    return isinstance(space, Box) and len(space.shape) in (2, 3, 4)


def has_bytes(space: Box) -> bool:
    """Whether values go from 0 to 255."""
    return bool((space.low == 0).all() and (space.high == 255).all())


def scale_of(space: Box) -> float:
    """What values are divided by: bytes, and pictures whose numbers go from 0 to 255 or more, become 0 to 1."""
    if 0 in space.shape:
        return 1.0
    if space.dtype == numpy.uint8:
        return max(float(space.high.max()), 1.0)
    highest = float(space.high.max())
    alike = bool((space.low == 0).all() and (space.high == highest).all())
    return highest if len(space.shape) >= 3 and alike and 255 <= highest < numpy.inf else 1.0


def decisions(space: Space[Any], name: str = "the observation") -> list[str]:
    """What was decided where an observation could be meant otherwise, a line each."""
    if isinstance(space, Dict):
        parts = space.spaces.items()
        return [line for key, part in parts for line in decisions(part, f"observation '{key}'")]
    if not isinstance(space, Box) or len(space.shape) == 3 or not is_picture(space):
        return []
    return [
        f"{name} {list(space.shape)} is read as {layout_of(space).words}; task.encoder=multilayer reads it as numbers"
    ]
