"""Memory that runs out, of the machine or of its accelerator: said in one line, whoever meets it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from framework.errors import UserError

# In what torch says, in lower case: of the machine's memory, of CUDA's and of MPS's.
SAYINGS = ("can't allocate memory", "not enough memory", "out of memory")


class OutOfMemory(UserError):
    """What was to be done needs more memory than there is; nothing is wrong with what it was done to."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, or was raised because another one did.

    torch.save closes its archive after such an error, and then says that the archive is cut off.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    said = isinstance(error, RuntimeError) and any(s in str(error).lower() for s in SAYINGS)
    before = error.__context__
    return (
        said or isinstance(error, MemoryError) or (before is not None and is_out_of_memory(before))
    )


def out_of_memory(what: str, error: BaseException, remedy: str = "") -> OutOfMemory:
    """The one line: what was being done, what was said of it, and what needs less."""
    while error.__context__ is not None:
        error = error.__context__
    first = str(error).strip().partition("\n")[0]
    said = f" ({first})" if first else ""
    return OutOfMemory(f"{what}: out of memory{said}{remedy and f'; {remedy}'}")


@contextmanager
def out_of_memory_in_one_line(what: str, remedy: str = "") -> Iterator[None]:
    """Say in one line that memory ran out inside the block.

    Raises:
        OutOfMemory: names what was being done.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(what, error, remedy) from None
