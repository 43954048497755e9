"""What a part measures: figures with their bars, the sizes that it measures at, and clocks that wait for the device."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Figure:
    """One line of the results.

    Attributes:
        name: what was measured.
        value: in `unit`.
        bar: what it is to reach; None: it is only recorded.
        most: whether the bar is the largest value that will do, and not the least.
    """

    name: str
    value: float
    unit: str
    bar: float | None = None
    most: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether it reaches its bar; None where there is none."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.most else self.value >= self.bar

    @property
    def verdict(self) -> str:
        """The bar in words; empty where there is none."""
        if self.bar is None:
            return ""
        sign = "at most" if self.most else "at least"
        return f"{'reaches' if self.reached else 'MISSES'} {sign} {in_words(self.bar)}"

    def __str__(self) -> str:
        return f"{self.name:<66} {in_words(self.value):>12} {self.unit:<10} {self.verdict}".rstrip()


def in_words(value: float) -> str:
    """Four digits of a number, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the defaults are those of a GPU.

    Attributes:
        games: played at once.
        steps, seconds: of a training at most; 16 optimiser steps are one of `steps`.
        strokes, pixels: of drawings, each number of strokes on each canvas.
        samples: of an estimator's call.
        repeats: timed calls.
        bars: whether the figures are compared with what is asked of a GPU.
    """

    games: tuple[int, ...] = (4096, 65_536)
    steps: int = 1000
    seconds: float = 12.0
    strokes: tuple[int, ...] = (1000, 10_000)
    pixels: tuple[int, ...] = (256, 1024)
    samples: int = 10_000_000
    repeats: int = 20
    bars: bool = True


# What a machine without a GPU runs: the same code.
TINY = Sizes((8,), 1, 60.0, (8,), (32,), 64, 2, bars=False)


@dataclass(frozen=True)
class Machine:
    """Where it is measured, and how much."""

    device: torch.device
    sizes: Sizes = field(default_factory=Sizes)

    @classmethod
    def here(cls) -> Machine:
        """The GPU where there is one; else the CPU, at a tiny size."""
        if torch.cuda.is_available():
            return cls(torch.device("cuda"))
        return cls(torch.device("cpu"), TINY)

    @property
    def small(self) -> tuple[str, ...]:
        """Settings that make a training of games tiny; none on a GPU."""
        return () if self.sizes.bars else ("task.games=4", "task.max_episode_steps=8")

    @property
    def name(self) -> str:
        """The card's name, or that there is none."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name()
        return "no GPU: the CPU, at a tiny size"

    def bar(self, value: float) -> float | None:
        """A bar for a GPU; None elsewhere."""
        return value if self.sizes.bars else None

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object], repeats: int | None = None) -> float:
        """Seconds of one call, the mean of several after two that warm it up."""
        count = repeats or self.sizes.repeats
        for _ in range(2):
            call()
        self.wait()
        began = time.perf_counter()
        for _ in range(count):
            call()
        self.wait()
        return (time.perf_counter() - began) / count

    def tidy(self) -> None:
        """Give back what a part has used: runs that hold themselves, and the memory of their graphs."""
        gc.collect()
        if self.device.type == "cuda":
            # An error of the device stays; the next part says so again.
            with suppress(RuntimeError):
                torch.cuda.empty_cache()

    def most_memory(self) -> float:
        """MiB of the device that were in use at most since the last call of it; 0 on the CPU."""
        if self.device.type != "cuda":
            return 0.0
        most = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return most
