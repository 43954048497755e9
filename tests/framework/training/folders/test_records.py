"""`metrics.jsonl` read back: whatever has happened to it, what is whole is found and what is not is named."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from framework.errors import UserError
from framework.training.folders.manifest import last_session
from framework.training.folders.records import drop_records, read_records

WHOLE = [{"step": 1, "seconds": 0.5}, {"step": 2, "seconds": 1.25}, {"step": 3, "seconds": 2.0}]
DAMAGES = {
    "NULs": b"\0" * 40 + b"\n",
    "no UTF-8": b'{"step": 2, "name": "\xff\xfe"}\n',
    "half a line in between": b'{"step": 2, "seco\n',
    "a list": b"[1, 2]\n",
    "without a step": b'{"seconds": 3}\n',
    "a step that is no number": b'{"step": "2"}\n',
    "a step below 0": b'{"step": -5}\n',
    "nested without end": b"[" * 100_000 + b"\n",
    "empty": b"\n",
}


def written(path: Path, damage: bytes = b"") -> None:
    lines = [json.dumps(record).encode() + b"\n" for record in WHOLE]
    path.write_bytes(lines[0] + damage + lines[1] + lines[2])


def later_than(step: int) -> Any:
    return lambda record: record["step"] > step


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_lines_are_passed_over_and_named(tmp_path, damage):
    path, said = tmp_path / "metrics.jsonl", list[str]()
    written(path, DAMAGES[damage])
    assert read_records(path, said.append) == WHOLE
    assert said == [f"{path}: line 2 is damaged and passed over"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_resume_drops_damaged_lines_and_says_so(tmp_path, damage):
    path, said = tmp_path / "metrics.jsonl", list[str]()
    written(path, DAMAGES[damage])
    seconds, told = drop_records(path, later_than(2))
    assert (seconds, told) == (1.25, f"{path}: line 2 is damaged and dropped")
    assert read_records(path, said.append) == WHOLE[:2]
    assert said == []


def test_a_line_that_a_kill_has_cut_is_dropped_without_a_word(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "seconds": 0.5}\n{"step": 2, "train/obj')
    assert drop_records(path, later_than(9)) == (0.5, "")
    assert path.read_bytes() == b'{"step": 1, "seconds": 0.5}\n'


def test_a_file_of_which_nothing_goes_is_not_touched(tmp_path):
    path = tmp_path / "metrics.jsonl"
    written(path)
    before = path.stat()
    assert drop_records(path, later_than(3)) == (2.0, "")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_where_there_is_no_file_there_is_no_record(tmp_path):
    assert read_records(tmp_path / "nowhere", print) == []
    assert drop_records(tmp_path / "nowhere", later_than(0)) == (0.0, "")


def test_of_many_damaged_lines_the_first_are_named(tmp_path):
    path, said = tmp_path / "metrics.jsonl", list[str]()
    path.write_bytes(b"x\n" * 8)
    read_records(path, said.append)
    assert said == [f"{path}: lines 1, 2, 3, 4, 5, ... are damaged and passed over"]


@pytest.mark.parametrize("read", [lambda p: read_records(p, print), last_session])
def test_a_file_without_bounds_is_refused_before_it_is_read(tmp_path, read):
    path = tmp_path / "metrics.jsonl"
    # Sparse: it takes no room on the disk.
    path.touch()
    os.truncate(path, 2**40)
    with pytest.raises(UserError, match=r"metrics.jsonl: more than 536,870,912 bytes"):
        read(path)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="symbolic links"):
        read(path)
    path.unlink()
    assert not read(path)
