"""Keyed randomness: every stream is derived from (seed, stream, step, index), never from what ran before.

A resumed run needs no saved generator state, and results do not depend on the number of data workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import index as whole_number
from typing import Any

import torch
from torch import Tensor

from framework.errors import UserError

# What torch's generators take.
SMALLEST, LARGEST = -(2**63), 2**64 - 1


def checked_seed(seed: Any) -> int:
    """A seed as a plain number; NumPy's whole numbers and a tensor's are understood.

    Raises:
        UserError: it is no whole number, or larger than torch's generators take.
    """
    if type(seed) is not int:
        try:
            if isinstance(seed, bool):
                raise TypeError
            seed = whole_number(seed)
        except TypeError:
            raise UserError(f"seed = {seed!r}: expected a whole number, such as 0") from None
    if not SMALLEST <= seed <= LARGEST:
        raise UserError(f"seed = {seed}: expected at most {LARGEST}, and at least {SMALLEST}")
    return int(seed)


def key(seed: int, stream: str, step: int = 0, index: int = 0) -> int:
    """A 63-bit number that belongs to exactly these arguments, the same on every machine."""
    text = f"{checked_seed(seed)}/{stream}/{step}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(
    seed: int, stream: str, step: int = 0, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one stream, for code that takes a generator."""
    return torch.Generator(device).manual_seed(key(seed, stream, step, index))


def seed_torch(number: int) -> None:
    """Point torch's default generators at `number`: `torch.distributions` draws from these."""
    number = checked_seed(number)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextmanager
def seeded(number: int | None) -> Iterator[None]:
    """Draw from the stream `number` inside the block and leave the outer stream where it was.

    With `None` the block draws from the outer stream.
    """
    if number is None:
        yield
        return
    states = save_states()
    try:
        seed_torch(number)
        yield
    finally:
        restore_states(states)


def save_states() -> list[Tensor]:
    """The states of torch's default generators: the CPU's, then each CUDA device's."""
    states = [torch.default_generator.get_state()]
    if torch.cuda.is_initialized():
        states += torch.cuda.get_rng_state_all()
    return states


def restore_states(states: list[Tensor]) -> None:
    """Put back what `save_states` returned."""
    torch.default_generator.set_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])


def fresh_key() -> int:
    """A key drawn from torch's own stream: reproducible when that stream is."""
    return int(torch.randint(2**62, ()).item())
