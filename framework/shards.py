"""Shards: several trainings side by side in one process, each on its part of every batch, in threads that take turns.

A shard works until it needs the others; then the next one goes on. What all exchange is combined in the shards' order,
and each has torch's random generators to itself: how many processes share the shards among them changes no bit.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from framework.errors import UserError
from framework.randomness import restore_states, save_states

T = TypeVar("T")


class LostShard(UserError):
    """Another shard has ended where this one needs it."""


class Shards:
    """The shards of one process.

    Args:
        total: how many all processes have together.
        own: the numbers of this one's.
    """

    def __init__(self, total: int, own: range) -> None:
        self.total, self.first, self.count = total, own.start, len(own)
        self.turns = [threading.Semaphore(int(number == 0)) for number in range(self.count)]
        self.working = 0
        self.left: dict[int, BaseException | None] = {}
        self.given: list[Any] = [None] * self.count
        self.kinds: list[Any] = [None] * self.count
        self.found: Any = None
        # How many exchanges are complete.
        self.complete = 0

    @property
    def all_here(self) -> bool:
        """Whether no other process has any."""
        return self.count == self.total

    def run(self, work: Callable[[int], T]) -> T:
        """Do `work(number)` in each; returns what the first one's returns, which is done in this thread.

        Raises:
            BaseException: what the first of them to fail has raised.
        """
        found: dict[int, T] = {}
        # Torch keeps it for each thread.
        threads_of_torch = torch.get_num_threads()

        def done(number: int) -> None:
            error: BaseException | None = None
            try:
                self.wait(number)
                torch.set_num_threads(threads_of_torch)
                found[number] = work(number)
            except BaseException as raised:
                error = raised
            self.leave(number, error)

        # Each has the caller's context.
        others = [
            threading.Thread(target=contextvars.copy_context().run, args=(done, n), daemon=True)
            for n in range(1, self.count)
        ]
        for thread in others:
            thread.start()
        done(0)
        for thread in others:
            thread.join()
        errors = [error for error in self.left.values() if error is not None]
        if errors:
            raise next((e for e in errors if not isinstance(e, LostShard)), errors[0])
        return found[0]

    def exchange(self, number: int, value: Any, combine: Callable[[list[Any]], Any]) -> Any:
        """What `combine` makes of all shards' values; it is called once, in the last one's thread.

        Raises:
            LostShard: another has ended, or is elsewhere: it exchanges something else.
        """
        states, before = save_states(), self.complete
        self.given[number], self.kinds[number] = value, kind_of(value)
        if number == self.count - 1 and not self.left and len(set(self.kinds)) == 1:
            self.found, self.complete = combine(self.given), before + 1
        self.pass_on(number)
        self.wait(number)
        if self.complete == before:
            raise LostShard("a shard has ended, or is elsewhere")
        restore_states(states)
        return self.found

    def wait(self, number: int) -> None:
        """Wait for this shard's turn."""
        self.turns[number].acquire()
        self.working = number

    def pass_on(self, number: int) -> None:
        """Let the next one that has not ended go on."""
        following = [(number + k) % self.count for k in range(1, self.count + 1)]
        self.turns[next((n for n in following if n not in self.left), number)].release()

    def leave(self, number: int, error: BaseException | None) -> None:
        """End; an interrupted wait is no turn to pass on."""
        self.left[number] = error
        if self.working == number:
            self.pass_on(number)


def kind_of(value: Any) -> Any:
    """What shards that are at the same place give alike."""
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else None
