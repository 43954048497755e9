"""A batch is a tensor, or a dataclass, mapping or sequence of such: reading and replacing its tensors."""

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
    return (part for part in parts(batch) if isinstance(part, Tensor))


def parts(batch: Any) -> Iterator[Any]:
    """All that is in a batch, in order: tensors, and whatever else; of mappings also the keys."""
    if isinstance(batch, Mapping):
        for key, value in batch.items():
            yield key
            yield from parts(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from parts(value)
    elif hasattr(batch, "__dataclass_fields__"):
        for name in batch.__dataclass_fields__:
            yield from parts(getattr(batch, name))
    else:
        yield batch


def map_tensors(function: Callable[..., Tensor], batch: Any, *others: Any) -> Any:
    """The same batch with the function applied to each of its tensors, and to its equals in `others`."""
    if isinstance(batch, Tensor):
        return function(batch, *others)
    if isinstance(batch, Mapping):
        return {
            name: map_tensors(function, value, *(other[name] for other in others))
            for name, value in batch.items()
        }
    if isinstance(batch, list | tuple):
        parts = [map_tensors(function, *values) for values in zip(batch, *others, strict=True)]
        named = isinstance(batch, tuple) and hasattr(batch, "_fields")
        return type(batch)(*parts) if named else type(batch)(parts)
    if is_dataclass(batch) and not isinstance(batch, type):
        changed = {
            field.name: map_tensors(
                function,
                getattr(batch, field.name),
                *(getattr(other, field.name) for other in others),
            )
            for field in fields(batch)
        }
        return replace(batch, **changed)
    return batch


def part_of(batch: Any, own: slice) -> Any:
    """Some of a batch's data: of each tensor those rows, or what the batch's own method `part(own)` makes of it.

    Raises:
        ProgramError: a tensor has another number of rows than the first, so that it is not known what belongs to whom.
    """
    count = len(first_tensor(batch))

    def rows(tensor: Tensor) -> Tensor:
        if tensor.dim() and len(tensor) != count:
            raise ProgramError(
                f"a tensor of shape {list(tensor.shape)} in a batch of {count} data; expected {count} rows, or a batch "
                "with a method part(slice)"
            )
        return tensor[own] if tensor.dim() else tensor

    return batch.part(own) if hasattr(batch, "part") else map_tensors(rows, batch)
