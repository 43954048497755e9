"""Keyed randomness: every stream is derived from (seed, stream, step, index), never from what ran before.

A resumed run needs no saved generator state, and results do not depend on the number of data workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def key(seed: int, stream: str, step: int = 0, index: int = 0) -> int:
    """A 63-bit number that belongs to exactly these arguments, the same on every machine."""
    text = f"{seed}/{stream}/{step}/{index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(
    seed: int, stream: str, step: int = 0, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A fresh generator for one stream, for code that takes a generator."""
    return torch.Generator(device).manual_seed(key(seed, stream, step, index))


def seed_torch(number: int) -> None:
    """Point torch's default generators at `number`: `torch.distributions` draws from these."""
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
