"""`diffobj inspect` for faces: what is in a folder of people, and in a list of faces."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from framework import UserError
from plugins.faces.inspection import inspect_list, inspect_people


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 40), **how: Any) -> None:
    coarse = numpy.random.default_rng(seed).integers(0, 256, (6, 6, 3)).astype(numpy.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, **how)


def people(root: Path) -> None:
    """ann has 3 pictures, bob 2, one of which is ann's as a JPEG, cleo one; what is beside them."""
    for n in range(3):
        picture(root / "ann" / f"{n}.png", n)
    picture(root / "bob" / "0.png", 10)
    picture(root / "bob" / "1.jpg", 2, quality=85)
    picture(root / "cleo" / "0.png", 20)
    (root / "cleo" / "bad.png").write_bytes(b"oops")
    (root / "empty").mkdir()
    picture(root / "loose.png", 30)


def test_a_folder_of_people_is_counted_and_its_faults_are_named(tmp_path: Path) -> None:
    people(tmp_path)
    found = inspect_people(str(tmp_path))
    assert found.counts == {
        "people": 3,
        "pictures": 6,
        "pictures of a person: fewest, median, most": "1, 2, 3",
    }
    assert found.faults == {
        "folders without a picture": ["empty"],
        "files beside the folders of people, which are not read": ["loose.png"],
        "pictures that cannot be read": ["cleo/bad.png"],
        "people with one picture, who form no pair of their own": ["cleo"],
        "pairs of pictures of two people that are one picture": ["ann/2.png and bob/1.jpg"],
    }
    assert found.pictures == []


LIST = """# a.png
10 10 20 20 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1
50 10 1 1 51 10 1 51 10 1 51 10 1 51 10 1 51 10 1
# b.png
200 200 20 20
# c.png
# missing.png
1 1 5 5
"""


def test_a_list_of_faces_is_counted_and_its_faults_are_named(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        picture(tmp_path / f"{name}.png", seed, (80, 60))
    (tmp_path / "label.txt").write_text(LIST)
    found = inspect_list(str(tmp_path / "label.txt"), str(tmp_path), 160)
    assert found.counts == {
        "photographs": 4,
        "without a face": 1,
        "faces": 4,
        "marked as invalid, and ignored": 0,
        "lower than 4 pixels at this size, and ignored": 1,
        "with landmarks": 1,
        "most faces in a photograph": 2,
    }
    assert found.faults == {
        "photographs with a box that lies outside them": ["b.png"],
        "photographs that are missing or cannot be read": ["missing.png"],
        "pairs of photographs that are one": ["a.png and c.png"],
    }
    assert [image.name for image in found.pictures] == ["sheet"]


def test_the_command_writes_what_it_prints(tmp_path: Path, diffobj: Any) -> None:
    people(tmp_path / "data")
    out = tmp_path / "out"
    done = diffobj(
        "inspect",
        "task=faces_recognition",
        f"task.data.root={tmp_path / 'data'}",
        f"output={out}",
    )
    assert done.status == 0, done.err
    assert "1 pictures that cannot be read: cleo/bad.png" in done.out
    assert (out / "inspection.md").read_text() in done.out
    assert json.loads((out / "inspection.json").read_text())["counts"]["people"] == 3
    assert sorted(path.name for path in out.iterdir()) == ["inspection.json", "inspection.md"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["task=faces"], "task = 'faces': it has no data of yours to inspect; expected detection"),
        (["task=faces_recognition"], "which folder? diffobj inspect task=faces_recognition"),
        (["task=face_detection"], "which list? diffobj inspect task=face_detection"),
        ([], "which folder? diffobj inspect task.data.root=FOLDER"),
    ],
)
def test_what_cannot_be_inspected_is_refused_in_one_line(
    arguments: list[str], expected: str, diffobj: Any
) -> None:
    done = diffobj("inspect", *arguments)
    assert done.status == 2
    assert expected in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_a_folder_without_a_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    with pytest.raises(UserError, match="no picture of a person can be read"):
        inspect_people(str(tmp_path))
