"""A user's folders and lists: valid ones are read, invalid ones are refused in one line."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from framework import UserError
from framework.photographs import MAX_PIXELS, refuse_huge
from plugins.faces.data.crops import Crops
from plugins.faces.data.lists import (
    lfw_picture,
    read_annotations,
    read_pairs,
    read_retinaface,
    read_wider,
)
from plugins.faces.data.photographs import (
    colourless,
    partition,
    people_files,
    read_people,
    read_photograph,
    refuse_leaks,
)


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (92, 112)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    random = numpy.random.default_rng(shade)
    pixels = random.integers(0, 255, (size[1], size[0])).astype(numpy.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_forty_people_with_ten_grey_pgm_pictures_each_are_read_in_the_order_of_their_numbers(
    tmp_path,
):
    for person in range(1, 41):
        for number in range(1, 11):
            picture(tmp_path / f"s{person}" / f"{number}.pgm", person * 100 + number)
    crops = read_people(tmp_path, 48)
    assert crops.images.shape == (400, 3, 48, 48)
    assert crops.names[:3] == ("s1", "s2", "s3")
    assert crops.names[9] == "s10"
    assert torch.equal(crops.people, torch.arange(40).repeat_interleave(10))
    assert colourless(file for files in people_files(tmp_path).values() for file in files)
    Image.new("RGB", (4, 4), (9, 9, 8)).save(tmp_path / "s40" / "11.png")
    assert not colourless(people_files(tmp_path)["s40"])


def test_an_unreadable_picture_is_named_and_left_out(tmp_path, capsys):
    for name in ("a", "b"):
        for number in range(2):
            picture(tmp_path / name / f"{number}.png", number + 5 * ord(name))
    (tmp_path / "a" / "9.png").write_bytes(b"no picture")
    (tmp_path / "a" / "notes.txt").write_text("not a picture either")
    assert len(read_people(tmp_path, 32)) == 4
    message = capsys.readouterr().err.splitlines()
    assert len(message) == 1
    assert "9.png" in message[0]


@pytest.mark.parametrize("kind", ["missing", "empty", "one_person", "one_each"])
def test_a_folder_from_which_nothing_can_be_learned_is_refused(tmp_path, kind):
    root = tmp_path / "faces"
    if kind != "missing":
        root.mkdir()
    if kind == "one_person":
        picture(root / "a" / "1.png")
        picture(root / "a" / "2.png", 1)
    if kind == "one_each":
        picture(root / "a" / "1.png")
        picture(root / "b" / "1.png", 1)
    with pytest.raises(UserError, match="expected a folder"):
        read_people(root, 32)


# Pillow's own, of a lower limit.
@pytest.mark.filterwarnings("ignore:Image size")
def test_a_picture_that_claims_more_pixels_than_are_allowed_is_refused(tmp_path):
    side = int(MAX_PIXELS**0.5) + 1000
    path = tmp_path / "bomb.png"
    Image.new("1", (side, side)).save(path)
    with pytest.raises(UserError, match="more than"):
        read_photograph(path)


def test_a_photograph_is_turned_as_its_camera_noted(tmp_path):
    upright = Image.new("RGB", (4, 8), "white")
    exif = Image.Exif()
    # To be turned by a quarter.
    exif[0x0112] = 6
    upright.save(tmp_path / "turned.jpg", exif=exif)
    assert read_photograph(tmp_path / "turned.jpg").size == (8, 4)


@pytest.mark.parametrize("name", ["deep.png", "deep.pgm"])
def test_a_photograph_of_16_bits_keeps_its_shades(tmp_path, name):
    shades = numpy.linspace(0, 65535, 48 * 48).reshape(48, 48).astype(numpy.uint16)
    Image.fromarray(shades).save(tmp_path / "deep.png")
    (tmp_path / "deep.pgm").write_bytes(b"P5 48 48 65535\n" + shades.astype(">u2").tobytes())
    read = numpy.asarray(read_photograph(tmp_path / name)).astype(int)
    assert abs(read - (shades // 257)[..., None]).max() <= 1


def test_what_is_transparent_is_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert (numpy.asarray(read_photograph(tmp_path / "a.png")) == 255).all()


def test_a_telephones_largest_photographs_are_not_too_large():
    refuse_huge(Image.new("1", (8160, 6144)))


def test_many_choose_the_checkpoint_by_others_than_those_it_is_judged_by():
    few, many = (partition(count, 0.375, 2, "people", 0) for count in (40, 100))
    assert (len(few.training), few.validation, len(few.test)) == (25, [], 15)
    parts = (many.training, many.validation, many.test)
    assert [len(part) for part in parts] == [56, 6, 38]
    assert sorted(person for part in parts for person in part) == list(range(100))
    four = partition(4, 0.1, 2, "people", 0)
    assert (four.test, four.training) == (four.order[:2], four.order[2:])
    assert len(partition(2, 0.5, 2, "people", 0).training) == 2


def crops(names: str, start: int) -> Crops:
    images = torch.arange(start, start + len(names))[:, None, None, None].expand(-1, 3, 4, 4)
    people = tuple(sorted(set(names)))
    return Crops(images.to(torch.uint8), torch.tensor([people.index(n) for n in names]), people)


def test_a_person_on_both_sides_and_a_picture_on_both_sides_are_refused():
    refuse_leaks(crops("aabb", 0), crops("ccdd", 10))
    with pytest.raises(UserError, match="'b' is among the people to train on and those to test on"):
        refuse_leaks(crops("aabb", 0), crops("bbcc", 10))
    with pytest.raises(UserError, match=r"one and the same picture is of 'b'.*and of 'c'"):
        refuse_leaks(crops("aabb", 0), crops("ccdd", 3))


def test_lfws_list_of_pairs_is_read(tmp_path):
    lines = ["2 2", "Ann 1 2", "Bob 3 4", "Ann 1 Bob 1", "Ann 2 Cy 1"]
    lines += ["Dan 1 2", "Eve 1 3", "Dan 1 Eve 1", "Dan 2 Eve 3"]
    path = tmp_path / "pairs.txt"
    path.write_text("\n".join(lines) + "\n")
    pairs = read_pairs(path)
    assert len(pairs) == 8
    assert [p.fold for p in pairs] == [0] * 4 + [1] * 4
    assert [p.same for p in pairs] == [True, True, False, False] * 2
    assert (pairs[3].second, pairs[3].second_number) == ("Cy", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1"),
        ("ten 300\n", "line 1"),
        ("1 1\nAnn 1 2\n", "promises 2"),
        ("1 1\nAnn 1 2\nAnn one Bob 1\n", "line 3"),
    ],
)
def test_a_wrong_list_of_pairs_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_pairs(path)


def test_lfws_layout_of_files(tmp_path):
    path = picture(tmp_path / "Ann_Lee" / "Ann_Lee_0012.png")
    assert lfw_picture(tmp_path, "Ann_Lee", 12) == path
    with pytest.raises(UserError, match="Ann_Lee_0013"):
        lfw_picture(tmp_path, "Ann_Lee", 13)


def test_wider_faces_list_with_an_empty_photograph_and_an_invalid_face(tmp_path):
    path = tmp_path / "wider.txt"
    path.write_text(
        "0--Parade/a.jpg\n2\n10 20 30 40 0 0 0 0 0 0\n1 2 3 4 0 0 0 1 0 0\n"
        "0--Parade/empty.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
        "1--Meeting/b.jpg\n1\n5 5 0 7 0 0 0 0 0 0\n"
    )
    first, empty, degenerate = read_wider(path)
    assert first.boxes.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert first.ignored.tolist() == [False, True]
    assert first.landmarks.isnan().all()
    assert empty.file == "0--Parade/empty.jpg"
    assert empty.boxes.shape == (0, 4)
    assert empty.landmarks.shape == (0, 5, 2)
    assert degenerate.boxes.shape == (0, 4)
    assert (first.dropped, empty.dropped, degenerate.dropped) == (0, 0, 1)


def test_empty_boxes_are_counted_and_a_photograph_without_another_is_no_background(
    tmp_path, capsys
):
    path = tmp_path / "wider.txt"
    path.write_text(
        "a.jpg\n2\n10 20 30 40\n5 5 -2 7\nempty.jpg\n0\n0 0 0 0\nb.jpg\n2\n5 5 0 7\n5 5 7 0\n"
    )
    first, empty = read_annotations(path)
    assert (first.file, first.boxes.tolist()) == ("a.jpg", [[10, 20, 40, 60]])
    assert (empty.file, len(empty.boxes)) == ("empty.jpg", 0)
    assert capsys.readouterr().err == (
        f"{path}: 3 faces dropped whose boxes are empty, the first in a.jpg; "
        "1 photographs left out that have no other: they are no background\n"
    )
    path.write_text("a.jpg\n1\n10 20 30 40\n")
    assert len(read_annotations(path)) == 1
    assert capsys.readouterr().err == ""


def test_retinafaces_labels_with_and_without_landmarks(tmp_path):
    path = tmp_path / "label.txt"
    points = "11 12 0.0 13 14 0.0 15 16 0.0 17 18 0.0 19 20 0.0 0.9"
    path.write_text(f"# a.jpg\n10 20 30 40 {points}\n1 2 3 4 {'-1 ' * 15}\n# b.jpg\n")
    first, empty = read_retinaface(path)
    assert first.boxes.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert first.landmarks[0].tolist() == [[11, 12], [13, 14], [15, 16], [17, 18], [19, 20]]
    assert first.landmarks[1].isnan().all()
    assert empty.boxes.shape == (0, 4)


def test_wrong_face_lists_are_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.jpg\nmany\n")
    with pytest.raises(UserError, match="number of faces"):
        read_wider(path)
    path.write_text("a.jpg\n2\n1 2 3 4\n")
    with pytest.raises(UserError, match="1 faces; expected 2"):
        read_wider(path)
    path.write_text("10 20 30 40\n")
    with pytest.raises(UserError, match="line 1: expected '# FILE'"):
        read_retinaface(path)
