"""Prediction on videos: each frame is read, searched and shown; what cannot be read is reported."""

import csv
import io
import json

import numpy
import pytest
import torch

from framework import UserError
from framework.media import Text, Video
from plugins.detection import prediction, videos
from plugins.detection.data.generated import Generated
from plugins.detection.evaluation.boxes_on_images import draw_boxes
from plugins.detection.sample import Detections
from tests.plugins.detection.test_task import QUICK

av = pytest.importorskip("av")


def film(path, frames, rate=25, codec="mpeg4"):
    """Write frames `[H, W, 3]` as a video of little loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def scenes(count: int) -> list[numpy.ndarray]:
    source = Generated("test", count, 64)
    return [source.sample(i).image.permute(1, 2, 0).contiguous().numpy() for i in range(count)]


def squares(count: int, height=48, width=80) -> list[numpy.ndarray]:
    """Frame k is black with a white square at the column 4 k, the row 8."""
    frames = [numpy.zeros((height, width, 3), numpy.uint8) for _ in range(count)]
    for number, frame in enumerate(frames):
        frame[8:24, 4 * number : 4 * number + 16] = 255
    return frames


def find_white(frames) -> list[Detections]:
    """The box of what is white in each frame."""
    boxes = []
    for frame in frames:
        rows, columns = (torch.where((frame[0] > 128).any(axis))[0] for axis in (1, 0))
        boxes.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
    return [
        Detections(torch.tensor([box]).float(), torch.ones(1), torch.zeros(1).long())
        for box in boxes
    ]


def predicted(path, find=find_white):
    """The animation and the json that prediction makes of a file."""
    shown, text, _ = prediction.predict(path, find, ["square"], [1])
    assert isinstance(shown, Video)
    assert isinstance(text, Text)
    return shown, json.loads(text.text)


def test_every_frame_of_a_video_is_found_in_and_shown_at_its_speed(tmp_path):
    film(tmp_path / "a.mp4", squares(10), rate=20)
    parts = []

    def find(frames):
        parts.append(len(frames))
        return find_white(frames)

    shown, written = predicted(tmp_path / "a.mp4", find)
    assert shown.frames.shape == (10, 4 * 48, 4 * 80, 3)  # small pictures are enlarged
    assert shown.frames_per_second == 20
    assert [i["file_name"] for i in written["images"]] == [f"a.mp4#{k}" for k in range(10)]
    assert [note["image_id"] for note in written["annotations"]] == list(range(1, 11))
    for number, note in enumerate(written["annotations"]):
        assert note["bbox"] == pytest.approx([4 * number, 8, 16, 16], abs=1)
    assert parts == [10]


def test_a_long_large_video_is_read_in_parts_and_its_animation_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "FRAMES_IN_MEMORY", 4)
    monkeypatch.setattr(prediction, "MAX_FRAMES", 6)
    monkeypatch.setattr(prediction, "MAX_SIDE", 160)
    film(tmp_path / "a.mp4", squares(10, 200, 400))
    parts = []

    def find(frames):
        parts.append(len(frames))
        return find_white(frames)

    shown, written = predicted(tmp_path / "a.mp4", find)
    assert parts == [4, 4, 2]
    assert shown.frames.shape == (6, 80, 160, 3)
    assert len(written["images"]) == len(written["annotations"]) == 10
    assert {(i["width"], i["height"]) for i in written["images"]} == {(400, 200)}


def test_a_video_filmed_sideways_is_turned(tmp_path):
    """A file whose header says that it is to be shown after a quarter turn to the right."""
    path = tmp_path / "a.mp4"
    film(path, squares(3))
    data = path.read_bytes()
    header = data.index(b"tkhd") + 4
    matrix = slice(header + 40, header + 76)
    one, whole = 1 << 16, 1 << 30
    plain, right = ([one, 0, 0, 0, one, 0, 0, 0, whole], [0, one, 0, -one, 0, 0, 0, 0, whole])
    assert data[matrix] == b"".join(n.to_bytes(4, "big", signed=True) for n in plain)
    turned = b"".join(n.to_bytes(4, "big", signed=True) for n in right)
    path.write_bytes(data[: matrix.start] + turned + data[matrix.stop :])
    _, written = predicted(path)
    assert {(i["width"], i["height"]) for i in written["images"]} == {(48, 80)}
    for number, note in enumerate(written["annotations"]):  # the row 8 is 8 columns from the right
        assert note["bbox"] == pytest.approx([48 - 24, 4 * number, 16, 16], abs=1)


def test_a_video_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    film(tmp_path / "whole.mp4", scenes(8))
    whole = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        sound = av.AudioFrame.from_ndarray(
            numpy.zeros((1, 1024), numpy.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with av.open(str(tmp_path / "empty.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        container.start_encoding()
    for name, expected in (
        ("cut.mp4", "Invalid data"),
        ("sound.mp4", "it contains no video"),
        ("empty.avi", "it has no frame"),
    ):
        with pytest.raises(UserError, match=f"{name}.*{expected}"):
            list(prediction.predict(tmp_path / name, find_white, ["square"], [1]))


def test_predict_writes_a_film_and_boxes_for_each_frame_of_a_video(diffobj, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    assert diffobj("train", *QUICK, "trainer.steps=2", f"hydra.run.dir={run}").status == 0
    film(tmp_path / "a.mkv", scenes(5), rate=10)
    done = diffobj(
        "predict",
        f"run={run}",
        f"input={tmp_path / 'a.mkv'}",
        f"output={out}",
        "task.display_threshold=0.0",
    )
    assert done.status == 0, done.err
    with av.open(str(out / "a.mp4")) as shown:
        stream = shown.streams.video[0]
        assert (stream.width, stream.height, stream.average_rate) == (320, 320, 10)
        assert len(list(shown.decode(video=0))) == 5
    written = json.loads((out / "detections.json").read_text())
    assert [(i["file_name"], i["width"], i["height"]) for i in written["images"]] == [
        (f"a.mkv#{k}", 64, 64) for k in range(5)
    ]
    assert {note["image_id"] for note in written["annotations"]} == {1, 2, 3, 4, 5}
    rows = list(csv.DictReader((out / "detections.csv").open()))
    assert [row["image"] for row in rows] == [
        f"a.mkv#{note['image_id'] - 1}" for note in written["annotations"]
    ]


def test_a_film_has_every_frame_at_full_size_and_tracks(tmp_path, monkeypatch):
    monkeypatch.setattr(prediction, "MAX_FRAMES", 3)
    film(tmp_path / "a.mp4", squares(8, 200, 402), rate=20)
    film_shown, text, table = prediction.predict(
        tmp_path / "a.mp4", find_white, ["square"], [1], track=True
    )
    assert isinstance(text, Text)
    assert isinstance(table, Text)
    path = film_shown.save(tmp_path / "out")
    assert path.name == "a.mp4"
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(200, 402, 3)] * 8
    for frame, plain in zip(frames, squares(8, 200, 402), strict=True):
        pixels = torch.from_numpy(plain).permute(2, 0, 1)
        (found,) = find_white([pixels])
        drawn = draw_boxes(pixels, found.boxes, found.labels, ["square"], found.scores, tracks=[1])
        assert numpy.abs(frame.astype(float) - drawn).mean() < 3
    notes = json.loads(text.text)["annotations"]
    assert [note["track_id"] for note in notes] == [1] * 8
    rows = list(csv.DictReader(table.text.splitlines()))
    assert [row["track"] for row in rows] == ["1"] * 8


@pytest.mark.parametrize("shape", [(33, 47), (64, 31), (32, 32)])
def test_frames_of_any_sides_become_a_film(shape):
    """Odd sides are padded by a pixel, as the format halves colours; another size is scaled to the first one's."""
    writer = videos.FilmWriter(12.5)
    frames = [numpy.full((*shape, 3), 20 * k, numpy.uint8) for k in range(5)]
    for frame in [*frames, numpy.zeros((10, 20, 3), numpy.uint8)]:
        writer.add(frame)
    with av.open(io.BytesIO(writer.finish())) as container:
        assert container.streams.video[0].average_rate == 12.5
        read = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    even = tuple(side + side % 2 for side in shape)
    assert [frame.shape[:2] for frame in read] == [even] * 6
    assert abs(float(read[4].mean()) - 80) < 4
