"""One reader of photographs: every kind gives the exact pixels that are seen, or one line that says why not."""

import os
import struct
from io import BytesIO
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, ImageCms

from framework import UserError
from framework.photographs import (
    Unreadable,
    from_pillow,
    photograph_of,
    photographs_in,
    photographs_of,
    read_frames,
    read_photograph,
    read_small,
    size_of,
)

# Black, a grey, white and a lighter grey, in two rows.
GREY = numpy.array([[0, 100, 255], [200, 50, 10]], numpy.uint8)
COLOURS = numpy.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=numpy.uint8)


def grey_of(path: Path) -> list[list[int]]:
    pixels = read_photograph(path)
    assert pixels.shape[0] == 3
    assert torch.equal(pixels[0], pixels[1])
    assert torch.equal(pixels[0], pixels[2])
    found: list[list[int]] = pixels[0].tolist()
    return found


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_white_of_16_bit_grey_is_65535(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(GREY.astype(numpy.uint16) * 257).save(path)
    assert grey_of(path) == GREY.tolist()


@pytest.mark.parametrize("white", [1020, 65535])
def test_a_pgm_states_its_white(tmp_path, white):
    deep = GREY.astype(numpy.uint16) * (white // 255)
    head = f"P5 3 2 {white}\n".encode()
    (tmp_path / "a.pgm").write_bytes(head + deep.astype(">u2").tobytes())
    assert grey_of(tmp_path / "a.pgm") == GREY.tolist()


def test_a_brightness_does_not_depend_on_the_brightest_pixel(tmp_path):
    Image.fromarray(numpy.minimum(GREY, 100).astype(numpy.uint16) * 257).save(tmp_path / "a.png")
    assert grey_of(tmp_path / "a.png") == numpy.minimum(GREY, 100).tolist()


def test_white_of_a_float_tiff_is_one(tmp_path):
    Image.fromarray(GREY.astype(numpy.float32) / 255).save(tmp_path / "a.tif")
    assert grey_of(tmp_path / "a.tif") == GREY.tolist()


def test_a_tiff_may_state_its_white(tmp_path):
    Image.fromarray(GREY.astype(numpy.uint16) * 4).save(tmp_path / "a.tif", tiffinfo={281: 1020})
    assert grey_of(tmp_path / "a.tif") == GREY.tolist()


def test_white_may_be_zero_in_a_tiff(tmp_path):
    deep = (255 - GREY).astype(numpy.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.tif", tiffinfo={262: 0})
    data = (tmp_path / "a.tif").read_bytes()
    with Image.open(tmp_path / "a.tif") as image:
        stated = image.tag_v2[262]  # type: ignore[attr-defined]
    if stated != 0:
        # Pillow writes its own value: tag 262, a short, one of them.
        entry = b"\x06\x01\x03\x00\x01\x00\x00\x00"
        assert data.count(entry) == 1
        place = data.index(entry) + len(entry)
        (tmp_path / "a.tif").write_bytes(data[:place] + b"\0\0" + data[place + 2 :])
    assert grey_of(tmp_path / "a.tif") == GREY.tolist()


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (GREY.astype(numpy.float32), "grey floats from 0 to 255; expected 0 to 1"),
        (GREY.astype(numpy.float32) - 1, "grey floats from -1 to 254"),
        (numpy.full((2, 2), numpy.nan, numpy.float32), "grey floats from nan"),
        (GREY.astype(numpy.int32), "signed or 32-bit integers from 0 to 255"),
        (GREY.astype(numpy.uint16) * 16, "16-bit grey with values up to 4080 of 65535"),
    ],
)
def test_a_white_that_is_not_known_is_refused(tmp_path, values, why):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match=why):
        read_photograph(tmp_path / "a.tif")
    with pytest.raises(UserError, match=f"a.tif': .*{why}"):
        photograph_of(tmp_path / "a.tif")


def test_lossless_colours_are_exact_in_every_file(tmp_path):
    expected = torch.from_numpy(COLOURS).permute(2, 0, 1)
    image = Image.fromarray(COLOURS)
    for name, kind in {
        "rgb.png": image,
        "rgb.bmp": image,
        "rgb.tif": image,
        "rgb.webp": image,
        "rgb.ppm": image,
        "rgba.png": image.convert("RGBA"),
        "palette.png": image.quantize(256),
        "palette.gif": image.quantize(256),
    }.items():
        kind.save(tmp_path / name, lossless=True)
        assert torch.equal(read_photograph(tmp_path / name), expected), name


