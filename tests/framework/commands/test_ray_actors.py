"""Processes as Ray's actors: what each is told, and what becomes of a mistake; Ray itself is played here."""

from types import SimpleNamespace
from typing import Any

import pytest

from framework import UserError
from framework.commands.ray_actors import Actor, Outcome, Place, environments, first_failure
from framework.launch import SUPERVISED, NeedsProcesses, check_processes

HERE = Place("a", "10.0.0.1", 4000, 1)


class Died(Exception):
    """What Ray raises for an actor that is gone."""


def played(outcomes: list[Any]) -> Any:
    """A Ray whose runs are numbers that end in order, each as its outcome says."""

    def get(number: int) -> Any:
        if isinstance(outcomes[number], Exception):
            raise outcomes[number]
        return outcomes[number]

    def wait(pending: list[int], num_returns: int = 1, timeout: float = 0) -> Any:
        return pending[:num_returns], pending[num_returns:]

    return SimpleNamespace(wait=wait, get=get, exceptions=SimpleNamespace(RayActorError=Died))


def test_each_is_told_what_torchrun_would_tell_it():
    there = Place("b", "10.0.0.2", 5000, 7)
    told = environments([HERE, there, HERE])
    assert [each["RANK"] for each in told] == ["0", "1", "2"]
    assert [each["LOCAL_RANK"] for each in told] == ["0", "0", "1"]
    assert [each["LOCAL_WORLD_SIZE"] for each in told] == ["2", "1", "2"]
    for each in told:
        assert (each["WORLD_SIZE"], each["MASTER_ADDR"], each["MASTER_PORT"]) == ("3", "10.0.0.1", "4000")  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "status", "said"),
    [
        ([Outcome(0), Outcome(0)], 0, ""),
        ([Outcome(0), Outcome(2, "task.boards = 0")], 2, "diffobj: task.boards = 0\n"),
        ([Outcome(2, "lost another", 9.0), Outcome(2, "nan", 8.0)], 2, "diffobj: nan\n"),
        ([Outcome(143), Outcome(143)], 143, ""),
        ([Outcome(0), Died()], 1, "diffobj: process 1 of 2 has died\n"),
    ],
)
def test_the_first_mistake_is_told_once(outcomes, status, said, capsys):
    assert first_failure(played(outcomes), range(len(outcomes)), HERE) == status
    assert capsys.readouterr().err == said


def test_an_actor_runs_the_command_and_returns_its_mistake(tmp_path, monkeypatch):
    told = {"RANK": "0", "WORLD_SIZE": "1"}
    for name in (*told, SUPERVISED, "TORCHELASTIC_ERROR_FILE"):
        # Put back after the test, whatever the actor has made of it.
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)
    outcome = Actor().run(told, str(tmp_path), ["train", "experiment=nothing"])
    assert (outcome.status, "nothing" in outcome.mistake) == (2, True)


def test_how_many_there_are_to_be_is_said():
    with pytest.raises(UserError, match="launcher = ray: expected"):
        check_processes(None, "ray")
    with pytest.raises(NeedsProcesses, match="2: one process here; from Python") as needed:
        check_processes(2, "ray")
    assert (needed.value.count, needed.value.launcher) == (2, "ray")
