"""What comes from outside, changed at random: python -m tests.fuzz_run_folder [--count N] [--seed S].

Run folders (configuration, sessions, metrics, result, checkpoints), SVGs, galleries and label files in every form. Each
is understood or refused within 5 seconds, nothing beside its folder changes and nothing in it is executed. A refusal
is one line; that of a configuration is a line for each of its mistakes, so that all can be corrected at once.
Exits with 1 where something else happened; the seed and the number of a finding make it again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

import framework
from framework.errors import UserError
from framework.training.checkpoints import checkpoint
from plugins.detection.data.folder import open_folder
from plugins.detection.data.formats import Format
from plugins.detection.data.generated import Generated
from plugins.detection.data.writing import write
from plugins.faces.gallery.file import read_members, write_members
from plugins.faces.gallery.members import Members
from plugins.sketching.scene.starting import as_strokes
from plugins.sketching.svg.reading import read

SECONDS = 5
# The most that a refusal may count.
MISTAKES = 30
FORMS: tuple[Format, ...] = get_args(Format)
# What is put in the place of a word or a number.
WORDS = (
    b"", b"-1", b"0", b"1e999", b"nan", b"9" * 400, b"1e-320", b"null", b"true", b"[]", b"{}", b'"', b"\0", b"\xff",
    b"[" * 2000, b"../../outside", b"/etc/passwd", b"${oc.env:HOME}", b"${seed}", b"&a *a", b"!!python/name:os.system",
    b"framework.errors:UserError", b"\xe2\x80\xae", b"-0", b"x" * 5000, b"\n", b"%s", b"<!ENTITY a 'b'>",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, -1, 2**70, float("nan"), float("inf"), "x", b"", [], {}, (), True, [[]], {"a": {}}, torch.zeros(0),
    torch.zeros(1), torch.full((3, 2), float("nan")), torch.zeros(2, dtype=torch.complex64), torch.tensor(1),
)  # fmt: skip
# A run whose games go on from step to step: their state is in the checkpoint.
GAMES = [
    "estimator=ppo", "trainer.steps=2", "monitor.tensorboard=false", "task.games=4", "task.evaluation_episodes=1",
    "task.video_frames=2",
]  # fmt: skip
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 80"><g transform="rotate(20 3 4) scale(2,1.5)">
<path d="M 10 10 C 20 20 30 5 40 10 S 60 20 70 10 Q 3 4 5 6 T 9 9 A 5 4 30 1 0 50 60 H 4 V 5 Z" stroke="#fa0"/>
<rect x="1" y="2" width="30" height="20" rx="3" fill="rgb(1,2,3)" opacity=".5"/><circle cx="5" cy="6" r="7"/>
<polyline points="1,2 3,4 5,6" style="stroke:red;stroke-width:2px"/></g><line x1="1" y1="2" x2="3" y2="4"/></svg>"""


class TooLong(BaseException):
    """No exception that anybody catches: it took more than `SECONDS`."""


class Marker:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (str(self.path),)


