"""kill -9 at random moments, once or several times; bit flips; two processes at one run in the same instant."""

import json
import os
import random
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from framework.errors import UserError
from framework.training.checkpoints.checkpoint import list_checkpoints, load
from tests.framework.training.faults import children
from tests.framework.training.faults.subjects import Framework, Loaded

pytestmark = [pytest.mark.slow, pytest.mark.faults]

TRIES = 20
COMMON = ("trainer.checkpoint_every=2", "trainer.evaluate_every=4", "trainer.log_every=3")
SUBJECTS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "supervised": (None, ("trainer.steps=40",)),
    "cartpole by rloo": ("cartpole", (
        "estimator=rloo", "trainer.steps=8", "task.games=4", "task.evaluation_episodes=2", "task.video_frames=2",
    )),
    # Games go on from step to step: their state is in the checkpoint.
    "cartpole by ppo": ("cartpole", (
        "estimator=ppo", "trainer.steps=8", "task.games=4", "task.evaluation_episodes=2",
        "task.video_frames=2",
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path, quick, name, capsys):
    subject = Framework(SUBJECTS[name][0], *COMMON, *SUBJECTS[name][1])
    subject.start(tmp_path / "first")
    began = time.monotonic()
    output = tmp_path / "output"
    assert children.run(lambda: subject.start(tmp_path / "whole"), output) == children.DONE
    seconds = time.monotonic() - began
    expected, moments = subject.end(tmp_path / "whole"), random.Random(5)
    equal, kills = 0, 0
    for number in range(TRIES):
        folder = tmp_path / str(number)
        for _ in range(1 + number % 3):
            child = children.start(lambda folder=folder: subject.start(folder), output)  # type: ignore[misc]
            time.sleep(seconds * moments.random())
            os.kill(child, signal.SIGKILL)
            killed = children.end(child) == children.KILLED
            kills += killed
            # The machine may be faster than when the time was taken, or slower.
            seconds *= 1.05 if killed else 0.8
        ended = children.run(lambda folder=folder: subject.resume(folder), output)  # type: ignore[misc]
        assert ended == children.DONE, output.read_text()
        equal += subject.end(folder) == expected
    with capsys.disabled():
        print(f"\n{name}: {equal} of {TRIES} runs equal the uninterrupted one after {kills} kills")
    assert equal == TRIES
    assert kills >= TRIES / 2


def test_a_signal_to_the_whole_group_stops_a_run_with_workers_and_nothing_is_lost(
    tmp_path, quick, capsys
):
    """A scheduler signals all processes of a job: the workers are gone before the training has saved."""
    subject = Framework(None, *COMMON, "trainer.steps=150", task=Loaded)
    subject.start(tmp_path / "whole")
    expected, moments, output = (
        subject.end(tmp_path / "whole"),
        random.Random(3),
        tmp_path / "output",
    )
    stopped = 0
    for number in range(TRIES):
        folder = tmp_path / str(number)
        child = children.start(lambda folder=folder: in_own_group(subject, folder), output)  # type: ignore[misc]
        while not (folder / "metrics.jsonl").exists():
            time.sleep(0.002)
        time.sleep(0.5 * moments.random())
        os.killpg(child, signal.SIGTERM)
        ended = children.end(child)
        # A training that is over listens no more.
        over = ended == -signal.SIGTERM and (folder / "result.json").exists()
        assert ended == children.DONE or over, output.read_text()
        assert output.read_text().count("\n") <= 1, output.read_text()
        result = json.loads((folder / "result.json").read_text())
        stopped += result["stopped"] == "stopped by SIGTERM"
        assert result["saved"] == result["steps"]
        assert children.run(lambda folder=folder: subject.resume(folder), output) == children.DONE  # type: ignore[misc]
        assert subject.end(folder) == expected
    with capsys.disabled():
        print(
            f"\n{stopped} of {TRIES} runs with workers stopped by a signal to all, with the same bits after it"
        )
    assert stopped >= TRIES / 2


def in_own_group(subject: Framework, folder: Path) -> None:
    os.setsid()
    subject.start(folder)


def test_a_flipped_bit_is_noticed_wherever_it_is(tmp_path, quick, capsys):
    subject = Framework(None, *COMMON, "trainer.steps=4")
    subject.start(tmp_path / "run")
    path = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    places, noticed = random.Random(7), 0
    for number in range(200):
        file = path if number % 4 else path.with_suffix(".json")
        whole = file.read_bytes()
        place = places.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        file.write_bytes(damaged)
        with suppress(UserError):
            load(path)
            pytest.fail(f"{file.name}, bit {place}")
        noticed += 1
        file.write_bytes(whole)
    with capsys.disabled():
        print(f"\n{noticed} of 200 flipped bits noticed")


def test_a_run_whose_newest_checkpoint_is_damaged_ends_with_the_same_bits(tmp_path, quick):
    subject = Framework(None, *COMMON, "trainer.steps=12")
    subject.start(tmp_path / "whole")
    subject.start(tmp_path / "parted", stop_at=7)
    expected, places = subject.end(tmp_path / "whole"), random.Random(11)
    for number in range(10):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "parted", folder)
        path = list_checkpoints(folder / "checkpoints")[-1]
        data = bytearray(path.read_bytes())
        data[places.randrange(len(data))] ^= 1 << places.randrange(8)
        path.write_bytes(data)
        subject.resume(folder)
        assert subject.end(folder) == expected


@pytest.mark.parametrize("begun", [False, True], ids=["two starts", "a start and a resume"])
def test_two_at_once_lose_nothing(tmp_path, quick, begun, capsys):
    """One of them trains and the other one is refused, or finds the run finished."""
    subject = Framework(None, *COMMON, "trainer.steps=12")
    subject.start(tmp_path / "whole")
    subject.start(tmp_path / "parted", stop_at=5)
    expected, ends = subject.end(tmp_path / "whole"), []
    for number in range(TRIES):
        folder, gate = tmp_path / str(number), tmp_path / f"gate {number}"
        if begun:
            shutil.copytree(tmp_path / "parted", folder)
        works = (subject.start, subject.resume) if begun else (subject.start, subject.start)
        running = [
            children.start(lambda w=work: at_once(gate, w, folder), tmp_path / f"output {i}")  # type: ignore[misc]  # noqa: B023
            for i, work in enumerate(works)
        ]
        time.sleep(0.1)
        gate.write_text("")
        ended = sorted(children.end(child) for child in running)
        assert ended in ([children.DONE, children.DONE], [children.DONE, children.REFUSED]), ended
        if ended[1] == children.REFUSED:
            said = [(tmp_path / f"output {i}").read_text() for i in (0, 1)]
            assert any("is in use by" in text for text in said), said
        assert subject.end(folder) == expected
        ends.append(ended)
    with capsys.disabled():
        refused = sum(ended[1] == children.REFUSED for ended in ends)
        print(f"\n{len(ends)} of {TRIES} as from one process; {refused} times one was refused")


def at_once(gate: Path, work: object, folder: Path) -> None:
    """Work as soon as the gate is there."""
    while not gate.exists():
        time.sleep(0.0005)
    work(folder)  # type: ignore[operator]
