"""A batch is a tensor, or a dataclass, mapping or sequence of such: its tensors, and the same batch with others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from torch import Tensor

from framework.errors import ProgramError


def first_tensor(batch: Any) -> Tensor:
    """The first tensor of a batch, which is a tensor, a dataclass, a mapping or a sequence of such."""
    for leaf in leaves(batch):
        return leaf
    raise ProgramError("the program declares batch axes, but its batch holds no tensor")


def leaves(batch: Any) -> Iterator[Tensor]:
    """All tensors of a batch in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from leaves(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from leaves(value)
    elif hasattr(batch, "__dataclass_fields__"):
        for name in batch.__dataclass_fields__:
            yield from leaves(getattr(batch, name))


def mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same batch with the function applied to each of its tensors."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {name: mapped(value, function) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(mapped(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(value, function) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(
            batch, **{f.name: mapped(getattr(batch, f.name), function) for f in fields(batch)}
        )
    return batch
