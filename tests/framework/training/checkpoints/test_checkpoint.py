"""Checkpoints: atomic, checked, plain; the newest undamaged one is found."""

import errno
import hashlib
import json
import os
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextlib import suppress
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from framework.atomic import write_atomically
from framework.errors import UserError
from framework.memory import OutOfMemory
from framework.training.checkpoints import checkpoint
from framework.training.checkpoints.checkpoint import (
    check_format,
    delete_after,
    list_checkpoints,
    load,
    load_newest,
    prune,
    save,
)
from framework.training.checkpoints.restoring import load_estimator, load_model, load_task
from framework.training.checkpoints.saving import Saving
from framework.training.folders.untrusted import Unreadable
from framework.training.stopping import Progress

STATE = {
    "step": 3,
    "model": {"w": torch.arange(6.0)},
    "note": "é",
    "list": [1, 2.5, None, (True, b"x")],
}


def saved(folder: Path, *steps: int) -> list[Path]:
    return [save(folder, checkpoint.name("step", n), {**STATE, "step": n}) for n in steps]


def test_what_was_saved_comes_back(tmp_path):
    (path,) = saved(tmp_path / "checkpoints", 3)
    read = load(path)
    assert torch.equal(read["model"]["w"], STATE["model"]["w"])  # type: ignore[index]
    assert {k: v for k, v in read.items() if k != "model"} == {
        k: v for k, v in STATE.items() if k != "model"
    }
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "step_000000003.json",
        "step_000000003.pt",
    ]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a bit flip": flip,
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
    "its record deleted": lambda path: path.with_suffix(".json").unlink(),
    "its record emptied": lambda path: os.truncate(path.with_suffix(".json"), 0),
    "its record no mapping": lambda path: path.with_suffix(".json").write_text("[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_a_damaged_newest_is_taken_and_said(tmp_path, damage):
    paths = saved(tmp_path, 1, 2, 3)
    DAMAGES[damage](paths[-1])
    said: list[str] = []
    assert load_newest(tmp_path, said.append)["step"] == 2
    assert len(said) == 1
    assert "step_000000003" in said[0]
    assert "trying the one before" in said[0]


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_all_are_damaged_there_is_an_error(tmp_path, damage):
    for path in saved(tmp_path, 1, 2):
        DAMAGES[damage](path)
    with pytest.raises(UserError, match="every step checkpoint is damaged"):
        load_newest(tmp_path, lambda said: None)


def test_where_there_is_none_there_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no step checkpoint"):
        load_newest(tmp_path / "nowhere", print)


def test_every_bit_counts(tmp_path):
    (path,) = saved(tmp_path, 1)
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(UserError, match="damaged"):
            load(path)


class Colour(Enum):
    RED = 1


class Size(IntEnum):
    SMALL = 1


pair = namedtuple("pair", "a b")
UNPLAIN: dict[str, Any] = {
    "numpy.float32": numpy.float32(1.5),
    "numpy.float64": numpy.float64(1.5),  # a float by inheritance
    "numpy.ndarray": numpy.zeros(2),
    "pathlib.PosixPath": Path("x"),
    "collections.deque": deque([1]),
    "collections.defaultdict": defaultdict(int),
    "Counter": Counter("a"),
    "Colour": Colour.RED,
    "Size": Size.SMALL,
    "Generator": torch.Generator(),
    "set": {1},
    "pair": pair(1, 2),
    "torch.dtype": torch.float32,
}


@pytest.mark.parametrize("kind", UNPLAIN)
def test_what_could_not_be_read_again_is_refused_by_its_key_when_saving(tmp_path, kind):
    state = {"estimator": {"history": [0, {"last": UNPLAIN[kind]}]}}
    with pytest.raises(UserError) as told:
        save(tmp_path, "step_000000001", state)
    assert "'estimator.history[1].last'" in str(told.value)
    assert kind in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_is_not_plain_is_refused_too(tmp_path):
    with pytest.raises(UserError, match=r"numpy\.int64"):
        save(tmp_path, "step_000000001", {"counts": {numpy.int64(1): 2}})


def test_whatever_is_accepted_can_be_read(tmp_path):
    state = {
        "ordered": OrderedDict(a=1),
        "parameter": nn.Parameter(torch.ones(2)),
        "size": torch.Size([2, 3]),
        "numbers": [1, 2.0, 3j, None, True, "s", b"b", (1, (2,))],
        "keys": {1: "a", (1, 2): "b", None: "c"},
        "float16": torch.ones(2, dtype=torch.bfloat16),
    }
    path = save(tmp_path, "step_000000001", state)
    assert load(path)["keys"] == state["keys"]


def test_a_file_that_holds_code_is_refused_even_with_the_right_checksum(tmp_path):
    path = tmp_path / "step_000000001.pt"
    torch.save({"model": Colour.RED}, path)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    checkpoint.write_record(path, {"sha256": digest, "bytes": len(data), "step": 1})
    with pytest.raises(UserError, match="no plain checkpoint"):
        load(path)


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_save_that_dies_at_any_moment_leaves_no_half_file(tmp_path, monkeypatch, moment):
    saved(tmp_path, 1)

    def die(*given: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, moment, die)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, 2)
    monkeypatch.undo()
    assert [p.stem for p in list_checkpoints(tmp_path)] == ["step_000000001"]
    assert load_newest(tmp_path, print)["step"] == 1
    saved(tmp_path, 2)  # what the attempt left does not hinder the next
    assert load_newest(tmp_path, print)["step"] == 2


