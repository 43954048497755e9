"""A GPU that computes nothing: torch's fake tensors know their shapes, their types and on which device they are.

What runs inside `fake_gpu` runs as it would on a GPU: a tensor of the CPU among those of the device raises torch's own
error, kernels of Triton's are launched with tensors of the device or not at all, and each read of the device and each
copy to it that has to be waited for is noted with its place. Gradients are zeros: autograd asks a real device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from framework import waiting
from tests.waits import place

aten = torch.ops.aten
GPU = torch.device("cuda")
# What goes on until the device says that it is over.
LOOPS = ("plugins/games/rollouts.py:play",)


class Watch(TorchDispatchMode):
    """Notes what waits for the device.

    What is read is true, 0 or 1.0; every second time that games still play is false,
    and no element is zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is aten._local_scalar_dense.default:
            return self.read(args[0])
        if func is aten.nonzero.default:
            self.found[f"{place()} nonzero"] += 1
            return args[0].new_zeros(args[0].numel(), args[0].dim(), dtype=torch.long)
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor):
            return result
        if func is aten._to_copy.default:
            self.copied(args[0], result, kwargs.get("non_blocking", False))
        elif func is aten.copy_.default:
            self.copied(args[1], result, args[2] if len(args) > 2 else False)
        return result

    def read(self, tensor: Tensor) -> Any:
        """A number of a tensor."""
        if tensor.device.type == "cpu":
            return tensor.dtype == torch.bool or 1
        where = f"{place()} read"
        self.found[where] += 1
        plays = where.partition(" ")[0] not in LOOPS or self.found[where] % 2
        return bool(plays) if tensor.dtype == torch.bool else int(tensor.is_floating_point())

    def copied(self, source: Any, target: Tensor, queued: bool) -> None:
        """Note a copy from one device to the other; a number that is written into many is none."""
        if not isinstance(source, Tensor) or source.device.type == target.device.type or queued:
            return
        if target.device.type == "cuda" and source.dim() == 0 and target.dim() > 0:
            return
        self.found[f"{place()} {source.device.type} to {target.device.type}"] += 1


def moved(model: nn.Module, *given: Any, **named: Any) -> nn.Module:
    """`model.to`: the same fake parameters on another device; another layout in memory is no matter here."""
    device = next((x for x in (*given, *named.values()) if isinstance(x, str | torch.device)), None)
    if device is None:
        return model
    parameters: list[Any] = list(model.parameters())
    for parameter in parameters:
        parameter.fake_device = torch.empty(0, device=device).device
    for module in model.modules():
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else buffer.to(device)
    return model


def zeros(of: Any, by: Tensor | Sequence[Tensor], *given: Any, **named: Any) -> Sequence[Tensor]:
    """Gradients by one tensor or by several."""
    return [torch.zeros_like(x) for x in ([by] if isinstance(by, Tensor) else by)]


@contextmanager
def fake_gpu() -> Iterator[Counter[str]]:
    """Inside the block there is a device "cuda"; counts the waits for it by place."""
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(), watch, waiting.deferred(GPU):
        patch.setattr(nn.Module, "to", moved)
        patch.setattr(Tensor, "backward", lambda loss, *given, **named: None)
        patch.setattr(torch.autograd, "backward", lambda *given, **named: None)
        patch.setattr(torch.autograd, "grad", zeros)
        if find_spec("triton"):
            launch_nothing(patch)
        yield watch.found


def launch_nothing(patch: pytest.MonkeyPatch) -> None:
    """Let no kernel of Triton's run, interpreted or not; one that was to be given another device's tensor raises."""
    from triton.runtime.interpreter import InterpretedFunction
    from triton.runtime.jit import JITFunction

    def launched(self: Any, *args: Any, **named: Any) -> None:
        for name, given in zip(self.arg_names, args, strict=False):
            if isinstance(given, Tensor) and given.device.type != "cuda":
                raise RuntimeError(f"kernel {self.__name__}: {name} is on the {given.device}")

    for kind in (InterpretedFunction, JITFunction):
        patch.setattr(kind, "run", launched)
