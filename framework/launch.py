"""Several processes that train together: what torchrun says of this one, and how a command starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from framework.errors import UserError


class NeedsProcesses(UserError):
    """The configuration asks for several processes, and this one was started alone.

    Attributes:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        super().__init__(
            f"trainer.ranks = {count}: one process here; start the script by torchrun --nproc-per-node={count} SCRIPT"
        )
        self.count = count


def launched() -> bool:
    """Whether torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def follows() -> bool:
    """Whether torchrun started this process as another than the first, which writes and prints for all."""
    return launched() and os.environ["RANK"] != "0"


def process_count() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def check_processes(asked: int | None) -> None:
    """Refuse to train in another number of processes than `trainer.ranks`.

    Raises:
        UserError: torchrun has started another number.
        NeedsProcesses: there is this one only.
    """
    if asked in (None, process_count()):
        return
    if launched():
        raise UserError(f"trainer.ranks = {asked}: torchrun has started {process_count()}")
    raise NeedsProcesses(asked)


def start(count: int, arguments: Sequence[str]) -> NoReturn:
    """Become torchrun, which runs this command in `count` processes of this machine."""
    own = ["-m", "framework.commands.main", *arguments]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    # torchrun would set it itself, with four lines about it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *torchrun, *own])
