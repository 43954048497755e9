"""Several processes that train together, as Ray's actors: on this machine, or on the cluster that RAY_ADDRESS names.

Ray starts them, says where they are and notices when one dies; what they exchange goes through torch as ever.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from framework.errors import UserError
from framework.extras import import_extra
from framework.launch import MISTAKE, SUPERVISED, tell

# Seconds for which those that are left may save what they have.
GRACE = 5.0
# Between two looks for signals.
POLL = 0.5
# Seconds after which their last lines have come.
LINES = 1.5


@dataclass(frozen=True)
class Place:
    """Where an actor is: its machine as Ray knows it and as others reach it, a free port there, and its process."""

    node: str
    address: str
    port: int
    process: int


@dataclass(frozen=True)
class Outcome:
    """How a process has ended: its exit status, what was wrong in words, and when."""

    status: int
    mistake: str = ""
    when: float = 0.0


class Actor:
    """One of the processes."""

    def place(self) -> Place:
        """Where it is."""
        import ray

        with socket.socket() as free:
            free.bind(("", 0))
            port = free.getsockname()[1]
        node = ray.get_runtime_context().get_node_id()
        return Place(node, ray.util.get_node_ip_address(), port, os.getpid())

    def run(self, environment: dict[str, str], folder: str, arguments: list[str]) -> Outcome:
        """The command's exit status, and what was wrong."""
        from framework.commands.main import main

        os.chdir(folder)
        with TemporaryDirectory() as own:
            report = Path(own) / "mistake"
            os.environ |= environment | {SUPERVISED: "1", "TORCHELASTIC_ERROR_FILE": str(report)}
            try:
                main(arguments)
            except SystemExit as ended:
                status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            sys.stdout.flush()
            if not report.exists():
                return Outcome(status)
            mistake = json.loads(report.read_text())
            return Outcome(status, mistake["message"], mistake["timestamp"])


def environments(places: Sequence[Place]) -> list[dict[str, str]]:
    """What torchrun would tell each process."""
    nodes = [place.node for place in places]
    head = places[0]
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(len(places)),
            "LOCAL_RANK": str(nodes[:rank].count(node)),
            "LOCAL_WORLD_SIZE": str(nodes.count(node)),
            "MASTER_ADDR": head.address,
            "MASTER_PORT": str(head.port),
        }
        for rank, node in enumerate(nodes)
    ]


def supervise(count: int, arguments: Sequence[str]) -> int:
    """Run this command in `count` actors with a core each; returns the exit status of the first that failed."""
    ray = import_extra("ray", "ray", "trainer.launcher = ray needs Ray")
    cluster = os.environ.get("RAY_ADDRESS")
    how = {"address": cluster} if cluster else {"address": "local", "num_cpus": count}
    ray.init(**how, include_dashboard=False if not cluster else None, logging_level="ERROR")
    try:
        actors = [ray.remote(num_cpus=1)(Actor).remote() for _ in range(count)]
        places = ray.get([actor.place.remote() for actor in actors])
        given = str(Path.cwd()), list(arguments)
        runs = [
            actor.run.remote(environment, *given)
            for actor, environment in zip(actors, environments(places), strict=True)
        ]
        return first_failure(ray, runs, places[0])
    finally:
        # What actors print comes later than what they return.
        time.sleep(LINES)
        ray.shutdown()


def first_failure(ray: Any, runs: Sequence[Any], first: Place) -> int:
    """The exit status of the first that failed, whose mistake is printed; 0: none has."""
    pending = list(runs)
    with received() as signals:
        while pending:
            ended, pending = ray.wait(pending, timeout=POLL)
            while signals:
                send(ray, first, signals.pop())
            if not ended:
                continue
            if (outcome := outcome_of(ray, runs, ended[0])).status:
                # The others notice it, and save what they have; one of them may have failed before.
                late = (
                    ray.wait(pending, num_returns=len(pending), timeout=GRACE)[0] if pending else []
                )
                found = [outcome, *(outcome_of(ray, runs, run) for run in late)]
                if failed := [each for each in found if each.mistake]:
                    tell(UserError(min(failed, key=lambda each: each.when).mistake))
                return outcome.status
    return 0


def outcome_of(ray: Any, runs: Sequence[Any], run: Any) -> Outcome:
    """How a process that has ended did so."""
    try:
        outcome: Outcome = ray.get(run)
    except ray.exceptions.RayActorError:
        return Outcome(1, f"process {runs.index(run)} of {len(runs)} has died", time.time())
    return outcome


@contextmanager
def received() -> Iterator[list[int]]:
    """The signals that come inside the block."""
    found: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [
        signal.signal(number, lambda number, frame: found.append(number)) for number in numbers
    ]
    try:
        yield found
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def send(ray: Any, place: Place, number: int) -> None:
    """Pass a signal on to one process: all stop for a signal to any of them."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(place.node, soft=False)
    ray.remote(num_cpus=0, scheduling_strategy=there)(signalled).remote(place.process, number)


def signalled(process: int, number: int) -> None:
    os.kill(process, number)


if __name__ == "__main__":
    # By its own name, under which the actors import it.
    from framework.commands import ray_actors

    try:
        sys.exit(ray_actors.supervise(int(sys.argv[1]), sys.argv[2:]))
    except UserError as error:
        tell(error)
        sys.exit(MISTAKE)
