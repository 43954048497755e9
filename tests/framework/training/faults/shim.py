"""Faults at the i-th write-like call of a process: what changes the disk through `os`, `open` or a file opened so."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from typing import Any, Literal

# kill: before the call; torn: after half of what it writes; full: it fails; full_from: it and all that follow fail.
Fault = Literal["kill", "torn", "full", "full_from"]
FAULTS: tuple[Fault, ...] = ("kill", "torn", "full", "full_from")
CALLS = ("write", "fsync", "replace", "rename", "unlink", "remove", "mkdir", "rmdir", "ftruncate")
# These need no room.
SHRINKING = {"unlink", "remove", "rmdir", "ftruncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Shim:
    """Counts write-like calls in this process, and makes the one of number `at` fail; to be used in a child."""

    def __init__(self, fault: Fault | None = None, at: int = 0) -> None:
        self.fault, self.at = fault, at
        self.names: list[str] = []

    def install(self) -> None:
        for name in CALLS:
            setattr(os, name, self.watched(name, getattr(os, name)))
        self.os_open, self.open = os.open, builtins.open
        os.open = self.open_descriptor
        # pathlib asks `io` for it.
        builtins.open = io.open = self.open_file  # type: ignore[assignment]

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def watching(*arguments: Any, **options: Any) -> Any:
            half = None
            if name == "write":
                descriptor, data = arguments
                half = lambda: call(descriptor, bytes(data)[: len(data) // 2])  # noqa: E731
            self.before(name, half)
            return call(*arguments, **options)

        return watching

    def open_descriptor(self, path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & WRITING:
            self.before("open")
        return self.os_open(path, flags, *more, **options)

    def open_file(self, path: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not set(mode) & set("wax+"):
            return self.open(path, mode, *more, **options)
        self.before("open")
        return WatchedFile(self, self.open(path, mode, *more, **options))

    def before(self, name: str, half: Callable[[], Any] | None = None) -> None:
        """The fault, where this call is the one."""
        number = len(self.names)
        self.names.append(name)
        full = (self.fault == "full" and number == self.at) or (
            self.fault == "full_from" and number >= self.at
        )
        if full and name not in SHRINKING:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number != self.at or self.fault not in {"kill", "torn"}:
            return
        if self.fault == "torn" and half is not None:
            half()
        os.kill(os.getpid(), signal.SIGKILL)


class WatchedFile:
    """A file whose writes are write-like calls; each reaches the disk at once, as late as a kill could have it."""

    def __init__(self, shim: Shim, file: Any) -> None:
        self.shim, self.file = shim, file

    def write(self, data: Any) -> Any:
        def half() -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        self.shim.before("write", half)
        written = self.file.write(data)
        self.file.flush()
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> WatchedFile:
        return self

    def __exit__(self, *given: Any) -> None:
        self.file.close()
