"""Children of the test process, which has torch imported already: hundreds of them cost seconds."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.errors import UserError

# How a child ends.
DONE, REFUSED, BROKEN, KILLED = 0, 2, 3, -signal.SIGKILL


def start(work: Callable[[], Any], output: Path) -> int:
    """Do `work` in a child; what it prints goes to a file. Returns its process number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = BROKEN
    try:
        place = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(place, 1)
        os.dup2(place, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        work()
        status = DONE
    except UserError as error:
        print(error)
        status = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def end(child: int, seconds: float = 120.0) -> int:
    """Wait for a child; one that hangs is killed. Returns how it ended, minus the number of a signal."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def run(work: Callable[[], Any], output: Path) -> int:
    """Do `work` in a child and wait for it."""
    return end(start(work, output))
