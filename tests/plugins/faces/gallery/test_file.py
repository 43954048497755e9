"""A gallery's file: read as it was written, checked field by field, private, and changed under all its names."""

import datetime
import json
import os
import random
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import UserError
from plugins.faces.gallery import Gallery
from plugins.faces.gallery import file as gallery_file
from plugins.faces.gallery.file import FORMAT, held, read_members, write_members
from plugins.faces.gallery.members import Members
from tests.plugins.faces.gallery.test_members import NEXT_YEAR, TODAY, members, some


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_members(tmp_path / "people.json", members())
    return tmp_path / "people.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_gallery_is_read_as_it_was_written(path):
    read = read_members(path)
    assert read.model == "abc"
    assert list(read.people) == ["Ann Lee", "Björn"]
    (ann,) = read.people["Ann Lee"]
    assert torch.allclose(ann.embeddings, some(2), atol=1e-6)
    assert (ann.note, ann.enrolled, ann.expires) == ("signed form of 1 May 2026", TODAY, NEXT_YEAR)
    assert [p.name for p in path.parent.iterdir()] == ["people.json"]


def test_the_file_is_plain_json(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored["format"] == FORMAT
    assert set(stored["people"]["Björn"][0]) == {"consent", "enrolled", "expires", "embeddings"}


def test_a_file_of_the_earlier_format_is_read_and_kept_in_the_present_one(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["format"] = "diffobj gallery 1"
    stored["people"] = {name: consents[0] for name, consents in stored["people"].items()}
    path.write_text(json.dumps(stored))
    read = read_members(path)
    assert list(read.people) == ["Ann Lee", "Björn"]
    write_members(path, read)
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == FORMAT


def test_only_its_owner_may_read_a_gallery_and_a_mode_of_ones_own_is_kept(tmp_path, path):
    before = os.umask(0)
    try:
        write_members(tmp_path / "other.json", members())
        assert mode(tmp_path / "other.json") == 0o600
        for chosen in (0o600, 0o640):
            path.chmod(chosen)
            write_members(path, members())
            assert mode(path) == chosen
    finally:
        os.umask(before)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_who_is_forgotten_through_a_link_is_forgotten_in_the_file_and_under_every_name(
    path, tmp_path, link: Callable[[Path, Path], None]
):
    other = tmp_path / "elsewhere" / "link.json"
    other.parent.mkdir()
    link(path, other)
    assert Gallery(other).forget("Ann Lee") == 0
    for name in (path, other):
        assert "Ann" not in name.read_text(encoding="utf-8")
        assert read_members(name).people == {}
        assert mode(name) == 0o600
    assert other.is_symlink() == (link is os.symlink)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["elsewhere", "link.json", "people.json"]


def test_whoever_waits_too_long_for_another_process_is_told(path, monkeypatch):
    monkeypatch.setattr(gallery_file, "PATIENCE", 0.05)
    with (
        held(path),
        pytest.raises(UserError, match="another process has been writing it"),
        held(path),
    ):
        pass
    with held(path):
        pass


def test_what_was_expired_is_deleted_by_whatever_changes_the_file(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    stored["people"]["Björn"][0] |= {"enrolled": "2020-01-01", "expires": "2020-01-02"}
    stored["people"]["Cy"] = stored["people"]["Ann Lee"]
    far = (datetime.date.today() + datetime.timedelta(9)).isoformat()
    for name in ("Ann Lee", "Cy"):
        stored["people"][name][0] |= {"enrolled": "2020-01-01", "expires": far}
    path.write_text(json.dumps(stored))
    assert set(Gallery(path).people()) == {"Ann Lee", "Björn", "Cy"}
    assert Gallery(path).forget("Cy") == 1
    assert "Björn" not in path.read_text(encoding="utf-8")
    path.write_text(json.dumps(stored))
    assert Gallery(path).purge() == ["Björn"]
    assert set(Gallery(path).people()) == {"Ann Lee", "Cy"}


def changed(**fields: Any) -> str:
    """A file in which Ann's consent has other fields."""
    entry = {
        "consent": "form",
        "enrolled": "2026-01-01",
        "expires": "2027-01-01",
        "embeddings": [[1.0, 0.0]],
    } | fields
    return json.dumps({"format": FORMAT, "model": "x", "people": {"Ann": [entry]}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "gallery = "),
        ("[]", "expected a file of format"),
        ("[" * 100_000, "gallery = "),
        ('{"format": "other"}', "expected a file of format"),
        (f'{{"format": "{FORMAT}", "model": "x"}}', "people: Field required"),
        (
            f'{{"format": "{FORMAT}", "model": 3, "people": {{}}}}',
            "model: Input should be a valid string",
        ),
        (f'{{"format": "{FORMAT}", "model": "x", "people": {{"a": []}}}}', "at least 1 item"),
        (
            f'{{"format": "{FORMAT}", "model": "x", "people": {{}}, "people": {{}}}}',
            "'people' stands in it twice",
        ),
        (changed(consent=""), "consent = ''"),
        (changed(consent=3), "consent: Input should be a valid string"),
        (changed(consent="a\u0000b"), r"U\+0000"),
        (changed(expires="soon"), "expires: Input should be a valid date"),
        (changed(expires=20270101), "expires: "),
        (changed(enrolled="2028-01-01"), "after the last day"),
        (changed(embeddings=[]), "at least 1 item"),
        (changed(embeddings=[[3, 0]]), "less than or equal to 1.001"),
        (changed(embeddings=[[0.5, 0.5]]), "expected embeddings of norm 1"),
        (changed(embeddings=[[1, 0], [1, 0, 0]]), "all of one length"),
        (changed(embeddings=[["1", "0"]]), "valid number"),
        (changed(embeddings=[[float("nan"), 0]]), "finite number"),
        (changed(pictures=3), "pictures: Extra inputs"),
        (changed().replace("Ann", "A\\u0007n"), r"U\+0007"),
        (changed().replace("Ann", "Bjo\\u0308rn"), "composed form"),
    ],
)
def test_a_file_that_is_no_gallery_is_refused_in_one_line(path, text, message):
    path.write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        read_members(path)
    assert str(refused.value).isprintable()


def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing.json"):
        with pytest.raises(UserError, match="gallery = "):
            read_members(tmp_path / name)


def test_three_hundred_mutated_files_are_read_or_refused_in_one_line(path):
    sound, dice = path.read_bytes(), random.Random(0)
    refused: list[str] = []
    for _ in range(300):
        mutated = bytearray(sound)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(mutated))
            kind = dice.randrange(4)
            if kind == 0:
                mutated[place] = dice.randrange(256)
            elif kind == 1:
                del mutated[place : place + dice.randint(1, 40)]
            elif kind == 2:
                mutated[place:place] = dice.choice([b"\x00", b'"', b"{", b"1e999", b"null", b"\\n"])
            else:
                del mutated[place:]
                mutated += b" "
        path.write_bytes(bytes(mutated))
        try:
            assert isinstance(read_members(path), Members)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 150
    assert all(message.isprintable() for message in refused)
