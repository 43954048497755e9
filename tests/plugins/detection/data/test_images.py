"""Images as files have them: every kind, turned, huge, damaged; each is read as it is seen, or left out by name."""

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from framework.photographs import Unreadable, read_frames, read_photograph, size_of
from plugins.detection.data.folder import open_folder
from plugins.detection.sample import Sample
from tests.plugins.detection.data.folders import marked, picture


def test_images_of_every_kind_are_read_as_they_are_seen(tmp_path):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:10, :15] = (200, 40, 90)
    rgb = Image.fromarray(pixels)
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float()
    kinds = {
        "rgb.png": rgb,
        "palette.png": rgb.quantize(16),
        "palette.gif": rgb.quantize(16),
        "cmyk.tif": rgb.convert("CMYK"),
        "alpha.png": rgb.convert("RGBA"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / name)
        found = read_photograph(tmp_path / name)
        assert found.dtype == torch.uint8
        assert (found.float() - expected).abs().mean() < 4, name
    rgb.convert("L").save(tmp_path / "grey.png")
    grey = read_photograph(tmp_path / "grey.png")
    assert grey.shape == (3, 20, 30)
    assert torch.equal(grey[0], grey[2])
    deep = Image.fromarray(pixels[:, :, 0].astype(numpy.uint16) * 256)
    deep.save(tmp_path / "deep.png")
    assert read_photograph(tmp_path / "deep.png")[0, 0, 0] == 199


def test_a_photograph_is_turned_as_its_exif_says(tmp_path):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:5, :5] = 255  # top left as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    found = read_photograph(tmp_path / "a.jpg")
    assert tuple(found.shape) == (3, 30, 20)
    assert size_of(tmp_path / "a.jpg") == (30, 20)
    assert found[0, 2, 17] > 200  # top right as seen


def test_a_huge_or_damaged_image_is_refused(tmp_path, monkeypatch):
    picture(tmp_path / "a.png", 300, 300)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable):
        read_photograph(tmp_path / "cut.png")
    monkeypatch.setattr("framework.photographs.MAX_PIXELS", 1000)
    with pytest.raises(Unreadable, match="300 x 300"):
        read_photograph(tmp_path / "a.png")


def test_an_image_that_is_damaged_inside_holds_nothing_and_is_named_once(tmp_path, capsys):
    rows = []
    for number in range(4):
        noise = numpy.random.default_rng(number).integers(0, 255, (99, 99, 3)).astype(numpy.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,1,1,9,9,x\n")
    path = tmp_path / "2.png"
    path.write_bytes(path.read_bytes()[:9000])
    (tmp_path / "all.csv").write_text("".join(rows))
    opened = open_folder(tmp_path)
    samples: list[Sample] = []
    for part in (opened.train, opened.validation, opened.test):
        for _ in range(2):
            samples += [part.sample(i) for i in range(len(part))]
    assert sum(not len(s.boxes) for s in samples) == 2
    assert capsys.readouterr().err.count("2.png") == 1
    assert sum(s.damaged for s in samples) == 2


@pytest.mark.parametrize(("wrong", "total"), [(5, 10), (6, 10), (60, 400)])
def test_a_folder_of_images_that_are_damaged_inside_is_refused(tmp_path, wrong, total):
    """Its headers are whole; half of them may be, of at least a hundred."""
    marked(tmp_path / "whole.png", 50)
    whole = (tmp_path / "whole.png").read_bytes()
    for number in range(total):
        data = whole[:60] if number < wrong else whole
        (tmp_path / f"{number:03d}.png").write_bytes(data)
    (tmp_path / "train.csv").write_text(
        "".join(f"{number:03d}.png,1,1,9,9,x\n" for number in range(total))
    )
    (tmp_path / "test.csv").write_text("whole.png,1,1,9,9,x\n")
    opened = open_folder(tmp_path)

    def read():
        parts = (opened.train, opened.validation, opened.test)
        return [part.sample(i).damaged for part in parts for i in range(len(part))]

    if wrong == 5:
        assert sum(read()) == 5
    else:
        with pytest.raises(UserError, match=r"of \d+ images are damaged, the last in .*\.png"):
            read()


@pytest.mark.parametrize("suffix", ["webp", "tif"])
def test_the_frames_of_a_photograph_are_turned_as_its_exif_says(tmp_path, suffix):
    pixels = numpy.zeros((20, 30, 3), numpy.uint8)
    pixels[:5, :5] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    (frame,) = read_frames(path)
    assert torch.equal(frame, read_photograph(path))
    assert tuple(frame.shape) == (3, 30, 20)
    assert frame[0, 2, 17] > 200  # top right as seen
