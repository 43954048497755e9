"""Several workers of one study: processes on this machine that get the signals of the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import IO, Any

from framework.errors import UserError
from framework.tuning.study_folder import StudyFolder
from framework.tuning.trials import Trials


def work_in_processes(folder: StudyFolder, limit: int, count: int, *, progress: bool) -> int | None:
    """Let several workers train; returns the number of a signal that stopped one.

    Raises:
        UserError: the first worker's mistake, or a worker that was killed.
    """
    command = [sys.executable, "-m", "framework.tuning.worker", str(folder.path), str(limit)]
    share = max(1, (os.cpu_count() or 1) // count)
    # What this process has found on its path, such as a plugin beside a script, a worker has to find, too.
    path = os.pathsep.join(dict.fromkeys(each or os.getcwd() for each in sys.path))
    environment = {"OMP_NUM_THREADS": str(share), **os.environ, "PYTHONPATH": path}
    with ExitStack() as stack:
        errors = [stack.enter_context(TemporaryFile("w+")) for _ in range(count)]
        workers = [
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=None if progress else subprocess.DEVNULL,
                stderr=error,
                # A signal reaches it through this process, and so once.
                start_new_session=True,
            )
            for error in errors
        ]
        with passed_on(workers):
            statuses = [worker.wait() for worker in workers]
        left = Trials(folder, folder.plan()).left(limit)
        return stopped_by_any(statuses, [text_of(error) for error in errors], left)


def text_of(file: IO[str]) -> str:
    """All that was written to a file."""
    file.seek(0)
    return file.read()


def stopped_by_any(statuses: Sequence[int], printed: Sequence[str], left: int) -> int | None:
    """The number of a signal that stopped a worker, from the statuses of all.

    Args:
        printed: what each has written of errors.
        left: how many trials have not ended; the others may have taken over those of a worker that was killed.

    Raises:
        UserError: one met a mistake, or was killed and trials are left.
    """
    for status, text in zip(statuses, printed, strict=True):
        if status == 2:
            raise UserError(text.strip().rpartition("diffobj: ")[2])
        if status not in range(128, 256) and status != 0 and left:
            sys.stderr.write(text)
            ended = signal.Signals(-status).name if status < 0 else f"status {status}"
            raise UserError(f"a worker ended by {ended}; the same command goes on with its trial")
    return next((status - 128 for status in statuses if status in range(128, 256)), None)


@contextmanager
def passed_on(workers: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Inside the block the signals that stop a training are passed on to the workers, which save and end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, frame: Any) -> None:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = {
        number: signal.signal(number, pass_on)
        for number in signals
        if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
