"""Files that are there whole or not at all, whatever kills the process or fills the disk while they are written."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from framework.errors import UserError

# What a file is called until it is whole.
PARTIAL = ".partial-"
DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_atomically(path: Path, data: bytes | memoryview, *, mode: int | None = None) -> None:
    """Write a file under a temporary name, flush it to the disk and rename it into place, making folders on the way.

    Args:
        mode: the file's permissions, from its first byte on; None: what the process's umask leaves.

    Raises:
        UserError: the disk is full or refuses; nothing of the attempt stays.
    """
    # As short for any name: `path` may have the longest one that there can be.
    temporary = path.parent / f"{PARTIAL}{secrets.token_hex(8)}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_new(temporary, data, mode)
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error, len(data)) from None


def write_new(path: Path, data: bytes | memoryview, mode: int | None = None) -> None:
    """Write a file that must not be there yet, nor a link of its name, and flush it to the disk."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666 if mode is None else 0o600)
    try:
        if mode is not None:
            os.fchmod(descriptor, mode)
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of `data`: a single call may take only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def flush_folder(folder: Path) -> None:
    """Flush a folder's list of names to the disk: a rename is not on it before."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_partials(folder: Path) -> None:
    """Delete what killed processes left of files below a folder; nobody else may be writing there."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(PARTIAL):
                Path(place, name).unlink(missing_ok=True)


def unshare(path: Path) -> None:
    """Give a file that has another name, such as in a copy made of hard links, an existence of its own."""
    with suppress(FileNotFoundError):
        found = os.stat(path, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            write_atomically(path, path.read_bytes())


class LineFile:
    """A text file that only grows, by whole lines: each is one write at its end, so a kill cuts at most one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            unshare(path)
            self.descriptor = os.open(path, flags, 0o666)
            size = os.fstat(self.descriptor).st_size
            # A cut line stays alone: the next one must not be glued to it.
            cut = size > 0 and os.pread(self.descriptor, 1, size - 1) != b"\n"
        except OSError as error:
            raise cannot_write(path, error) from None
        self.between = b"\n" if cut else b""

    def append(self, text: str, *, flush: bool = False) -> None:
        """Add a line.

        Args:
            flush: wait until it is on the disk.

        Raises:
            UserError: the disk is full or refuses.
        """
        data = self.between + text.encode("utf-8", "backslashreplace") + b"\n"
        try:
            # Not glued to what a failing write may leave of this one, either.
            self.between = b"\n"
            write_all(self.descriptor, data)
            self.between = b""
            if flush:
                os.fsync(self.descriptor)
        except OSError as error:
            raise cannot_write(self.path, error, len(data)) from None

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def cannot_write(path: Path, error: OSError, size: int = 0) -> UserError:
    """Why a file could not be written; where the disk is full, how much was needed and how much there is."""
    if error.errno not in DISK_FULL or not size:
        return UserError(f"{path}: {error.strerror}")
    room = ""
    with suppress(OSError):
        found = os.statvfs(path.parent)
        room = f" ({size:,} bytes needed, {found.f_bavail * found.f_frsize:,} free)"
    return UserError(f"{path}: {error.strerror}{room}")
