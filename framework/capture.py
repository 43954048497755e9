"""CUDA graphs: a function recorded once with all its launches, and replayed by one.

What is recorded is what the device does, not what Python does: all that the function reads and writes are tensors that
stay where they are, and a Python number in it is the one of the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

# Calls before it is recorded: by then all buffers are there, and libraries have chosen their algorithms.
WARM_UP = 2


class Graph(Protocol):
    """Something recorded."""

    def replay(self) -> None:
        """Do it again."""


def record(function: Callable[[], Any], stream: Any = None) -> Graph:
    """Record a function on a stream of the current GPU; nothing is done yet.

    Raises:
        RuntimeError: it does what cannot be recorded, such as to wait for a number.
    """
    graph = torch.cuda.CUDAGraph()
    # What other threads do meanwhile is their own affair.
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        function()
    return graph


def beside(function: Callable[[], Any], stream: Any) -> None:
    """Call a function on another stream, after all that was asked for before and before all that comes."""
    current = torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        function()
    current.wait_stream(stream)


class Captured:
    """A function without arguments that is replayed where it can be; elsewhere it is called.

    Args:
        function: must leave its results in tensors that stay where they are.
        device: where they are.

    Attributes:
        refused: why it could not be recorded; empty where it was, or was not tried.
    """

    def __init__(self, function: Callable[[], Any], device: torch.device) -> None:
        self.function, self.device = function, device
        self.calls = 0
        self.graph: Graph | None = None
        self.refused = ""
        # It is called where it will be recorded: what autograd keeps belongs to a stream.
        self.stream: Any = None

    def __call__(self) -> bool:
        """Do it once; returns whether the function itself was called."""
        self.calls += 1
        called = self.graph is None
        if self.graph is None and self.recordable():
            try:
                self.graph = record(self.function, self.stream)
            except RuntimeError as error:
                self.refused = str(error).strip().partition("\n")[0]
        if self.graph is not None:
            self.graph.replay()
        elif self.device.type == "cuda" and not self.refused:
            self.stream = self.stream or torch.cuda.Stream(self.device)
            beside(self.function, self.stream)
        else:
            self.function()
        return called

    def recordable(self) -> bool:
        """Whether to record it now."""
        return self.device.type == "cuda" and self.calls > WARM_UP and not self.refused
