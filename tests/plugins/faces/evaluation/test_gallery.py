"""A gallery keeps features, consent and a day; nothing in it is code, and people can be forgotten."""

import datetime
import json
from dataclasses import replace

import pytest
import torch

from framework import UserError
from plugins.faces.evaluation.calibration import (
    FILE,
    Calibration,
    load_calibration,
    need_calibration,
)
from plugins.faces.evaluation.clustering import clusters
from plugins.faces.evaluation.gallery import FORMAT, Gallery
from plugins.faces.models.networks import unit

TODAY = datetime.date(2026, 5, 1)
NEXT_YEAR = datetime.date(2027, 5, 1)


def some(count: int, seed: int = 0) -> torch.Tensor:
    return unit(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)))


def gallery() -> Gallery:
    filled = Gallery("abc")
    filled.enrol("Ann Lee", some(2), "signed form of 1 May 2026", TODAY, NEXT_YEAR)
    filled.enrol(
        "Björn", some(1, 1), "e-mail of 30 April 2026", TODAY, TODAY + datetime.timedelta(1)
    )
    return filled


def test_a_gallery_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "people.json"
    gallery().save(path)
    read = Gallery.load(path)
    assert read.model == "abc"
    assert list(read.people) == ["Ann Lee", "Björn"]
    ann = read.people["Ann Lee"]
    assert torch.allclose(ann.embeddings, some(2), atol=1e-6)
    assert (ann.consent, ann.enrolled, ann.expires) == (
        "signed form of 1 May 2026",
        TODAY,
        NEXT_YEAR,
    )
    assert [p.name for p in tmp_path.iterdir()] == ["people.json"]


def test_the_file_is_plain_json(tmp_path):
    gallery().save(tmp_path / "people.json")
    stored = json.loads((tmp_path / "people.json").read_text(encoding="utf-8"))
    assert stored["format"] == FORMAT
    assert set(stored["people"]["Björn"]) == {"consent", "enrolled", "expires", "embeddings"}


def test_more_pictures_of_a_person_are_added():
    filled = gallery()
    filled.enrol("Björn", some(3, 2), "new form", TODAY, NEXT_YEAR)
    assert filled.people["Björn"].embeddings.shape == (4, 6)
    assert filled.people["Björn"].consent == "new form"


def test_people_whose_day_is_over_are_not_known_any_more():
    filled = gallery()
    assert set(filled.known(TODAY)) == {"Ann Lee", "Björn"}
    assert set(filled.known(TODAY + datetime.timedelta(2))) == {"Ann Lee"}
    assert filled.known(NEXT_YEAR + datetime.timedelta(1)) == {}


def test_a_person_is_as_near_as_their_pictures_are_on_average():
    """So that a threshold of pairs holds: the cosine with a mean of norm 1 would be larger."""
    probe, pictures = some(1, 5)[0], some(2)
    assert torch.allclose(gallery().known(TODAY)["Ann Lee"] @ probe, (pictures @ probe).mean())


def test_a_forgotten_person_is_in_the_file_no_more(tmp_path):
    path = tmp_path / "people.json"
    filled = gallery()
    filled.forget("Ann Lee")
    filled.save(path)
    assert "Ann" not in path.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="'Bjorn' is not in the gallery; did you mean 'Björn'"):
        filled.forget("Bjorn")


@pytest.mark.parametrize(
    ("name", "consent", "expires", "message"),
    [
        (" ", "form", NEXT_YEAR, "name"),
        ("Cy", "", NEXT_YEAR, "consent"),
        ("Cy", "form", TODAY, "expires"),
    ],
)
def test_nobody_is_enrolled_without_a_name_a_note_of_consent_and_a_day_to_come(
    name, consent, expires, message
):
    with pytest.raises(UserError, match=message):
        gallery().enrol(name, some(1), consent, TODAY, expires)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format": "other"}',
        '{"format": "diffobj gallery 1", "model": "x"}',
        '{"format": "diffobj gallery 1", "model": "x", "people": {"a": {}}}',
        '{"format": "diffobj gallery 1", "model": "x", "people": {"a": {"embeddings": [[3, 0]], "consent": "",'
        ' "enrolled": "2026-01-01", "expires": "2027-01-01"}}}',
        '{"format": "diffobj gallery 1", "model": "x", "people": {"a": {"embeddings": [], "consent": "",'
        ' "enrolled": "2026-01-01", "expires": "2027-01-01"}}}',
    ],
)
def test_a_file_that_is_no_gallery_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "people.json"
    path.write_text(text)
    with pytest.raises(UserError, match="gallery = ") as message:
        Gallery.load(path)
    assert "\n" not in str(message.value)


USUAL = Calibration(
    threshold=0.4,
    far=0.01,
    tar=0.9,
    data="/people",
    people=4,
    pictures=9,
    impostor_pairs=100,
    genuine_pairs=9,
    model="abc",
    made="2026-05-01",
)


def test_a_threshold_is_only_taken_with_its_far_its_data_and_its_model(tmp_path):
    assert load_calibration(tmp_path, "abc") is None
    with pytest.raises(UserError, match="no threshold without data"):
        need_calibration(tmp_path, "abc")
    USUAL.save(tmp_path)
    assert need_calibration(tmp_path, "abc") == USUAL
    with pytest.raises(UserError, match="another checkpoint"):
        load_calibration(tmp_path, "xyz")
    replace(USUAL, data="").save(tmp_path)
    with pytest.raises(UserError, match="its FAR and its data"):
        load_calibration(tmp_path, "abc")
    (tmp_path / FILE).write_text('{"threshold": 0.4}')
    with pytest.raises(UserError, match="writes it again"):
        load_calibration(tmp_path, "abc")


def test_faces_are_grouped_while_they_are_near_on_average():
    embeddings = unit(
        torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [0, 0, 1], [1, 0.05, 0]])
    )
    assert clusters(embeddings, 0.8) == [[0, 2, 4], [1], [3]]
    assert clusters(embeddings, -1.0) == [[0, 1, 2, 3, 4]]
    assert clusters(embeddings[:1], 0.5) == [[0]]
    assert clusters(embeddings[:0], 0.5) == []
