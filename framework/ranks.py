"""Those that train together, processes under torchrun or shards: this one's number, sums over all, what they agree on.

The only module that uses torch.distributed. In a process that trains alone every function is the identity.
"""

from __future__ import annotations

import copy
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from framework.errors import Elsewhere, UserError
from framework.launch import launched, process_count
from framework.shards import Shards
from framework.shared_memory import CAPACITY, SharedMemory, reserved

T = TypeVar("T")
# Minutes for which a process waits for the others, beyond those after which a watchdog ends the one that hangs.
PATIENCE = 2.0
# Seconds between two looks at whether the first process has come.
POLL = 0.02
# As many bytes all send to all: gloo adds up few of them four times as slowly.
FEW = 2**18
# Numbers of the trainings of this process.
JOINED = count()
# Where the processes of a training leave word for each other.
STORES: list[Store] = []
# What they exchange small tensors through, where all are on one machine.
SHARED: list[SharedMemory] = []


class Place(threading.local):
    """Where this thread stands.

    Attributes:
        alone: as deep as blocks of `alone` are nested.
        shards: those of this process, of which the thread works for number `own`; None: the process is undivided.
        waits: how often it has waited for the first process.
    """

    alone = 0
    shards: Shards | None = None
    own = 0
    waits = 0


PLACE = Place()


def rank() -> int:
    """This process's or shard's number, from 0."""
    if PLACE.shards is not None:
        return PLACE.shards.first + PLACE.own
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many train together; 1 inside `alone`."""
    if PLACE.alone:
        return 1
    if PLACE.shards is not None:
        return PLACE.shards.total
    return dist.get_world_size() if dist.is_initialized() else 1


def processes() -> int:
    """How many processes there are, whatever the shards."""
    return dist.get_world_size() if dist.is_initialized() else 1


def shards() -> int | None:
    """How many shards there are in all processes; None: the processes are undivided."""
    return None if PLACE.shards is None else PLACE.shards.total


def first_here() -> bool:
    """Whether this is the first of its process's shards, or the process is undivided."""
    return PLACE.own == 0


def described() -> str:
    """How many train together, in words; empty for one."""
    words = f" in {processes()} processes" if processes() > 1 else ""
    if PLACE.shards is None:
        return words
    return f"{words} of {size()} shards" if words else f" in {size()} shards"


@contextmanager
def alone() -> Iterator[None]:
    """Exchange nothing inside the block: what the others may not do at the same place."""
    PLACE.alone += 1
    try:
        yield
    finally:
        PLACE.alone -= 1


def apart() -> bool:
    """Whether this is inside `alone`, and others train beside it."""
    return PLACE.alone > 0 and (PLACE.shards is not None or dist.is_initialized())


