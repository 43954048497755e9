"""The processes that train together under torchrun: this one's number, sums over all of them, what they agree on.

The only module that uses torch.distributed. In a process that trains alone every function is the identity.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from framework.errors import UserError
from framework.launch import launched

# Minutes after which a process that waits for the others gives up: one of them hangs.
PATIENCE = 10.0
# As deep as blocks of `alone` are nested.
ALONE: list[bool] = []
# Numbers of the trainings of this process.
JOINED = count()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes train together; 1 inside `alone`."""
    return dist.get_world_size() if dist.is_initialized() and not ALONE else 1


@contextmanager
def alone() -> Iterator[None]:
    """Exchange nothing inside the block: what the other processes may not do at the same place."""
    ALONE.append(True)
    try:
        yield
    finally:
        ALONE.pop()


@contextmanager
def joined(minutes: float = PATIENCE) -> Iterator[None]:
    """Train together with the others inside the block, where torchrun has started this process.

    Raises:
        UserError: the processes do not find each other.
    """
    if not launched() or dist.is_initialized():
        yield
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    # What an earlier attempt, or training, has left in torchrun's store would be taken for the others' addresses.
    attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(JOINED)}"
    patience = timedelta(minutes=minutes)
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=patience)))
        store = PrefixStore(attempt, store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"torchrun: the processes do not find each other: {first}") from None
    try:
        yield
    finally:
        dist.destroy_process_group()


def part(total: int) -> slice:
    """This process's share of `total` things in order; shares differ by one at most."""
    parts = size()
    own = rank() if parts > 1 else 0
    return slice(own * total // parts, (own + 1) * total // parts)


def summed(values: Tensor) -> Tensor:
    """The sum over all processes, without its derivative."""
    values = values.detach()
    if size() == 1:
        return values
    total = values.clone(memory_format=torch.contiguous_format)
    with one_line():
        dist.all_reduce(total)
    return total


def summed_steps(values: Tensor) -> Tensor:
    """The sum over all processes of what each has for its steps `[T, ...]`, `[T, ...]`: some have more steps."""
    if size() == 1:
        return values.detach()
    longest = int(largest(len(values))[0])
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: len(values)] = values.detach()
    return summed(padded)[: len(values)]


def summed_with_derivative(values: Tensor) -> Tensor:
    """The sum over all processes; the derivative of each process's loss reaches the values of all."""
    return values if size() == 1 else Summed.apply(values)


class Summed(torch.autograd.Function):
    """A sum over processes: what any process makes of it depends on the values of each."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0])


def largest(*numbers: float) -> list[float]:
    """Each number's maximum over all processes."""
    if size() == 1:
        return list(numbers)
    found = torch.tensor(numbers, dtype=torch.float64, device=own_device())
    with one_line():
        dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.tolist()


def total(*numbers: float) -> list[float]:
    """Each number's sum over all processes."""
    if size() == 1:
        return list(numbers)
    return summed(torch.tensor(numbers, dtype=torch.float64, device=own_device())).tolist()


def of_first(value: Any) -> Any:
    """The value that process 0 gives; the others' own is not read."""
    if size() == 1:
        return value
    box = [value if rank() == 0 else None]
    with one_line():
        dist.broadcast_object_list(box, device=own_device())
    return box[0]


def add_gradients(parameters: Sequence[Tensor], number: Tensor) -> Tensor:
    """Add up `.grad` over all processes, and a number, in one exchange; returns the number's sum.

    A parameter that has no gradient in any of them stays without.
    """
    learned = [p for p in parameters if p.requires_grad]
    if size() == 1 or not learned:
        return number
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
    given = torch.tensor([float(p.grad is not None) for p in learned], device=parts[0].device)
    kind = torch.promote_types(parts[0].dtype, torch.float32)
    flat = torch.cat([g.to(kind).flatten() for g in (*parts, given, number.detach())])
    with one_line():
        dist.all_reduce(flat)
    *sums, found, added = flat.split([*(p.numel() for p in learned), len(learned), 1])
    for p, gradient, times in zip(learned, sums, found.tolist(), strict=True):
        p.grad = gradient.view_as(p).to(p.dtype) if times else None
    sum_of_numbers: Tensor = added[0].to(number.dtype)
    return sum_of_numbers


@contextmanager
def one_line() -> Iterator[None]:
    """Say in one line that another process has left, or hangs.

    Raises:
        UserError: with the first line of what torch says.
    """
    try:
        yield
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"process {rank()} of {dist.get_world_size()}: lost the others ({first})"
        ) from None


def own_device() -> torch.device:
    """Where what is exchanged has to be."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
