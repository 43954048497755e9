"""How one tensor operation passes on dependence: which elements of its result depend on what its operands depend on.

A mask is `[V, *shape]`, true where an element of a tensor of that shape may depend on variable v. The rules never say
too little: an operation that is not known here makes every element of its result depend on all that its operands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor

Mask = Tensor
# An operand and its mask; None: it depends on no variable.
Operand = tuple[Tensor, Mask | None]

# Elementwise operations that torch does not mark so.
ELEMENTWISE = {"copy_", "_to_copy", "log_sigmoid_forward", "bernoulli", "bernoulli_", "polar"}
# The result depends on its operand's shape alone.
SHAPE_ONLY = {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}
SHAPE_ONLY |= {"new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided"}
# They move elements and compute nothing.
MOVES = {"cat", "stack", "repeat", "flip", "roll", "tril", "triu", "diag_embed", "index_select"}
MOVES |= {"gather", "index", "constant_pad_nd", "take", "embedding", "_unsafe_index"}
MOVES |= {"_reshape_copy", "expand_copy", "view_copy"}
# The number of the first argument, if any, that tells where an element comes from.
PLACES = {"index": 1, "_unsafe_index": 1, "index_select": 2, "gather": 2, "take": 1, "embedding": 1}
# Along the given dimension every element depends on all; elsewhere nothing is mixed.
ALONG = {"_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk", "gather"}
ALONG |= {"scatter", "scatter_", "scatter_add", "scatter_add_", "argsort", "cummax", "cummin"}
# There on its elements up to it.
CUMULATED = {"cumsum", "cumprod", "logcumsumexp"}
PRODUCTS = {"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"}


def result_mask(
    function: Any, args: Sequence[Any], kwargs: dict[str, Any], operands: list[Operand], out: Tensor
) -> Mask:
    """The mask of `out`, a result of `function(*args, **kwargs)`, at least one of whose operands has a mask."""
    name = function.overloadpacket.__name__
    if name in SHAPE_ONLY:
        return torch.zeros_like(everything(operands, out.shape))
    if is_elementwise(function) or unreduced(name, args, kwargs):
        return elementwise(operands, out.shape)
    found: Mask | None = None
    if name in PRODUCTS:
        found = product(name, operands, out)
    elif name in MOVES:
        found = moved(name, function, args, kwargs, operands, out)
    if found is None and (torch.Tag.reduction in function.tags or name in REDUCTIONS):
        found = reduced(function, args, kwargs, operands, out)
    if found is None and name in ALONG:
        found = along(function, args, kwargs, operands, out)
    return everything(operands, out.shape) if found is None else found


REDUCTIONS = {"sum", "mean", "any", "all", "amax", "amin", "max", "min", "argmax", "argmin", "prod"}
REDUCTIONS |= {"logsumexp", "var", "std", "linalg_vector_norm", "norm"}


@cache
def is_elementwise(function: Any) -> bool:
    """Whether an operation, or the one of which it is the form that works in place, is marked as elementwise."""
    name = function.overloadpacket.__name__
    if name in ELEMENTWISE or torch.Tag.pointwise in function.tags:
        return True
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    if packet is None:
        return False
    forms = [getattr(packet, overload) for overload in packet.overloads()]
    return all(
        torch.Tag.pointwise in form.tags for form in forms if "out" not in form._overloadname
    )


def everything(operands: Sequence[Operand], shape: Sequence[int]) -> Mask:
    """Every element depends on all that any operand depends on."""
    total = torch.stack([mask.flatten(1).any(1) for _, mask in operands if mask is not None]).any(0)
    return total.reshape(-1, *[1] * len(shape)).expand(-1, *shape)


def elementwise(operands: Sequence[Operand], shape: Sequence[int]) -> Mask:
    """Each element depends on what the elements at its place, broadcast, depend on."""
    total: Mask | None = None
    for _, mask in operands:
        if mask is None:
            continue
        wide = mask.reshape(len(mask), *[1] * (1 + len(shape) - mask.dim()), *mask.shape[1:])
        total = wide if total is None else total | wide
    assert total is not None
    return total.expand(-1, *shape)


def unreduced(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether an operation is binary cross-entropy of each element."""
    reduction = args[4] if len(args) > 4 else kwargs.get("reduction", 1)
    return name == "binary_cross_entropy_with_logits" and reduction == 0


def argument(function: Any, args: Sequence[Any], kwargs: dict[str, Any], name: str) -> Any:
    """An argument by its name; None where it is not given."""
    for number, known in enumerate(function._schema.arguments):
        if known.name == name:
            return args[number] if number < len(args) else kwargs.get(name, known.default_value)
    return None


def reduced(
    function: Any, args: Sequence[Any], kwargs: dict[str, Any], operands: list[Operand], out: Tensor
) -> Mask | None:
    """Each element depends on the elements that it sums up."""
    (_, mask), *others = operands
    if mask is None or any(other is not None for _, other in others):
        return None
    dims = argument(function, args, kwargs, "dim")
    count = mask.dim() - 1
    dims = [dims] if isinstance(dims, int) else list(dims or range(count))
    for dim in dims:
        axis = 1 + dim % max(count, 1)
        mask = mask.any(axis, keepdim=True) if count else mask
    return mask.reshape(-1, *out.shape)