def changed(data: bytes, chance: random.Random) -> bytes:
    """A file's bytes with a few random changes."""
    for _ in range(chance.choice((1, 1, 2, 5))):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((1, 1, 4, 40)))
        kind = chance.randrange(6)
        if kind == 0:
            data = data[:start] + bytes([chance.randrange(256)]) + data[stop:]
        elif kind == 1:
            data = data[:start] + data[stop:]
        elif kind == 2:
            data = data[:start]
        elif kind == 3:
            data = data[:stop] + data[start:stop] * chance.choice((1, 50)) + data[stop:]
        else:
            data = data[:start] + chance.choice(WORDS) + data[stop:]
    return data


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of nested plain data."""
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from places(node[key])


def change_state(folder: Path, marker: Path, chance: random.Random) -> None:
    """Put something else into a checkpoint and give it the right checksum."""
    path = chance.choice(sorted(folder.glob("*.pt")))
    state: Any = checkpoint.load(path)
    place, key = chance.choice(list(places(state)))
    kind = chance.randrange(4)
    if kind == 0:
        del place[key]
    elif kind == 1 and isinstance(place, dict):
        place[chance.choice(("x", 0, -1))] = place[key]
    else:
        place[key] = chance.choice(VALUES)
    if kind == 3:
        place[key] = Marker(marker)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    checkpoint.write_record(path, {"sha256": digest, "bytes": len(buffer.getvalue()), "step": 2})


class Subjects:
    """What is sound, made once in `folder`, and the ways to change and to read a copy of it."""

    def __init__(self, folder: Path) -> None:
        self.sound, self.case = folder / "sound", folder / "case"
        self.marker = folder / "executed"
        framework.train(
            "javelin",
            folder=self.sound / "run",
            overrides=["trainer.steps=2", "monitor.tensorboard=false", "trainer.evaluate_every=1"],
        )
        framework.train("cartpole", folder=self.sound / "games", overrides=GAMES)
        for form in FORMS:
            write(self.sound / form, form, {"train": Generated("train", 4, 32)})
        (self.sound / "svg").mkdir()
        (self.sound / "svg" / "a.svg").write_text(SVG)
        gallery = Members("model")
        gallery.enrol("a", torch.eye(4)[:2], "yes", date(2026, 1, 1), date(2027, 1, 1))
        (self.sound / "gallery").mkdir()
        write_members(self.sound / "gallery" / "people.json", gallery)

    def read_run(self, folder: Path) -> None:
        run = framework.load(folder, checkpoint="last")
        assert isinstance(run.result, dict)
        assert isinstance(run.records, list)

    def resume(self, folder: Path) -> None:
        framework.train(resume=folder, overrides=["trainer.steps=3"])

    def readers(self) -> dict[str, Callable[[Path], Any]]:
        """By kind: reads a copy."""
        return {
            "run": self.read_run,
            "resume": self.resume,
            "state": self.resume,
            "games": self.resume,
            "svg": lambda folder: as_strokes(read(folder / "a.svg"), (64, 64)),
            "gallery": lambda folder: read_members(folder / "people.json"),
            **{form: partial(open_folder, format=form) for form in FORMS},
        }

    def change(self, kind: str, chance: random.Random) -> Path:
        """A changed copy."""
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self.sound / ("run" if kind in {"resume", "state"} else kind), self.case)
        if kind in {"state", "games"}:
            change_state(self.case / "checkpoints", self.marker, chance)
            return self.case
        images = {".png", ".jpg"}
        files = [p for p in sorted(self.case.rglob("*")) if p.is_file() and p.name != ".lock"]
        text = [p for p in files if p.suffix not in images] or files
        path = chance.choice(text)
        path.write_bytes(changed(path.read_bytes(), chance))
        return self.case


def beside(folder: Path, case: Path) -> dict[str, bytes]:
    """Every file of a folder but those of the case."""
    paths = (p for p in folder.rglob("*") if p.is_file() and case not in p.parents)
    return {str(p): p.read_bytes() for p in paths}


def outcome(reader: Callable[[Path], Any], case: Path) -> str:
    """What is wrong with how a reader takes a case; empty: nothing."""

    def stop(*_: Any) -> None:
        raise TooLong

    # Of the processor, which a busy machine does not lengthen; and what only waits is stopped by the clock.
    before = [signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(20 * SECONDS)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            reader(case)
        return ""
    except UserError as error:
        # A configuration's mistakes come together, a line for each.
        many = str(error).count("\n") > MISTAKES
        return f"more than {MISTAKES} lines: {str(error)[:200]}" if many else ""
    except TooLong:
        return f"more than {SECONDS} seconds"
    except BaseException as error:
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
        return f"{type(error).__name__}: {str(error)[:200]} ({where})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)


def fuzz(folder: Path, count: int, seed: int) -> list[str]:
    """Try `count` cases of all kinds in turn; a line for each finding."""
    subjects = Subjects(folder)
    readers = subjects.readers()
    kinds = list(readers)
    sound = beside(folder, subjects.case)
    here = set(os.listdir())
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        case = subjects.change(kind, random.Random(f"{seed} {number}"))
        if wrong := outcome(readers[kind], case):
            found.append(f"seed {seed}, number {number}, {kind}: {wrong}")
        if subjects.marker.exists():
            found.append(f"seed {seed}, number {number}, {kind}: executed something")
            subjects.marker.unlink()
    now = beside(folder, subjects.case)
    strays = {path for path in sound.keys() | now.keys() if sound.get(path) != now.get(path)}
    if strays := strays | here.symmetric_difference(os.listdir()):
        found.append(f"seed {seed}: written outside the case's folder: {sorted(strays)}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), arguments.count, arguments.seed)
    print("\n".join([*found, f"{arguments.count} cases, {len(found)} findings"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
