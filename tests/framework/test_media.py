"""What a task shows comes back from its file as it was."""

import io

import numpy
import pytest
from matplotlib.figure import Figure
from PIL import Image as Pillow

from framework.media import Image, PackedFrames, Text, Video


def frames_of(gif: bytes) -> list[numpy.ndarray]:
    """All frames as `[H, W, 3]`."""
    with Pillow.open(io.BytesIO(gif)) as opened:
        frames = []
        for i in range(getattr(opened, "n_frames", 1)):
            opened.seek(i)
            frames.append(numpy.asarray(opened.convert("RGB")))
        return frames


def test_a_picture_comes_back_from_its_png_bit_for_bit(tmp_path):
    pixels = numpy.random.default_rng(0).integers(0, 256, (17, 31, 3), dtype=numpy.uint8)
    path = Image("noise", pixels).save(tmp_path / "media")
    assert path == tmp_path / "media" / "noise.png"
    with Pillow.open(path) as opened:
        assert numpy.array_equal(numpy.asarray(opened), pixels)


@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_a_video_of_n_frames_plays_n_frames_in_their_colours(count):
    hues = numpy.random.default_rng(1).integers(0, 256, (count, 1, 1, 3), dtype=numpy.uint8)
    video = Video("colours", numpy.broadcast_to(hues, (count, 24, 32, 3)).copy())
    shown = frames_of(video.encoded())
    assert len(shown) == count
    for frame, hue in zip(shown, hues, strict=True):
        assert numpy.abs(frame.astype(int) - hue).max() <= 8


def test_a_colour_that_only_one_frame_has_is_kept():
    frames = numpy.full((30, 64, 64, 3), 120, dtype=numpy.uint8)
    frames += (
        4 * numpy.arange(30, dtype=numpy.uint8)[:, None, None, None]
    )  # no frame equals the next
    frames[7, 10:30, 10:30] = (255, 0, 0)
    shown = frames_of(Video("blink", frames).encoded())
    assert numpy.abs(shown[7][20, 20].astype(int) - (255, 0, 0)).max() <= 8


def test_a_large_video_keeps_its_colours_too():
    frames = numpy.zeros((12, 400, 600, 3), dtype=numpy.uint8)
    for i, frame in enumerate(frames):
        frame[:, : 50 * (i + 1)] = (20 * i, 250 - 20 * i, 90)
    shown = frames_of(Video("bar", frames).encoded())
    assert len(shown) == 12
    assert numpy.abs(shown[11][200, 300].astype(int) - (220, 30, 90)).max() <= 8


def test_packed_frames_are_the_same_film_in_a_hundredth_of_the_memory():
    frames = numpy.full((20, 400, 600, 3), 250, dtype=numpy.uint8)
    for i, frame in enumerate(frames):
        frame[200:, 20 * i : 20 * i + 50] = (20, 90, 200)
    packed = PackedFrames(frames)
    assert len(packed) == 20
    assert all(numpy.array_equal(a, b) for a, b in zip(packed, frames, strict=True))
    assert numpy.array_equal(numpy.stack(packed[3:9:2]), frames[3:9:2])
    assert numpy.array_equal(packed[-1], frames[-1])
    assert sum(map(len, packed.packed)) < frames.nbytes / 100
    assert Video("bar", packed).encoded() == Video("bar", frames).encoded()
    with pytest.raises(ValueError, match=r"shape \(2, 2, 3\) in a video of \(400, 600, 3\)"):
        packed.append(numpy.zeros((2, 2, 3), dtype=numpy.uint8))


@pytest.mark.parametrize(
    ("rate", "milliseconds"), [(25, 40), (50, 20), (30, 40), (10, 100), (200, 20)]
)
def test_a_frame_lasts_as_long_as_gif_can_tell(rate, milliseconds):
    frames = numpy.zeros((3, 8, 8, 3), dtype=numpy.uint8)
    frames[1] = 255
    with Pillow.open(io.BytesIO(Video("blink", frames, rate).encoded())) as opened:
        assert opened.info["duration"] == milliseconds
        assert opened.info["loop"] == 0


def test_a_still_scene_lasts_as_long_as_its_frames():
    gif = Video("still", numpy.zeros((10, 8, 8, 3), dtype=numpy.uint8), 25).encoded()
    total = 0
    with Pillow.open(io.BytesIO(gif)) as opened:
        for i in range(getattr(opened, "n_frames", 1)):
            opened.seek(i)
            total += opened.info["duration"]
    assert total == 400


def test_a_figure_becomes_a_picture_without_a_display():
    figure = Figure(figsize=(2, 1), dpi=50, facecolor=(1.0, 0.0, 0.0))
    image = Image.from_figure("figure", figure)
    assert image.pixels.shape == (50, 100, 3)
    assert tuple(image.pixels[0, 0]) == (255, 0, 0)


def test_a_text_keeps_its_suffix_and_its_letters(tmp_path):
    path = Text("drawing", "<svg>ä</svg>", ".svg").save(tmp_path)
    assert path.name == "drawing.svg"
    assert path.read_text(encoding="utf-8") == "<svg>ä</svg>"