def test_a_save_that_dies_between_its_two_files_is_passed_over(tmp_path, monkeypatch):
    saved(tmp_path, 1)
    write, calls = write_atomically, []

    def die_second(path: Path, data: bytes) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(path, data)

    monkeypatch.setattr(checkpoint, "write_atomically", die_second)
    with pytest.raises(KeyboardInterrupt):
        saved(tmp_path, 2)
    said: list[str] = []
    assert load_newest(tmp_path, said.append)["step"] == 1
    assert "step_000000002.json: missing" in said[0]


def test_a_disk_that_fills_up_while_writing_keeps_the_one_before(tmp_path, monkeypatch):
    saved(tmp_path, 1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        UserError, match=r"No space left on device \([\d,]+ bytes needed, [\d,]+ free\)"
    ):
        saved(tmp_path, 2)
    assert len(list(tmp_path.iterdir())) == 2
    assert load_newest(tmp_path, print)["step"] == 1


def closing_after_it() -> RuntimeError:
    """What torch.save raises: its own error comes as it closes the archive."""
    error = RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 2176 vs 2070")
    error.__context__ = MemoryError()
    return error


OUT_OF_MEMORY = [
    MemoryError(),
    closing_after_it(),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


def failing_with(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_save_without_memory_is_one_line_and_keeps_the_one_before(tmp_path, monkeypatch, error):
    saved(tmp_path, 1)
    monkeypatch.setattr(torch, "save", failing_with(error))
    with pytest.raises(OutOfMemory, match=r"step_000000002\.pt: not saved: out of memory"):
        Saving(tmp_path, 1).save(Progress(step=2), lambda: {**STATE, "step": 2})
    assert [path.stem for path in list_checkpoints(tmp_path)] == ["step_000000001"]
    assert load_newest(tmp_path, print)["step"] == 1


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_checkpoint_for_which_there_is_no_memory_is_not_passed_over(tmp_path, monkeypatch, error):
    saved(tmp_path, 1, 2)
    monkeypatch.setattr(torch, "load", failing_with(error))
    with pytest.raises(OutOfMemory, match=r"step_000000002\.pt: cannot be read: out of memory"):
        load_newest(tmp_path, print)


def test_pruning_keeps_the_newest_and_the_best(tmp_path):
    saved(tmp_path, 1, 5, 10, 20)
    save(tmp_path, "best_000000005", STATE)
    prune(tmp_path, 2, sound=19)
    assert [p.stem for p in list_checkpoints(tmp_path)] == ["step_000000010", "step_000000020"]
    assert [p.stem for p in list_checkpoints(tmp_path, "best")] == ["best_000000005"]
    assert len(list(tmp_path.iterdir())) == 6


def test_pruning_keeps_the_newest_that_had_a_finite_gradient(tmp_path):
    saved(tmp_path, 1, 5, 10, 20)
    prune(tmp_path, 2, sound=9)
    assert [p.stem for p in list_checkpoints(tmp_path)] == [
        f"step_{step:09d}" for step in (5, 10, 20)
    ]


def test_a_checkpoint_that_replaces_one_of_its_name_is_whole_at_any_moment(tmp_path, monkeypatch):
    """Each write is the last one in turn: the one before or the one after is read, never neither."""
    found = []
    for writes in range(3):
        folder = tmp_path / str(writes)
        saved(folder, 1)
        done: list[Path] = []

        def write(path: Path, data: bytes, done: list[Path] = done, writes: int = writes) -> None:
            if len(done) == writes:
                raise KeyboardInterrupt
            done.append(path)
            write_atomically(path, data)

        monkeypatch.setattr(checkpoint, "write_atomically", write)
        with suppress(KeyboardInterrupt):
            save(folder, "step_000000001", {**STATE, "step": 1, "note": "after"})
        monkeypatch.undo()
        found.append(load(folder / "step_000000001.pt")["note"])
    assert found == ["é", "é", "after"]


@pytest.mark.parametrize("version", [2, -1, "1", None, True])
def test_a_checkpoint_of_a_version_to_come_is_refused(version):
    with pytest.raises(UserError, match=r"this version reads up to 1"):
        check_format({"format": version})


WHOLE: dict[str, Any] = {
    "format": 1, "config": "", "step": 3, "progress": {"step": 3}, "model": {}, "average": None, "optimizer": {},
    "estimator": {}, "task": {}, "scaler": {},
}  # fmt: skip


def test_a_checkpoint_from_before_versions_is_read():
    check_format({key: part for key, part in WHOLE.items() if key not in {"format", "config"}})


@pytest.mark.parametrize("part", sorted(WHOLE.keys() - {"format", "config"}))
def test_a_checkpoint_without_a_part_or_with_a_wrong_one_is_one_line(part):
    with pytest.raises(UserError, match=f"^checkpoint: the run's state has no '{part}', only"):
        check_format({key: value for key, value in WHOLE.items() if key != part})
    with pytest.raises(UserError, match=f"^checkpoint: the run's '{part}' is str: Input should be"):
        check_format({**WHOLE, part: "x"})


def test_a_checkpoint_of_two_steps_is_refused():
    with pytest.raises(UserError, match="its step is another one than that of its progress"):
        check_format({**WHOLE, "step": 4})


def test_a_record_of_another_step_or_size_is_damage(tmp_path):
    (path,) = saved(tmp_path, 3)
    record = json.loads(path.with_suffix(".json").read_text())
    for change in ({"step": 4}, {"step": None}, {"bytes": 1}, {"more": 1}):
        checkpoint.write_record(path, record | change)
        with pytest.raises(UserError, match="damaged"):
            load(path)


def test_a_file_larger_than_the_memory_is_refused_unread(tmp_path, monkeypatch):
    (path,) = saved(tmp_path, 3)
    monkeypatch.setattr(checkpoint, "memory", lambda: 1000)
    with pytest.raises(UserError, match=r"step_000000003\.pt: more than 1,000 bytes$"):
        load(path)


def test_a_checkpoint_that_is_a_link_is_refused(tmp_path):
    (path,) = saved(tmp_path, 3)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"step_000000003\.pt: Too many levels of symbolic links"):
        load(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    (path,) = saved(tmp_path, 3)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 10**6)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    checkpoint.write_record(path, {"sha256": digest, "bytes": len(data), "step": 3})
    with pytest.raises(UserError, match=r"refused, no plain checkpoint \(it is compressed\)"):
        load(path)


def test_damaged_newer_checkpoints_do_not_push_good_ones_out_after_a_resume(tmp_path):
    paths = saved(tmp_path, 10, 20, 30)
    for path in paths[1:]:
        flip(path)
    assert load_newest(tmp_path, lambda said: None)["step"] == 10
    delete_after(tmp_path, 10)
    saved(tmp_path, 15)
    prune(tmp_path, 2, sound=14)
    assert [p.stem for p in list_checkpoints(tmp_path)] == ["step_000000010", "step_000000015"]


class Small:
    """Stands for a task: it has a model."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.model = nn.Linear(inputs, outputs)


def test_a_tensor_without_numbers_is_refused(tmp_path):
    """A few bytes can claim one of any size."""
    path = save(
        tmp_path, "step_000000003", {"step": 3, "a": [{"b": torch.empty(2, device="meta")}]}
    )
    with pytest.raises(
        UserError, match=r"refused, no plain checkpoint \(a tensor without numbers\)$"
    ):
        load(path)


def test_other_shapes_are_refused_and_named():
    state = nn.Linear(3, 4).state_dict()
    with pytest.raises(UserError, match=r"'weight' is \[4, 3\], the task's model expects \[4, 5\]"):
        load_model(Small(5, 4), state)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"'bias' is None"):
        load_model(Small(3, 4), {"weight": state["weight"]})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"'extra' is \[1\], the task's model expects None"):
        load_model(Small(3, 4), {**state, "extra": torch.ones(1)})  # type: ignore[arg-type]


def test_a_state_without_what_a_task_keeps_now_is_told_by_name():
    class Task:
        def load_state_dict(self, state):
            self.seen = state["seen"]

    with pytest.raises(UserError, match=r"the task's state has no 'seen', only \['people'\]"):
        load_task(Task(), {"people": 3})  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [{"memory": 3}, {"memory": None}, [1], 7])
def test_a_state_that_an_estimator_cannot_take_is_one_line(state):
    class Estimator:
        def load_state_dict(self, state):
            self.memory = dict(state["memory"])

    with pytest.raises(UserError, match="the estimator's state does not fit") as raised:
        load_estimator(Estimator(), state)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", [".pt", ".json", ""])
def test_what_cannot_be_read_now_is_not_passed_over(tmp_path, monkeypatch, suffix):
    """Passed over, it would be deleted: a resume goes on from the one before."""
    *_, newest = saved(tmp_path / "checkpoints", 3, 4)
    place = str(newest.with_suffix(suffix) if suffix else newest.parent)
    opened, listed = os.open, os.listdir

    def refusing(function: Any) -> Any:
        def tried(path: Any, *given: Any, **how: Any) -> Any:
            if str(path) == place:
                raise OSError(errno.EIO, os.strerror(errno.EIO), place)
            return function(path, *given, **how)

        return tried

    monkeypatch.setattr(os, "open", refusing(opened))
    monkeypatch.setattr(os, "listdir", refusing(listed))
    with pytest.raises(Unreadable, match=f"{place}: Input/output error"):
        load_newest(newest.parent, pytest.fail)
    monkeypatch.undo()
    assert load_newest(newest.parent, pytest.fail)["step"] == 4
