"""Several processes that train together, as torchrun would start them: for tests."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch
from torch.multiprocessing.spawn import spawn

from framework import ranks

Work = Callable[[int, Path], None]


def together(count: int, work: Work, folder: Path) -> None:
    """Do `work(rank, folder)` in `count` processes that have found each other; it is a module's own function."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(joined, (count, port, work, folder), nprocs=count)


def joined(rank: int, count: int, port: int, work: Work, folder: Path) -> None:
    """One of the processes."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    with ranks.joined():
        work(rank, folder)
