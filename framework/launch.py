"""Several processes that train together: what torchrun says of this one, and how a command starts them."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from framework.errors import Elsewhere, UserError

# Set for processes whose mistakes are told by the one that has started them.
SUPERVISED = "DIFFOBJ_SUPERVISED"
# Processes that a command starts: so many at most for each core, and as many as this on any machine.
FOR_EACH_CORE, FEW = 4, 8
# Seconds by which a mistake that another process has made comes after that one.
LATER = 86_400
# The exit status of a mistake that the user can fix.
MISTAKE = 2


class NeedsProcesses(UserError):
    """The configuration asks for several processes, and this one was started alone.

    Attributes:
        count: how many.
        launcher: what starts them.
    """

    def __init__(self, count: int, launcher: str) -> None:
        by = {
            "torchrun": f"start the script by torchrun --nproc-per-node={count} SCRIPT",
            "ray": "from Python call framework.commands.ray_actors.supervise(trainer.ranks, ['train', ...])",
        }
        super().__init__(f"trainer.ranks = {count}: one process here; {by[launcher]}")
        self.count, self.launcher = count, launcher


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def follows() -> bool:
    """Whether torchrun started this process as another than the first, which writes and prints for all."""
    return launched() and os.environ["RANK"] != "0"


def process_count() -> int:
    """How many processes train together.

    Raises:
        UserError: torchrun's variables are not torchrun's.
    """
    if not launched():
        return 1
    for name in ("RANK", "WORLD_SIZE"):
        if not os.environ[name].isdecimal():
            raise UserError(
                f"{name} = '{os.environ[name]}': expected a number, as torchrun sets it"
            )
    return int(os.environ["WORLD_SIZE"])


def check_processes(asked: int | None, launcher: str) -> None:
    """Refuse to train in another number of processes than `trainer.ranks`.

    Raises:
        UserError: torchrun has started another number, it is more than this machine can run, or it is not said how
            many actors Ray is to start.
        NeedsProcesses: there is this one only.
    """
    if launcher == "ray" and asked is None:
        raise UserError("trainer.launcher = ray: expected trainer.ranks, how many actors it starts")
    if asked in (None, process_count()):
        return
    if launched():
        raise UserError(f"trainer.ranks = {asked}: torchrun has started {process_count()}")
    cores = os.cpu_count() or 1
    most = max(FEW, FOR_EACH_CORE * cores)
    # A cluster may have more cores than this machine.
    if launcher == "torchrun" and asked > most:
        raise UserError(
            f"trainer.ranks = {asked}: processes of this machine, which has {cores} cores; expected at most {most}"
        )
    raise NeedsProcesses(asked, launcher)


def start(needed: NeedsProcesses, arguments: Sequence[str]) -> NoReturn:
    """Become a process that runs this command in as many as it needs."""
    # torchrun would set it itself, with four lines about it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    module = {"torchrun": "framework.launch", "ray": "framework.commands.ray_actors"}[
        needed.launcher
    ]
    own = [sys.executable, "-m", module, str(needed.count), *arguments]
    os.execv(sys.executable, own)


def supervise(count: int, arguments: Sequence[str]) -> int:
    """Run this command in `count` processes by torchrun; returns the exit status of the first that failed.

    What was wrong is told once: torchrun itself would print a traceback of its own and each process's end.
    """
    from torch.distributed.elastic.agent.server import api as agent
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    for module in (agent.__name__, SignalException.__module__):
        logging.getLogger(module).setLevel(logging.CRITICAL)
    os.environ[SUPERVISED] = "1"
    own = ["-m", "framework.commands.main", *arguments]
    try:
        run(parse_args(["--standalone", f"--nproc-per-node={count}", *own]))
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == MISTAKE:
            print(f"diffobj: {failure.message}", file=sys.stderr)
        elif failure.exitcode < 0:
            print(
                f"diffobj: process {rank} of {count} was ended by {failure.signal_name()}",
                file=sys.stderr,
            )
            return 128 - failure.exitcode
        return failure.exitcode
    return 0


def tell(mistake: UserError) -> None:
    """Print a mistake in one line, or leave it to the process that has started this one beside others."""
    place = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if SUPERVISED not in os.environ or not launched() or place is None:
        print(f"diffobj: {mistake}", file=sys.stderr)
        return
    # The first is told: not one that another process has made.
    first = int(time.time()) + (LATER if isinstance(mistake, Elsewhere) else 0)
    with open(place, "w", encoding="utf-8") as file:
        json.dump({"message": str(mistake), "timestamp": first}, file)


if __name__ == "__main__":
    sys.exit(supervise(int(sys.argv[1]), sys.argv[2:]))
