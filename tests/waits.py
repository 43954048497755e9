"""Where a program waits for an accelerator: calls that read a number, or whose result's shape depends on numbers.

All runs on the CPU as if it had a queue (`framework.waiting.queues`), and two modes of torch note each call that would
have to wait until the queue is empty.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from framework import waiting
from framework.plugin import ROOT

aten = torch.ops.aten
# Operations whose result has to be known before the next one can be queued.
READING = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.nonzero.default,
    aten.masked_select.default,
    aten.repeat_interleave.Tensor,
    aten._unique2.default,
    aten.unique_consecutive.default,
    aten.unique_dim.default,
    aten.bincount.default,
    # torch looks at the probabilities, or at the deviations, first.
    aten.multinomial.default,
    aten.normal.Tensor_Tensor,
    aten.normal.float_Tensor,
}
# What leaves no trace among the operations: copies from the device, and of Python numbers to it.
COPYING: Mapping[Any, str] = {
    Tensor.cpu: "cpu",
    Tensor.tolist: "tolist",
    Tensor.numpy: "numpy",
    Tensor.__array__: "numpy",
    Tensor.new_tensor: "new_tensor",
    torch.tensor: "tensor",
    torch.as_tensor: "as_tensor",
}


class Operations(TorchDispatchMode):
    """Notes operations that wait."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in READING:
            self.note(func._schema.name.removeprefix("aten::"))
        elif func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
            indices = args[1]
            if any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices):
                self.note("index by a mask")
        return func(*args, **(kwargs or {}))


class Calls(TorchFunctionMode):
    """Notes copies from and to the device."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self.note = note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = COPYING.get(func)
        made = func in (torch.tensor, torch.as_tensor)
        # Of a tensor that is there already, or on the CPU, nothing is copied.
        if name and not (made and ("device" not in kwargs or isinstance(args[0], Tensor))):
            self.note(name)
        return func(*args, **kwargs)


def place() -> str:
    """The innermost function of the project that is running: `file:name`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.parts[len(ROOT.parts)] in ("framework", "plugins"):
            return f"{path.relative_to(ROOT)}:{frame.f_code.co_qualname}"
        frame = frame.f_back
    return "elsewhere"


@contextmanager
def noted() -> Iterator[Counter[str]]:
    """Count the waits inside the block by place, `file:name what`; the CPU counts as an accelerator."""
    found: Counter[str] = Counter()

    def note(what: str) -> None:
        found[f"{place()} {what}"] += 1

    with ExitStack() as stack:
        before = waiting.queues
        waiting.queues = lambda device: True
        stack.callback(setattr, waiting, "queues", before)
        stack.enter_context(Calls(note))
        stack.enter_context(Operations(note))
        yield found