@contextmanager
def joined(minutes: float = 10.0, device: str = "auto") -> Iterator[None]:
    """Train together with the others inside the block, where torchrun has started this process.

    Args:
        minutes: how long a step may take; one that waits longer gives up.
        device: what is trained on; "auto": a GPU where there is one.

    Raises:
        UserError: the processes do not find each other, or there are fewer GPUs than processes.
    """
    if not launched() or dist.is_initialized():
        yield
        return
    process_count()
    backend = "nccl" if device in ("auto", "cuda") and torch.cuda.is_available() else "gloo"
    if backend == "nccl":
        own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if own >= there:
            raise UserError(
                f"torchrun: process {own} of this machine has no GPU of its own, as there are {there}; expected one "
                "for each process, or trainer.device=cpu"
            )
        torch.cuda.set_device(own)
    # What an earlier attempt, or training, has left in torchrun's store would be taken for the others' addresses.
    attempt = f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{next(JOINED)}"
    patience = timedelta(minutes=minutes + PATIENCE)
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=patience)))
        store = PrefixStore(attempt, store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    except (ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"torchrun: the processes do not find each other: {first}") from None
    STORES.append(store)
    SHARED.extend(shared_memory(patience.total_seconds()))
    try:
        yield
    finally:
        for memory in SHARED:
            memory.leave()
        SHARED.clear()
        STORES.remove(store)
        dist.destroy_process_group()


def shared_memory(seconds: float) -> list[SharedMemory]:
    """What all processes have mapped, where they are on one machine; for `seconds` they wait for each other."""
    size, rank = dist.get_world_size(), dist.get_rank()
    if dist.get_backend() != "gloo" or os.environ.get("LOCAL_WORLD_SIZE") != str(size) or size == 1:
        return []
    with reserved(size) if rank == 0 else nullcontext() as own:
        box = [own]
        dist.broadcast_object_list(box)
        if box[0] is None:
            return []
        try:
            found = [SharedMemory(box[0], rank, size, seconds)]
        except OSError:
            found = []
        mapped = torch.tensor(len(found))
        dist.all_reduce(mapped, dist.ReduceOp.MIN)
    return found if mapped else []


def divided(count: int | None, first: Callable[[], T], others: Callable[[], Any]) -> T:
    """Call `first`; where there are to be `count` shards, in this process's first one, and `others` in the rest.

    Shards of all processes together have numbers in the processes' order.

    Raises:
        UserError: there are fewer shards than processes.
    """
    if count is None:
        return first()
    processes, own = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    if count < processes:
        raise UserError(
            f"trainer.shards = {count}: expected one at least for each of {processes} processes"
        )
    shards = Shards(count, shards_of(own, processes, count))

    def placed(number: int) -> T:
        PLACE.shards, PLACE.own = shards, number
        try:
            # Else an accelerator's part of the way back runs in a thread that is no shard's.
            with torch.autograd.set_multithreading_enabled(False):
                return first() if number == 0 else others()
        finally:
            PLACE.shards, PLACE.own = None, 0

    return shards.run(placed)


def side_by_side(count: int, work: Callable[[int], T]) -> list[T]:
    """What `work(number)` returns in each of `count` shards of this thread's, which exchange with each other only."""
    shards, found = Shards(count, range(count)), {}

    def placed(number: int) -> None:
        before = PLACE.shards, PLACE.own, PLACE.alone
        PLACE.shards, PLACE.own, PLACE.alone = shards, number, 0
        try:
            # Else an accelerator's part of the way back runs in a thread that stands elsewhere.
            with torch.autograd.set_multithreading_enabled(False):
                found[number] = work(number)
        finally:
            PLACE.shards, PLACE.own, PLACE.alone = before

    shards.run(placed)
    return [found[number] for number in range(count)]


def shards_of(process: int, processes: int, count: int) -> range:
    """The numbers of a process's shards."""
    return range(process * count // processes, (process + 1) * count // processes)


def part(total: int) -> slice:
    """This process's or shard's part of `total` things in order; parts differ by one at most."""
    parts = size()
    own = rank() if parts > 1 else 0
    return slice(own * total // parts, (own + 1) * total // parts)


def each(values: Tensor) -> list[Tensor]:
    """What each has, in order; contiguous tensors of one shape, none of which may be changed."""
    if size() == 1:
        return [values]
    with one_line():
        if PLACE.shards is not None:
            shared: list[Tensor] = PLACE.shards.exchange(PLACE.own, values, of_all)
            return list(shared)
        return of_processes(values)


def of_processes(values: Tensor) -> list[Tensor]:
    """What each process has, in order."""
    if SHARED and values.nbytes <= CAPACITY:
        return SHARED[0].gather(values)
    found = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(found, values)
    return found


def added(values: Tensor) -> Tensor:
    """The sum of contiguous `values` over all, which may replace them."""
    few = CAPACITY if SHARED else FEW
    if PLACE.shards is None and values.nbytes * size() <= few:
        return tree(each(values))
    with one_line():
        if PLACE.shards is None:
            dist.all_reduce(values)
            return values
        found: Tensor = PLACE.shards.exchange(PLACE.own, values, lambda own: tree(of_all(own)))
        # The others have the same tensor.
        return found.clone()


def tree(parts: list[Tensor]) -> Tensor:
    """A sum whose order depends on the number of parts only."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [a + b for a, b in pairs] + parts[len(parts) // 2 * 2 :]
    return parts[0]


def in_other_processes() -> bool:
    """Whether there are more shards than this process has."""
    return dist.is_initialized() and PLACE.shards is not None and not PLACE.shards.all_here


def of_all(own: list[Tensor]) -> list[Tensor]:
    """All shards' tensors in order, from those of this process's; all have one shape."""
    if not in_other_processes():
        return list(own)
    assert PLACE.shards is not None
    processes, count = dist.get_world_size(), PLACE.shards.total
    held = [len(shards_of(process, processes, count)) for process in range(processes)]
    filled = torch.stack([*own, *own[:1] * (max(held) - len(own))])
    found = of_processes(filled)
    return [part for parts, number in zip(found, held, strict=True) for part in parts[:number]]


def summed(values: Tensor) -> Tensor:
    """The sum over all, without its derivative."""
    values = values.detach()
    if size() == 1:
        return values
    return added(values.clone(memory_format=torch.contiguous_format))


def summed_steps(values: Tensor) -> Tensor:
    """The sum over all of what each has for its steps `[T, ...]`, `[T, ...]`: some have more steps."""
    if size() == 1:
        return values.detach()
    longest = int(largest(len(values))[0])
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: len(values)] = values.detach()
    return summed(padded)[: len(values)]


class AllRows(torch.autograd.Function):
    """All rows of all forwards; backwards what all have made of one's own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        own = torch.tensor(len(values), device=own_device())
        counts = [int(count) for count in each(own)]
        padded = values.new_zeros(max(counts), *values.shape[1:])
        padded[: len(values)] = values
        ctx.first, ctx.count = sum(counts[: rank()]), len(values)
        return torch.cat([rows[:n] for rows, n in zip(each(padded), counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return summed(gradient)[ctx.first : ctx.first + ctx.count]


def all_rows(values: Tensor) -> Tensor:
    """The rows `[N, ...]` of all, in order, with their derivative; each may have another number of them.

    A loss of all rows, such as a contrastive one, is then that of the whole batch in each, and so is its gradient. All
    have to call it at the same place, and to differentiate what they make of it.
    """
    if size() == 1:
        return values
    rows: Tensor = AllRows.apply(values)
    return rows


def wait_for_first() -> None:
    """Let the other processes wait, however long it takes, until the first has come here."""
    if size() == 1 or not STORES or not first_here():
        return
    PLACE.waits += 1
    name = f"arrived/{PLACE.waits}"
    with one_line():
        if dist.get_rank() == 0:
            STORES[-1].set(name, "")
        else:
            while not STORES[-1].check([name]):
                time.sleep(POLL)


def largest(*numbers: float) -> list[float]:
    """Each number's maximum over all."""
    if size() == 1:
        return list(numbers)
    own = torch.tensor(numbers, dtype=torch.float64, device=own_device())
    return torch.stack(each(own)).amax(0).tolist()


def total(*numbers: float) -> list[float]:
    """Each number's sum over all."""
    if size() == 1:
        return list(numbers)
    return summed(torch.tensor(numbers, dtype=torch.float64, device=own_device())).tolist()


def of_first(value: Any) -> Any:
    """The value that the first gives; the others' own is not read."""
    if size() == 1:
        return value

    def sent(given: Any) -> Any:
        box = [given if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(box, device=own_device())
        return box[0]

    with one_line():
        if PLACE.shards is None:
            return sent(value)
        between = sent if in_other_processes() else copy.deepcopy
        return copy.deepcopy(PLACE.shards.exchange(PLACE.own, value, lambda own: between(own[0])))


def gathered(value: Any) -> list[Any]:
    """What each gives, in order; for the first, which writes it: the others get their own alone."""
    if size() == 1:
        return [value]

    def sent(given: list[Any]) -> list[Any]:
        boxes: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(given, boxes)
        return given if boxes is None else [each for box in boxes for each in box]

    with one_line():
        if PLACE.shards is None:
            return sent([value])
        between = sent if in_other_processes() else list
        found: list[Any] = PLACE.shards.exchange(PLACE.own, value, between)
    return found if rank() == 0 else [value]


def shared(value: Any) -> list[Any]:
    """What each gives, in order, for all."""
    return list(of_first(gathered(value)))


def in_parts(total: int, work: Callable[[slice], T]) -> list[T]:
    """What `work` makes of each one's part of `total` things, in order; for the first: the others get their own alone.

    Raises:
        Elsewhere: it failed elsewhere; where it failed, its own error.
    """
    failure: Exception | None = None
    made: list[T] = []
    try:
        made.append(work(part(total)))
    except Exception as error:
        failure = error
    if any(largest(failure is not None)):
        raise failure or Elsewhere("another process could not do its part")
    return gathered(made[0])


def add_gradients(parameters: Sequence[Tensor], number: Tensor) -> Tensor:
    """Add up `.grad` over all, and a number, in one exchange; returns the number's sum.

    A parameter that has no gradient in any of them stays without.
    """
    learned = [p for p in parameters if p.requires_grad]
    if not learned:
        return summed(number)
    if size() == 1:
        return number
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in learned]
    given = torch.tensor([float(p.grad is not None) for p in learned], device=parts[0].device)
    kind = torch.promote_types(parts[0].dtype, torch.float32)
    flat = added(torch.cat([g.to(kind).flatten() for g in (*parts, given, number.detach())]))
    *sums, found, objective = flat.split([*(p.numel() for p in learned), len(learned), 1])
    for p, gradient, times in zip(learned, sums, found.tolist(), strict=True):
        p.grad = gradient.view_as(p).to(p.dtype) if times else None
    sum_of_numbers: Tensor = objective[0].to(number.dtype)
    return sum_of_numbers


@contextmanager
def one_line() -> Iterator[None]:
    """Say in one line that another process has left, or hangs.

    Raises:
        Elsewhere: with the first line of what torch says.
    """
    try:
        yield
    except RuntimeError as error:
        first = str(error).strip().partition("\n")[0]
        raise Elsewhere(f"process {rank()} of {size()}: lost the others ({first})") from None


def own_device() -> torch.device:
    """Where what is exchanged has to be."""
    nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    return torch.device("cuda" if nccl else "cpu")