@pytest.mark.parametrize("suffix", ["jpg", "jfif", "mpo", "avif", "jp2"])
def test_lossy_files_are_read_nearly_exactly(tmp_path, suffix):
    smooth = numpy.linspace(0, 255, 64, dtype=numpy.uint8)[None, :, None].repeat(48, 0).repeat(3, 2)
    path = tmp_path / f"a.{suffix}"
    format = {"jfif": "JPEG", "mpo": "MPO"}.get(suffix)
    Image.fromarray(smooth).save(path, format)
    found = read_photograph(path).permute(1, 2, 0).float()
    assert (found - torch.from_numpy(smooth).float()).abs().mean() < 3
    assert size_of(path) == (48, 64)
    assert photographs_in(tmp_path) == [path]


def test_cmyk_and_one_bit_are_read_as_they_are_seen(tmp_path):
    for mode in ("CMYK", "1"):
        image = Image.fromarray(COLOURS).convert(mode)
        image.save(tmp_path / f"{mode}.tif")
        expected = torch.from_numpy(numpy.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
        assert torch.equal(read_photograph(tmp_path / f"{mode}.tif"), expected)
    Image.fromarray(COLOURS).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    difference = read_photograph(tmp_path / "a.jpg").float() - torch.from_numpy(COLOURS).permute(
        2, 0, 1
    )
    assert difference.abs().mean() < 40  # not inverted, which would be 85 away


def test_transparent_parts_are_white(tmp_path):
    image = Image.fromarray(numpy.dstack([COLOURS, numpy.zeros((12, 16), numpy.uint8)]))
    image.save(tmp_path / "a.png")
    assert int(read_photograph(tmp_path / "a.png").min()) == 255
    grey = Image.fromarray(GREY).convert("LA")
    grey.putalpha(0)
    assert int(from_pillow(grey).min()) == 255
    assert int(photograph_of(numpy.asarray(image)).min()) == 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_followed_also_in_deep_grey(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: numpy.rot90(a, -1),
        7: lambda a: numpy.rot90(a, 2).T,
        8: lambda a: numpy.rot90(a),
    }[orientation](GREY)
    for name, deep in (("a", False), ("deep", True)):
        path = tmp_path / f"{name}.png"
        Image.fromarray(GREY.astype(numpy.uint16) * 257 if deep else GREY).save(path, exif=exif)
        assert grey_of(path) == turned.tolist(), name
        assert size_of(path) == turned.shape
        with Image.open(path) as image:
            assert photograph_of(image)[0].tolist() == turned.tolist()


def test_frames_are_all_read(tmp_path):
    frames = [Image.fromarray(numpy.full((4, 6, 3), value, numpy.uint8)) for value in (0, 90, 250)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert [int(frame[0, 0, 0]) for frame in read_frames(tmp_path / "a.gif")] == [0, 90, 250]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "an empty file"),
        (b"no picture at all", "no image of a known kind"),
        (b"\xff\xd8\xff\xe0", "no image of a known kind"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, data, why):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(Unreadable, match=why):
        read_photograph(tmp_path / "a.jpg")
    assert size_of(tmp_path / "a.jpg") is None


def test_a_cut_or_huge_picture_is_refused(tmp_path, monkeypatch):
    noise = numpy.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=numpy.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(Unreadable, match=r"OSError|SyntaxError"):
        read_photograph(tmp_path / "cut.png")
    monkeypatch.setattr("framework.photographs.MAX_PIXELS", 100)
    with pytest.raises(Unreadable, match="60 x 60 pixels, more than 100"):
        read_photograph(tmp_path / "a.png")


def test_heic_without_its_package_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(Unreadable, match=r"HEIC needs the package pillow-heif: .*heic"):
        read_photograph(tmp_path / "a.heic")


def test_heic_is_read_as_it_looks(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    smooth = Image.fromarray(COLOURS).resize((64, 48), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.heic", quality=95, chroma=444)
    read = read_photograph(tmp_path / "a.heic")
    assert size_of(tmp_path / "a.heic") == tuple(read.shape[1:]) == (48, 64)
    expected = torch.from_numpy(numpy.array(smooth)).permute(2, 0, 1)
    assert (read.float() - expected.float()).abs().mean() < 6


def test_every_form_in_python_gives_the_same_pixels(tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    expected = torch.from_numpy(COLOURS).permute(2, 0, 1)
    for form in (
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        Image.fromarray(COLOURS),
        COLOURS,
        COLOURS.astype(numpy.int64),
        COLOURS.astype(numpy.uint32),
        COLOURS / 255,
        (COLOURS / 255).astype(numpy.float32),
        expected,
        expected.int(),
        expected / 255,
        (expected / 255).double(),
    ):
        assert torch.equal(photograph_of(form), expected), type(form)
    for grey in (GREY, GREY[..., None], torch.from_numpy(GREY)[None]):
        assert photograph_of(grey)[2].tolist() == GREY.tolist()
    batch = photographs_of(numpy.stack([COLOURS, COLOURS]))
    assert batch is not None
    assert [torch.equal(one, expected) for one in batch] == [True, True]
    assert photographs_of(COLOURS) is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (COLOURS.astype(numpy.float32), "floats from 0 to 255; expected floats from 0 to 1"),
        (COLOURS.astype(numpy.int32) * 257, "integers from 0 to 65535; expected integers from 0"),
        (COLOURS.astype(numpy.uint16), "values of type uint16"),
        (torch.zeros(3, 2, 2, dtype=torch.uint16), "values of type uint16"),
        (COLOURS.astype(numpy.int64) - 1, "integers from -1"),
        (COLOURS > 5, "values of type bool"),
        (COLOURS.astype(complex), "values of type complex128"),
        (torch.full((3, 2, 2), float("nan")), "floats from nan"),
        (COLOURS[:0], "holds no pixel"),
        (torch.from_numpy(COLOURS), r"a tensor of shape \[12, 16, 3\]; expected \[3, H, W\]"),
        (COLOURS.transpose(2, 0, 1), r"an array of shape \[3, 12, 16\]; expected \[H, W, 3\]"),
        (None, "NoneType; expected a path"),
        ("nowhere.png", "there is no such file"),
        (".", "a folder, not a picture"),
    ],
)
def test_other_forms_are_refused_in_one_line(given, why):
    with pytest.raises(UserError, match=why) as mistake:
        photograph_of(given)
    assert "\n" not in str(mistake.value)


def test_a_mistake_in_a_list_says_where():
    with pytest.raises(UserError, match=r"NoneType.*\(number 1 of 2, from 0\)"):
        photographs_of([COLOURS, None])


def test_linked_folders_are_followed_and_circles_end(tmp_path):
    inside, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (inside, elsewhere, inside / ".hidden"):
        folder.mkdir()
        Image.fromarray(COLOURS).save(folder / "a.PNG")
    os.symlink(elsewhere, inside / "linked")
    os.symlink(inside, elsewhere / "circle")
    found = [path.relative_to(inside).as_posix() for path in photographs_in(inside)]
    assert found == ["a.PNG", "linked/a.PNG"]


def test_a_jpeg_is_read_small_and_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (640, 320), (200, 40, 90)).save(tmp_path / "a.jpg", exif=exif)
    found = read_small(tmp_path / "a.jpg", 32)
    assert tuple(found.shape) == (3, 80, 40)
    assert (found[:, 40, 20] - torch.tensor([200, 40, 90])).abs().max() < 4


# Of Adobe RGB (1998), adapted to the white of profiles: the columns are red, green and blue in X, Y and Z.
ADOBE = numpy.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
SRGB = numpy.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def wide_profile() -> bytes:
    """A profile with Adobe's primaries and sRGB's curve."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)
    for number in range(count):
        name, place, _ = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
            column = ADOBE[:, b"rgb".index(name[0])]
            struct.pack_into(">3i", profile, place + 8, *(round(65536 * v) for v in column))
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))


def in_srgb(colour: tuple[int, ...]) -> numpy.ndarray:
    """A wide colour as sRGB's bytes, by both matrices."""
    values = numpy.array(colour) / 255
    linear = numpy.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    there = numpy.linalg.solve(SRGB, ADOBE @ linear).clip(0, 1)
    return 255 * numpy.where(there <= 0.0031308, 12.92 * there, 1.055 * there ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    "colour", [(120, 130, 90), (200, 100, 100), (10, 200, 40), (255, 255, 255)]
)
@pytest.mark.parametrize(("mode", "suffix"), [("RGB", "jpg"), ("RGB", "png"), ("RGBA", "png")])
def test_colours_of_a_wider_profile_become_those_that_are_seen(tmp_path, colour, mode, suffix):
    path = tmp_path / f"wide.{suffix}"
    shown = Image.new("RGB", (16, 16), colour).convert(mode)
    shown.save(path, icc_profile=wide_profile(), quality=100)
    seen = read_photograph(path)[:, 8, 8].numpy()
    assert numpy.abs(seen - in_srgb(colour)).max() < 2.5


def test_srgbs_own_profile_and_one_that_cannot_be_read_change_nothing():
    for profile in (ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(), b"junk"):
        file = BytesIO()
        Image.fromarray(COLOURS).save(file, "PNG", icc_profile=profile)
        assert torch.equal(
            photograph_of(Image.open(file)), torch.from_numpy(COLOURS).permute(2, 0, 1)
        )
