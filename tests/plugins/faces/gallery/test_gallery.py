"""A gallery in Python: people are enrolled, recognised and forgotten, also by several processes at once."""

import datetime
import multiprocessing
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from framework import UserError
from plugins.faces.gallery import Gallery
from plugins.faces.gallery.file import held, read_members, write_members
from plugins.faces.gallery.members import Members
from plugins.faces.synthetic.crops import synthetic_crops
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition

CROPS = synthetic_crops(0, 0, 6, 4, 48)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Recognition:
    """An untrained network with a calibration by 100 other people of the synthetic ones."""
    torch.manual_seed(0)
    task = Recognition(data=Data(people=2, pictures=2, side=48))
    task.loaded(tmp_path_factory.mktemp("run"))
    return task


def calibrate(faces: Recognition, folder: Path) -> None:
    crops = synthetic_crops(1, 500, 15, 3, 48)
    for number, (image, person) in enumerate(zip(crops.images, crops.people.tolist(), strict=True)):
        place = folder / f"p{person}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(place / f"{number}.png")
    faces.calibrate(folder, far=0.2)


def test_people_are_enrolled_and_recognised_from_any_form_of_picture(faces, tmp_path):
    calibrate(faces, tmp_path / "others")
    gallery = Gallery(tmp_path / "people.json", faces)
    array = CROPS.images[0].permute(1, 2, 0).numpy()
    assert (
        gallery.enrol("Ann", [array, Image.fromarray(array), CROPS.images[1]], consent="form") == 3
    )
    assert gallery.enrol("Ann", CROPS.images[2], consent="form") == 4
    # A batch is several pictures.
    assert gallery.enrol("Ann", CROPS.images[1:3], consent="form") == 6
    assert gallery.enrol("Bo", CROPS.images[4], consent="form", expires="2999-12-31") == 1
    (answer,) = gallery.identify(CROPS.images[4], fpir=0.5)
    assert (answer.person, answer.nearest) == ("Bo", "Bo")
    assert abs(answer.cosine - 1) < 1e-4
    assert answer.threshold == faces.need_calibration().identification_threshold(0.5, 2)
    with pytest.raises(UserError, match="image: list of 2; expected one image"):
        gallery.identify([CROPS.images[4], CROPS.images[5]])
    fpir: Any
    for fpir in (0, "0.1", float("nan")):
        with pytest.raises(UserError, match=r"fpir = .*: expected a fraction between 0 and 1"):
            gallery.identify(CROPS.images[4], fpir=fpir)
    with pytest.raises(UserError, match="'None' is not in the gallery"):
        gallery.forget(None)  # type: ignore[arg-type]
    assert gallery.forget("Bo") == 1
    assert list(gallery.people()) == ["Ann"]


def test_a_picture_of_which_nothing_can_be_seen_is_not_enrolled(faces, tmp_path):
    gallery = Gallery(tmp_path / "people.json", faces)
    tiny = CROPS.images[0][:, 20:26, 20:26]
    for blank in (
        torch.zeros(3, 48, 48, dtype=torch.uint8),
        torch.full((3, 90, 90), 200, dtype=torch.uint8),
        tiny,
    ):
        with pytest.raises(UserError, match="quality 0"):
            gallery.enrol("Ann", blank, consent="form")
    assert not gallery.path.exists()


def test_a_gallery_of_another_model_is_refused_before_anything_is_embedded(faces, tmp_path):
    gallery = Gallery(tmp_path / "people.json", faces)
    gallery.enrol("Ann", CROPS.images[0], consent="form")
    torch.manual_seed(1)
    other = Gallery(gallery.path, Recognition(data=Data(people=2, pictures=2, side=48)))
    with pytest.raises(UserError, match="of another model"):
        other.enrol("Bo", CROPS.images[4], consent="form")
    with pytest.raises(UserError, match="of another model"):
        other.identify(CROPS.images[4])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"consent": "form", "expires": "soon"}, "expires = 'soon'"),
        ({"consent": "form", "expires": datetime.date(2020, 1, 1)}, "expected a day after"),
        ({"consent": ""}, "consent = ''"),
        ({"consent": None}, "consent = None: expected a note"),
        ({"name": None}, "name = None: expected the person's name"),
        ({"name": "\u200d"}, r"name = '\\u200d': expected the person's name"),
        ({"pictures": []}, "no picture of 'Ann'"),
        ({"pictures": [["a.png"]]}, "image: list of 1; expected one image"),
    ],
)
def test_an_enrolment_that_cannot_be_is_refused_in_one_line(faces, tmp_path, arguments, message):
    usual = {"name": "Ann", "pictures": CROPS.images[0], "consent": "form"}
    with pytest.raises(UserError, match=message):
        Gallery(tmp_path / "g.json", faces).enrol(**(usual | arguments))
    with pytest.raises(UserError, match="gallery = None: expected a path"):
        Gallery(None, faces)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="expected a file in a folder that exists"):
        Gallery(tmp_path / "no" / "g.json", faces).enrol("Ann", CROPS.images[0], consent="form")
    with pytest.raises(UserError, match=r"expected Gallery\(path, framework"):
        Gallery(tmp_path / "g.json").enrol("Ann", CROPS.images[0], consent="form")


def enrol_twenty(path: Path, first: int) -> None:
    """What each of two processes does."""
    today = datetime.date.today()
    for number in range(first, first + 20):
        with held(path):
            members = read_members(path) if path.exists() else Members("abc")
            until = today + datetime.timedelta(1)
            members.enrol(f"person {number}", torch.eye(4)[:1], "form", today, until)
            write_members(path, members)


def test_two_processes_that_enrol_at_once_lose_no_person(tmp_path):
    path, context = tmp_path / "people.json", multiprocessing.get_context("fork")
    writers = [context.Process(target=enrol_twenty, args=(path, first)) for first in (0, 20)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert set(Gallery(path).people()) == {f"person {number}" for number in range(40)}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["people.json"]


def test_an_identification_rate_that_the_calibration_cannot_bound_is_refused(faces, tmp_path):
    calibrate(faces, tmp_path / "others")
    calibration = faces.need_calibration()
    assert calibration.people == 15
    assert calibration.person_pairs == 105
    with pytest.raises(
        UserError,
        match=r"fpir = 0\.1 in a gallery of 40 needs a calibration on 29 people",
    ):
        calibration.identification_threshold(0.1, 40)
    assert calibration.identification_threshold(0.5, 20) >= calibration.identification_threshold(
        0.5, 2
    )
