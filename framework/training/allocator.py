"""Memory of the C library: kept between steps, since tensors of the same sizes come and go in each of them."""

from __future__ import annotations

import ctypes
import os
import sys

# mallopt's numbers for them, from malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# In bytes.
KEPT, RETURNED = 2**30, 2**17
CHOICES = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}  # a user's own


def keep_freed_memory() -> None:
    """Let glibc keep up to a gigabyte of what is freed; with another C library, or where the user chose, do nothing.

    By itself it gives blocks of megabytes back to the system at once, and the next step's tensors take new pages, which
    the system must find and clear: on a CPU that costs a network of images about a seventh of its time.
    """
    choose(KEPT, KEPT)


def return_freed_memory() -> None:
    """Let glibc give every freed tensor back at once: for who divides a model, memory is scarce."""
    choose(RETURNED, RETURNED)


def choose(trim: int, mmap: int) -> None:
    """Set the sizes from which on what is freed is given back, unless the user has chosen them."""
    if sys.platform != "linux" or CHOICES & os.environ.keys():
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):  # musl has none
        library.mallopt(TRIM_THRESHOLD, trim)
        library.mallopt(MMAP_THRESHOLD, mmap)
