"""A model divided among processes (FSDP2): each holds a part of every parameter, its gradient and its moments.

Before a block of the model runs, forwards or backwards, its parameters are brought together; after it they are let go.
Gradients are added up and divided on the way back, so that `.grad` is this process's part of the sum over all.

Source: Zhao et al. 2023, "PyTorch FSDP"; `torch.distributed.fsdp.fully_shard`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import ProgramError

# Fewer parameters than these are not worth an exchange of their own.
LARGE = 2**16
# Of all parameters a block has at most this part, where its own parts can be blocks.
LARGEST_SHARE = 0.25
# What torch says where a part of a parameter is used as if it were all of it.
MIXED = "mixed torch.Tensor and DTensor"


def blocks(model: nn.Module) -> list[nn.Module]:
    """The parts of a model that run one after another: large elements of its lists and sequences of modules.

    A part that shares a parameter with another is none.
    """
    whole, users = count(model), dict.fromkeys(model.parameters(), 0)
    found = list(elements(model, whole * LARGEST_SHARE))
    inside = {id(module) for block in found for module in block.modules()}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            users[parameter] += 1 if id(module) in inside else 2
    return [block for block in found if all(users[p] == 1 for p in block.parameters())]


def elements(module: nn.Module, largest: float) -> Iterator[nn.Module]:
    """The large elements of the lists and sequences in a module, those of them that are too large divided further."""
    for child in module.children():
        if count(child) < LARGE:
            continue
        listed = isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)
        called = not isinstance(child, nn.ModuleList | nn.ModuleDict)
        if listed and called and (count(child) <= largest or not list(child.children())):
            yield child
        else:
            yield from elements(child, largest)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def divide(model: nn.Module) -> None:
    """Divide a model among all processes, in place: from here on its parameters are parts.

    Raises:
        ProgramError: a parameter is a single number, which cannot be divided.
    """
    # A second of imports that other runs need not wait for.
    from torch.distributed.fsdp import fully_shard

    for name, parameter in model.named_parameters():
        if parameter.dim() == 0:
            raise ProgramError(
                f"trainer.sharding = full: the model's parameter '{name}' has no axis along which it could be divided; "
                "expected one of shape [1] or more, or trainer.sharding=none"
            )
        # The others cannot be divided: images' layers have their channels last.
        parameter.data = parameter.data.contiguous()
    for block in blocks(model):
        fully_shard(block)
    fully_shard(model)
    for part in parts_of(model):
        # The objective is a share of the mean already.
        part.set_gradient_divide_factor(1.0)
        part.set_force_sum_reduction_for_comms(True)


def copied_without_parameters(task: Any) -> Any:
    """A copy of a task whose model's parameters have no values, and take no memory, yet."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad)
        for p in task.model.parameters()
    }
    return copy.deepcopy(task, memo)


def give_memory(model: nn.Module) -> None:
    """Give such a copy's parameters memory, for values to be loaded into."""
    given: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None and p.is_meta:
                fresh = nn.Parameter(torch.zeros_like(p, device="cpu"), p.requires_grad)
                module._parameters[name] = given.setdefault(id(p), fresh)


def parts_of(model: nn.Module) -> list[Any]:
    """The modules of a divided model that were divided one by one."""
    return [module for module in model.modules() if hasattr(module, "reshard")]


def is_divided(tensor: Tensor) -> bool:
    """Whether a tensor is one process's part of a whole."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, brought together from all processes where it is divided."""
    return tensor.full_tensor() if is_divided(tensor) else tensor  # type: ignore[attr-defined]


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor; all of one that is not divided."""
    return tensor.to_local() if is_divided(tensor) else tensor  # type: ignore[attr-defined]


def divided_as(value: Tensor, own: Tensor) -> Tensor:
    """A whole tensor as `own` is held: its part, where that one is divided. Nothing is exchanged."""
    if not is_divided(own) or is_divided(value):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(own, DTensor)
    place = value.detach().to(own.device)
    return distribute_tensor(place, own.device_mesh, own.placements, src_data_rank=None)


@contextmanager
def exchanged(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the parameters of a divided model other values inside the block, such as their averages."""
    own = {name: p for name, p in model.named_parameters() if name in values}
    before = {name: p.detach().clone() for name, p in own.items()}
    put(model, own, values)
    try:
        yield
    finally:
        put(model, own, before)


@torch.no_grad()
def put(model: nn.Module, own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    for name, parameter in own.items():
        parameter.copy_(values[name])
    forget_brought_together(model)


def forget_brought_together(model: nn.Module) -> None:
    """Let go of parameters that were brought together before their parts had other values."""
    for part in parts_of(model):
        part.reshard()


@contextmanager
def mixing_in_one_line() -> Iterator[None]:
    """Say in one line that an objective reads a divided model's parameters itself.

    Raises:
        ProgramError: it does.
    """
    try:
        yield
    except RuntimeError as error:
        if MIXED not in str(error):
            raise
        raise ProgramError(
            "trainer.sharding = full: the objective reads parameters of the model outside a call of the model (or of "
            "an element of its lists of modules), where this process has a part of them only; call the model, or set "
            "trainer.sharding=none"
        ) from error
