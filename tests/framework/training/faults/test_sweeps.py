"""Two sweeps at once, a sweep and a resume at once, and killed sweeps: each job ends as if it had run alone."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from framework import sweep, train
from framework.training.checkpoints.checkpoint import load_newest
from framework.training.folders.run_folder import RunFolder
from framework.training.folders.sweep_folder import SweepFolder
from tests.framework.training.faults import children
from tests.framework.training.faults.subjects import OPTIONS, plain, refuse_leftovers
from tests.framework.training.faults.test_kills import TRIES, at_once

pytestmark = [pytest.mark.slow, pytest.mark.faults]

JOBS = ("0", "1")
SWEPT = [*OPTIONS, "trainer.steps=12", "trainer.checkpoint_every=2", "trainer.evaluate_every=4"]


def swept(folder: Path | None) -> None:
    sweep("javelin", over={"seed": [1, 2]}, overrides=SWEPT, folder=folder)


def ends(folder: Path) -> list[Any]:
    """What the jobs of a finished sweep leave, to be compared."""
    refuse_leftovers(folder)
    jobs = SweepFolder(folder).jobs()
    found: list[Any] = [(job.folder, job.overrides, job.state, job.value) for job in jobs]
    for name in JOBS:
        result = RunFolder(folder / name).result()
        found += [
            {key: result[key] for key in ("steps", "metrics", "best", "stopped")},
            plain(load_newest(folder / name / "checkpoints", print)),
        ]
    return found


@pytest.fixture
def expected(tmp_path, quick, monkeypatch) -> list[Any]:
    """What a sweep leaves that nothing disturbs; sweeps without a folder go below the test's."""
    monkeypatch.chdir(tmp_path)
    swept(tmp_path / "whole")
    return ends(tmp_path / "whole")


def together(place: Path, number: int, *works: Callable[[Path], Any]) -> list[tuple[int, str]]:
    """Do works on one folder in the same instant; how each ended and what it said."""
    gate, outputs = place / f"gate {number}", [place / f"output {i}" for i in range(len(works))]
    running = [
        children.start(partial(at_once, gate, work, place / str(number)), output)
        for work, output in zip(works, outputs, strict=True)
    ]
    time.sleep(0.1)
    gate.write_text("")
    ended = [children.end(child) for child in running]
    return [(end, output.read_text()) for end, output in zip(ended, outputs, strict=True)]


def test_two_sweeps_into_one_folder_in_one_instant_lose_nothing(tmp_path, expected, capsys):
    """One of them trains; the other one is refused, or finds all jobs finished."""
    refused = 0
    for number in range(TRIES):
        ended = together(tmp_path, number, swept, swept)
        assert {end for end, _ in ended} <= {children.DONE, children.REFUSED}, ended
        assert children.DONE in {end for end, _ in ended}, ended
        for end, text in ended:
            if end == children.REFUSED:
                assert "is in use by" in text
                assert text.count("\n") == 1, text
                refused += 1
        assert ends(tmp_path / str(number)) == expected
    with capsys.disabled():
        print(f"\n{TRIES} of {TRIES} pairs of sweeps as from one; {refused} times one was refused")


def test_two_sweeps_without_a_folder_in_one_instant_take_one_each(tmp_path, expected, capsys):
    for number in range(TRIES):
        ended = together(tmp_path, number, *2 * [lambda _: swept(None)])
        assert [end for end, _ in ended] == [children.DONE, children.DONE], ended
        folders = sorted((tmp_path / "outputs" / "javelin").glob("sweep_*"))
        assert len(folders) == 2 * (number + 1)
        assert [ends(folder) for folder in folders[-2:]] == [expected, expected]
    with capsys.disabled():
        print(f"\n{TRIES} of {TRIES} pairs of sweeps had a folder each")


def test_a_sweep_and_a_resume_of_its_job_in_one_instant_lose_nothing(tmp_path, expected, capsys):
    """The resume may hold a job's folder, which the sweep then counts as failed; the same sweep again is whole."""
    parted = tmp_path / "parted"
    SweepFolder(parted).begin(["experiment=javelin", *SWEPT, "seed=1,2"], {"seed": ["1", "2"]})
    options = [*SWEPT, f"hydra.run.dir={parted / '0'}"]
    train("javelin", seed=1, overrides=options, on_step=lambda step, _: step < 5 or stop())
    held = 0
    for number in range(TRIES):
        folder = tmp_path / str(number)
        shutil.copytree(parted, folder)
        ended = together(tmp_path, number, swept, lambda place: train(resume=place / "0"))
        assert ended[0][0] == children.DONE, ended
        assert ended[1][0] in {children.DONE, children.REFUSED}, ended
        held += SweepFolder(folder).jobs()[0].state == "failed"
        swept(folder)
        assert ends(folder) == expected
    with capsys.disabled():
        print(f"\n{TRIES} of {TRIES} sweeps whole beside a resume, which held the job {held} times")


def stop() -> bool:
    """As by a signal from outside."""
    os.kill(os.getpid(), signal.SIGTERM)
    return True


def test_a_sweep_killed_at_random_moments_goes_on_to_the_same_end(tmp_path, expected, capsys):
    began = time.monotonic()
    assert children.run(lambda: swept(tmp_path / "timed"), tmp_path / "output") == children.DONE
    seconds, moments, kills = time.monotonic() - began, random.Random(13), 0
    for number in range(TRIES):
        folder = tmp_path / str(number)
        for _ in range(1 + number % 3):
            child = children.start(partial(swept, folder), tmp_path / "output")
            time.sleep(seconds * moments.random())
            os.kill(child, signal.SIGKILL)
            killed = children.end(child) == children.KILLED
            kills += killed
            # The machine may be faster than when the time was taken, or slower.
            seconds *= 1.05 if killed else 0.8
        ended = children.run(partial(swept, folder), tmp_path / "output")
        assert ended == children.DONE, (tmp_path / "output").read_text()
        assert ends(folder) == expected
    with capsys.disabled():
        print(f"\n{TRIES} of {TRIES} sweeps went on to the same end after {kills} kills")
    assert kills >= TRIES / 2
