"""Files that are there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from framework.atomic import LineFile, delete_partials, write_atomically
from framework.errors import UserError
from tests.runs import files


@pytest.mark.parametrize("name", ["a.txt", "new/folders/a.txt", "x" * 255])
def test_what_is_written_is_there_and_nothing_else(tmp_path, name):
    for data in (b"first", b"second, longer", b""):
        write_atomically(tmp_path / name, data)
        assert (tmp_path / name).read_bytes() == data
    assert [path for path in files(tmp_path) if (tmp_path / path).is_file()] == [name]


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_leaves_what_was_there(tmp_path, monkeypatch, call, kind):
    path = tmp_path / "a.txt"
    write_atomically(path, b"before")

    def refuse(*given: object, **more: object) -> None:
        raise OSError(kind, os.strerror(kind))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(UserError) as told:
        write_atomically(path, b"after")
    monkeypatch.undo()
    assert str(told.value).startswith(f"{path}: {os.strerror(kind)}")
    assert path.read_bytes() == b"before"
    assert files(tmp_path) == ["a.txt"]


def test_a_write_that_takes_only_a_part_is_continued(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    write_atomically(tmp_path / "a.txt", b"0123456789")
    lines = LineFile(tmp_path / "b.txt")
    lines.append("0123456789")
    lines.close()
    assert (tmp_path / "a.txt").read_bytes() == b"0123456789"
    assert (tmp_path / "b.txt").read_bytes() == b"0123456789\n"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "target").write_text("mine")
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "a.txt", b"new")
    assert not (tmp_path / "a.txt").is_symlink()
    with pytest.raises(UserError, match=r"b\.txt: Too many levels of symbolic links"):
        LineFile(tmp_path / "b.txt")
    assert (tmp_path / "target").read_text() == "mine"


def test_files_that_a_kill_left_are_deleted_and_no_others(tmp_path):
    for name in (".partial-0", "deep/er/.partial-ab", "deep/a.partial-", ".lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    delete_partials(tmp_path)
    delete_partials(tmp_path / "nowhere")
    assert files(tmp_path) == [".lock", "deep", "deep/a.partial-", "deep/er"]


def test_a_line_is_not_glued_to_one_that_was_cut(tmp_path, monkeypatch):
    path = tmp_path / "lines"
    path.write_bytes(b'{"step": 1}\n{"st')
    lines = LineFile(path)
    lines.append('{"step": 3}')
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) - 4])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(UserError, match="No space left on device"):
        lines.append('{"step": 4}')
    monkeypatch.undo()
    lines.append('{"step": 5}')
    lines.close()
    lines.close()
    assert path.read_bytes() == b'{"step": 1}\n{"st\n{"step": 3}\n{"step":\n{"step": 5}\n'


def test_text_that_is_no_utf8_is_written_all_the_same(tmp_path):
    lines = LineFile(tmp_path / "log.txt")
    lines.append("a \udcff name", flush=True)
    lines.close()
    assert Path(tmp_path / "log.txt").read_bytes() == b"a \\udcff name\n"
