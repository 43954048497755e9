"""A run folder may come from a stranger: nothing in it is followed elsewhere, nothing of unbounded size is read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.errors import UserError
from framework.memory import is_out_of_memory

# Folders of a run folder that files are written into.
WRITTEN = ("checkpoints", "media", "predictions")
# The bytes that a file may have: a record of a result or of a job, all of a run's metrics or sessions.
RECORD, LINES = 2**20, 2**29


# Of a file that is not there, or is a link.
NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Unreadable(UserError):
    """A file is there and cannot be read now: nothing is known of what it holds."""


def refuse_links(folder: Path) -> None:
    """Refuse a run folder in which anything is neither a file nor a folder: a link leads elsewhere, a pipe blocks.

    The folder itself may be a link: that is its owner's choice.

    Raises:
        UserError: names the first of them.
    """
    for place in (folder, *(folder / name for name in WRITTEN)):
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            # It is not there yet, or whoever opens it says what is wrong.
            continue
        for entry in entries:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:
                # Another process has just removed it.
                continue
            if stat.S_ISLNK(mode):
                raise UserError(f"{entry.path} is a symbolic link; a run folder holds none")
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(f"{entry.path} is no file; a run folder holds files and folders")


def read_text(path: Path, limit: int) -> str:
    """A text file of a run folder.

    Args:
        limit: so many bytes it may have.

    Raises:
        UserError: it is a link or no file, larger, or no UTF-8.
        Unreadable: for want of a permission, or by an error of the disk.
    """
    try:
        return read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: {error}") from None


def read_bytes(path: Path, limit: int) -> bytes:
    """A file of a run folder; arguments and errors as of `read_text`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = UserError if error.errno in NONE else Unreadable
        raise kind(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no file")
    with readable(path), open(descriptor, "rb") as file:
        # The size first: a file without bounds is not read at all. One that grows meanwhile is read up to the limit.
        size = os.fstat(descriptor).st_size
        # No more is asked for than there is, since room is made for what is asked for.
        parts = [b""] if size > limit else [file.read(size + 1)]
        total = len(parts[0])
        while parts[-1] and total <= limit:
            parts.append(file.read(min(2**20, limit + 1 - total)))
            total += len(parts[-1])
        data = parts[0] if total == len(parts[0]) else b"".join(parts)
        if size > limit or total > limit:
            raise UserError(f"{path}: more than {limit:,} bytes")
    return data


def is_file(path: Path) -> bool:
    """Whether a file is there.

    Raises:
        OSError: that cannot be told.
    """
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line that what is there cannot be read.

    Raises:
        Unreadable: for whatever reason but that the memory ran out.
    """
    try:
        yield
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise Unreadable(f"{error.filename or path}: {error.strerror or error}") from None