def along(
    function: Any, args: Sequence[Any], kwargs: dict[str, Any], operands: list[Operand], out: Tensor
) -> Mask | None:
    """Each element depends on all elements in its line along the given dimension."""
    dim = argument(function, args, kwargs, "dim")
    if not isinstance(dim, int) or not out.dim():
        return None
    axis = dim % out.dim()
    total: Mask | None = None
    for tensor, mask in operands:
        if mask is None:
            continue
        rest = [size for i, size in enumerate(out.shape) if i != axis]
        if tensor.dim() != out.dim() or rest != [
            size for i, size in enumerate(tensor.shape) if i != axis
        ]:
            return None
        if function.overloadpacket.__name__ in CUMULATED:
            line = mask.int().cumsum(1 + axis) > 0
        else:
            line = mask.any(1 + axis, keepdim=True)
        total = line if total is None else total | line
    assert total is not None
    return total.expand(-1, *out.shape)


def product(name: str, operands: list[Operand], out: Tensor) -> Mask | None:
    """Each element depends on its row of the left matrix and its column of the right one."""
    added, factors = (
        (operands[:1], operands[1:]) if name.startswith(("add", "badd")) else ([], operands)
    )
    if len(factors) != 2:
        return None
    (left, left_mask), (right, right_mask) = factors
    total = torch.zeros(len(masks_of(operands)[0]), *out.shape, dtype=torch.bool)
    if left_mask is not None:
        rows = left_mask.any(-1)
        total = total | (rows if right.dim() == 1 else rows.unsqueeze(-1))
    if right_mask is not None:
        columns = right_mask.any(1 if right.dim() < 3 else 2)
        total = total | (
            columns.unsqueeze(-2)
            if left.dim() > 1 and right.dim() > 1
            else columns.reshape(-1, *[1] * out.dim())
        )
    if masks_of(added):
        total = total | elementwise(added, out.shape)
    return total


def masks_of(operands: Sequence[Operand]) -> list[Mask]:
    return [mask for _, mask in operands if mask is not None]


def moved(
    name: str,
    function: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    operands: list[Operand],
    out: Tensor,
) -> Mask | None:
    """Each element depends on what the element that it was depends on, which labels in its place tell."""
    places = [p for p in tensors_in(args[PLACES[name]])] if name in PLACES else []
    masks = {id(tensor): mask for tensor, mask in operands}
    if any(masks.get(id(place)) is not None for place in places):
        return indexed(name, args, operands, places, masks, out)
    columns: list[Mask] = [torch.zeros_like(masks_of(operands)[0].flatten(1)[:, :1])]
    first = 1

    def label(value: Any) -> Any:
        nonlocal first
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return [label(v) for v in value]
        if not isinstance(value, Tensor) or any(value is place for place in places):
            return value
        labels = torch.arange(first, first + value.numel(), device=value.device)
        first += value.numel()
        mask = masks.get(id(value))
        flat = columns[0].expand(-1, value.numel()) if mask is None else mask.flatten(1)
        columns.append(flat)
        return labels.reshape(value.shape)

    labelled = [arg if i == PLACES.get(name) else label(arg) for i, arg in enumerate(args)]
    if name == "constant_pad_nd":
        labelled = [*labelled[:2], 0]
    source = function(*labelled, **kwargs).cpu()
    if source.shape != out.shape:
        return None
    return torch.cat(columns, 1)[:, source.flatten()].reshape(-1, *out.shape)


def indexed(
    name: str,
    args: Sequence[Any],
    operands: list[Operand],
    places: list[Tensor],
    masks: dict[int, Mask | None],
    out: Tensor,
) -> Mask | None:
    """Each element depends on the index that chose it, and on all that might have been chosen."""
    source = args[0]
    if name == "embedding":
        axis, shape = 0, args[1].shape
    elif name == "index_select":
        axis, shape = args[1] % max(source.dim(), 1), args[2].shape
    elif name in ("index", "_unsafe_index"):
        given = [i for i, place in enumerate(args[1]) if place is not None]
        adjacent = given == list(range(given[0], given[-1] + 1))
        axis = given[0] if adjacent else 0
        # torch's own function of this name imports a library for symbols, which takes seconds.
        shape = numpy.broadcast_shapes(*[tuple(place.shape) for place in places])
    else:
        return None
    chosen = [(place, masks.get(id(place))) for place in places]
    mask = elementwise(chosen, shape)
    mask = mask.reshape(
        *mask.shape[:1], *[1] * axis, *shape, *[1] * (out.dim() - axis - len(shape))
    )
    known = masks.get(id(source))
    if known is not None:
        mask = mask | everything([(source, known)], out.shape)
    return mask.expand(-1, *out.shape)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of an argument."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [tensor for each in value for tensor in tensors_in(each)]
    return []
