"""SIGKILL and a full disk at every write-like call of a start and of a resume: nothing is lost, ever."""

import shutil
from pathlib import Path

import pytest

from tests.framework.training.faults import children
from tests.framework.training.faults.shim import FAULTS, Fault, Shim
from tests.framework.training.faults.subjects import Framework, Naive, Subject

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SHORT = (
    "trainer.steps=4",
    "trainer.checkpoint_every=1",
    "trainer.evaluate_every=2",
    "trainer.log_every=2",
)


class Battery:
    """One subject, killed and starved in every place.

    Attributes:
        tried: how many faults there were.
        lost: those after which the run could not be taken to the end that it has without any, in words.
    """

    def __init__(self, subject: Subject, place: Path) -> None:
        self.subject, self.place = subject, place
        self.tried, self.lost = 0, list[str]()
        # What is imported late is imported here, once for all children.
        subject.start(place / "first")
        self.whole = place / "whole"
        assert self.child(lambda: subject.start(self.whole)) == children.DONE, self.said
        self.parted = place / "parted"
        assert self.child(lambda: subject.start(self.parted, stop_at=2)) == children.DONE, self.said
        self.expected = subject.end(self.whole)

    def child(self, work: object) -> int:
        return children.run(work, self.place / "output")  # type: ignore[arg-type]

    @property
    def said(self) -> str:
        return (self.place / "output").read_text()[-2000:]

    def attempt(self, what: str, folder: Path, shim: Shim) -> int:
        """Start or resume in `folder` under the shim, in a child."""

        def work() -> None:
            shim.install()
            (self.subject.start if what == "start" else self.subject.resume)(folder)

        return self.child(work)

    def count(self, what: str) -> list[str]:
        """The write-like calls of a start or a resume."""
        folder, names = self.fresh(what), self.place / "names"

        def work() -> None:
            shim = Shim()
            shim.install()
            (self.subject.start if what == "start" else self.subject.resume)(folder)
            calls = list(shim.names)
            names.write_text("\n".join(calls))

        assert self.child(work) == children.DONE, self.said
        return names.read_text().splitlines()

    def fresh(self, what: str) -> Path:
        folder = self.place / "run"
        shutil.rmtree(folder, ignore_errors=True)
        if what == "resume":
            shutil.copytree(self.parted, folder)
        return folder

    def everywhere(self, what: str, fault: Fault) -> int:
        """A fault at each call in turn; returns how many calls there are."""
        names = self.count(what)
        for at, name in enumerate(names):
            if fault == "torn" and name != "write":
                continue
            self.tried += 1
            folder = self.fresh(what)
            ended = self.attempt(what, folder, Shim(fault, at))
            where = f"{what}, {fault} at call {at} of {len(names)} ({name})"
            if ended == children.BROKEN:
                self.lost.append(f"{where}: not one line: {self.said}")
            elif (ended == children.KILLED) != (fault in {"kill", "torn"}):
                self.lost.append(f"{where}: ended with {ended}")
            else:
                self.recover(where, folder, at)
        return len(names)

    def recover(self, where: str, folder: Path, at: int) -> None:
        """Go on after a fault, by either way in turn, and compare the ends."""
        go_on = self.subject.resume if at % 2 else self.subject.start
        if self.child(lambda: go_on(folder)) != children.DONE:
            self.lost.append(f"{where}: cannot go on: {self.said}")
            return
        try:
            found = self.subject.end(folder)
        except (AssertionError, OSError, ValueError) as error:
            self.lost.append(f"{where}: {error!r}")
            return
        parts = [k for k in self.expected if found.get(k) != self.expected[k]]
        # The record of a step that a full disk did not take is missing; no other one is.
        if (
            "records" in parts
            and "full" in where
            and set(found["records"]) <= set(self.expected["records"])
        ):
            parts.remove("records")
        if parts:
            self.lost.append(f"{where}: another end: {parts}")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("what", ["start", "resume"])
def test_a_fault_at_any_call_loses_nothing(tmp_path, quick, what, fault, capsys):
    battery = Battery(Framework(None, *SHORT), tmp_path)
    calls = battery.everywhere(what, fault)
    with capsys.disabled():
        kept = battery.tried - len(battery.lost)
        print(f"\n{what}, {fault}: {kept} of {battery.tried} taken to the same end ({calls} calls)")
    assert not battery.lost, "\n".join(battery.lost)
    assert battery.tried > 20


def test_a_naive_trainer_fails_the_battery(tmp_path):
    """Else it could not find anything: in-place writes lose the run when torn, killed or starved in between."""
    battery = Battery(Naive(), tmp_path)
    for fault in ("kill", "torn"):
        battery.everywhere("start", fault)
        battery.everywhere("resume", fault)
    for fault in ("kill", "torn"):
        assert [line for line in battery.lost if f"{fault} at" in line and "cannot go on" in line]
