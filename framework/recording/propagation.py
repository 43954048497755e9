"""How one tensor operation passes on dependence: which elements of its result depend on what its operands depend on.

A mask is `[V, *shape]`, true where an element of a tensor of that shape may depend on variable v. The rules never say
too little: an operation that is not known here makes every element of its result depend on all that its operands do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy
import torch
from torch import Tensor

from framework.batch import leaves

Mask = Tensor
# An operand and its mask; None: it depends on no variable.
Operand = tuple[Tensor, Mask | None]

# Elementwise operations that torch does not mark so; of random ones, each element has randomness of its own.
ELEMENTWISE = {"copy_", "fill_", "_to_copy", "log_sigmoid_forward", "polar", "native_dropout"}
ELEMENTWISE |= {"bernoulli", "bernoulli_", "poisson", "normal", "binomial"}
# They leave nothing of what their first operand was.
OVERWRITE = {"copy_", "fill_"}
# They are elementwise if they sum nothing up.
LOSSES = {"binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss", "l1_loss"}
LOSSES |= {"smooth_l1_loss", "huber_loss", "soft_margin_loss"}
# The result depends on its operand's shape alone.
SHAPE_ONLY = {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"}
SHAPE_ONLY |= {"new_zeros", "new_ones", "new_empty", "new_full", "new_empty_strided", "zero_"}
# They move elements and compute nothing.
MOVES = {"cat", "stack", "repeat", "flip", "roll", "tril", "triu", "diag_embed", "index_select"}
MOVES |= {"gather", "index", "constant_pad_nd", "take", "embedding", "_unsafe_index"}
MOVES |= {"_reshape_copy", "expand_copy", "view_copy"}
# The number of the first argument, if any, that tells where an element comes from.
PLACES = {"index": 1, "_unsafe_index": 1, "index_select": 2, "gather": 2, "take": 1, "embedding": 1}
# Along the given dimension every element depends on all; elsewhere nothing is mixed.
ALONG = {"_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "sort", "topk", "gather"}
ALONG |= {"scatter", "scatter_", "scatter_add", "scatter_add_", "argsort", "cummax", "cummin"}
ALONG |= {"scatter_reduce", "scatter_reduce_", "index_select"}
# There on its elements up to it.
CUMULATED = {"cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"}
PRODUCTS = {"mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"}
# Reductions that torch does not mark so.
REDUCTIONS = {"median", "nanmedian", "mode", "kthvalue"}


@dataclass(eq=False)
class Operation:
    """One call of an operation, at least one of whose operands has a mask.

    Attributes:
        operands: all tensors among the arguments, in order.
        trusts_indices: whether indices that depend on no variable are what they will always be.
    """

    function: Any
    args: Sequence[Any]
    kwargs: dict[str, Any]
    operands: list[Operand]
    trusts_indices: bool = True

    @cached_property
    def name(self) -> str:
        name: str = self.function.overloadpacket.__name__
        return name

    @cached_property
    def masks(self) -> list[Mask]:
        """The masks of the operands that have one."""
        return masks_of(self.operands)

    def argument(self, name: str) -> Any:
        """An argument by its name; None where it is not given."""
        for number, known in enumerate(self.function._schema.arguments):
            if known.name == name:
                given = number < len(self.args)
                return self.args[number] if given else self.kwargs.get(name, known.default_value)
        return None

    @cached_property
    def places(self) -> list[Tensor]:
        """The indices that tell where elements come from."""
        return list(leaves(self.args[PLACES[self.name]])) if self.name in PLACES else []

    def mask_of(self, tensor: Tensor) -> Mask | None:
        return next((mask for operand, mask in self.operands if operand is tensor), None)

    @cached_property
    def chosen_by_variables(self) -> bool:
        """Whether an index depends on a variable."""
        return any(self.mask_of(place) is not None for place in self.places)


def result_mask(operation: Operation, out: Tensor) -> Mask:
    """The mask of `out`, a result of the operation."""
    name, shape = operation.name, out.shape
    read = operation.operands[1:] if name in OVERWRITE else operation.operands
    found: Mask | None = None
    if name in SHAPE_ONLY or not masks_of(read):
        return torch.zeros_like(everything(operation.operands, shape))
    if is_elementwise(operation.function) or unreduced(operation):
        found = elementwise(read, shape)
    elif name in PRODUCTS:
        found = product(operation, out)
    elif operation.chosen_by_variables:
        found = indexed(operation, out)
    elif name in MOVES and (operation.trusts_indices or name not in PLACES):
        found = moved(operation, out)
    elif name == "native_layer_norm":
        found = normalised(operation, out)
    elif torch.Tag.reduction in operation.function.tags or name in REDUCTIONS:
        found = reduced(operation, out)
    if found is None and name in ALONG:
        found = along(operation, out)
    return everything(operation.operands, shape) if found is None else found


@cache
def is_elementwise(function: Any) -> bool:
    """Whether an operation, or the one of which it is the form that works in place, is marked as elementwise."""
    name = function.overloadpacket.__name__
    if name.startswith("_foreach"):
        # Its operands are lists of tensors, each with the others at its number.
        return False
    if name in ELEMENTWISE or torch.Tag.pointwise in function.tags:
        return True
    packet = getattr(torch.ops.aten, name.removesuffix("_"), None) if name.endswith("_") else None
    if packet is None:
        return False
    forms = [getattr(packet, overload) for overload in packet.overloads()]
    return all(
        torch.Tag.pointwise in form.tags for form in forms if "out" not in form._overloadname
    )


def unreduced(operation: Operation) -> bool:
    """Whether an operation is a loss of each element."""
    return operation.name in LOSSES and operation.argument("reduction") == 0


def masks_of(operands: Sequence[Operand]) -> list[Mask]:
    return [mask for _, mask in operands if mask is not None]


def everything(operands: Sequence[Operand], shape: Sequence[int]) -> Mask:
    """Every element depends on all that any operand depends on."""
    total = torch.stack([mask.flatten(1).any(1) for mask in masks_of(operands)]).any(0)
    return total.reshape(-1, *[1] * len(shape)).expand(-1, *shape)


def elementwise(operands: Sequence[Operand], shape: Sequence[int]) -> Mask | None:
    """Each element depends on what the elements at its place, broadcast, depend on; None: they are not broadcast."""
    total: Mask | None = None
    for mask in masks_of(operands):
        own = mask.shape[1:]
        missing = len(shape) - len(own)
        if missing < 0 or any(a not in (1, b) for a, b in zip(own, shape[missing:], strict=True)):
            return None
        wide = mask.reshape(len(mask), *[1] * missing, *own)
        total = wide if total is None else total | wide
    assert total is not None
    return total.expand(-1, *shape)


def reduced(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on the elements that it sums up."""
    (_, mask), *others = operation.operands
    if mask is None or masks_of(others):
        return None
    dims = operation.argument("dim")
    count = mask.dim() - 1
    dims = [dims] if isinstance(dims, int) else list(dims or range(count))
    for dim in dims:
        axis = 1 + dim % max(count, 1)
        mask = mask.any(axis, keepdim=True) if count else mask
    # No axes may mean all or none.
    return mask.reshape(-1, *out.shape) if mask[0].numel() == out.numel() else None


def normalised(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on all that are normalised with it, along the last axes."""
    (_, mask), *others = operation.operands
    if mask is None or masks_of(others):
        return None
    for axis in range(1, 1 + len(operation.args[1])):
        mask = mask.any(-axis, keepdim=True)
    return mask.expand(-1, *out.shape)


def along(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on all elements in its line along the given dimension."""
    dim = operation.argument("dim")
    if not isinstance(dim, int) or not out.dim():
        return None
    axis = dim % out.dim()
    total: Mask | None = None
    for tensor, mask in operation.operands:
        if mask is None:
            continue
        rest = [size for i, size in enumerate(out.shape) if i != axis]
        if tensor.dim() != out.dim() or rest != [
            size for i, size in enumerate(tensor.shape) if i != axis
        ]:
            return None
        line = mask.any(1 + axis, keepdim=True)
        if operation.name in CUMULATED:
            line = mask.int().cumsum(1 + axis) > 0
        total = line if total is None else total | line
    assert total is not None
    return total.expand(-1, *out.shape)


def product(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on its row of the left matrix and its column of the right one."""
    operands = operation.operands
    added, factors = (operands[:1], operands[1:]) if len(operands) == 3 else ([], operands)
    if len(factors) != 2:
        return None
    (left, left_mask), (right, right_mask) = factors
    total = torch.zeros(len(operation.masks[0]), *out.shape, dtype=torch.bool)
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
        own = elementwise(added, out.shape)
        return None if own is None else total | own
    return total


def moved(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on what the element that it was depends on, which labels in its place tell."""
    name, places = operation.name, operation.places
    columns: list[Mask] = [torch.zeros_like(operation.masks[0].flatten(1)[:, :1])]
    first = 1

    def label(value: Any) -> Any:
        nonlocal first
        if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
            return [label(v) for v in value]
        if not isinstance(value, Tensor) or any(value is place for place in places):
            return value
        labels = torch.arange(first, first + value.numel(), device=value.device)
        first += value.numel()
        mask = operation.mask_of(value)
        flat = columns[0].expand(-1, value.numel()) if mask is None else mask.flatten(1)
        columns.append(flat)
        return labels.reshape(value.shape)

    labelled = [
        arg if i == PLACES.get(name) else label(arg) for i, arg in enumerate(operation.args)
    ]
    if name == "constant_pad_nd":
        labelled = [*labelled[:2], 0]
    source = operation.function(*labelled, **operation.kwargs).cpu()
    if source.shape != out.shape:
        return None
    return torch.cat(columns, 1)[:, source.flatten()].reshape(-1, *out.shape)


def indexed(operation: Operation, out: Tensor) -> Mask | None:
    """Each element depends on the index that chose it, and on all that might have been chosen."""
    name, args, places = operation.name, operation.args, operation.places
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
    mask = elementwise([(place, operation.mask_of(place)) for place in places], shape)
    if mask is None:
        return None
    mask = mask.reshape(
        *mask.shape[:1], *[1] * axis, *shape, *[1] * (out.dim() - axis - len(shape))
    )
    known = operation.mask_of(source)
    if known is not None:
        mask = mask | everything([(source, known)], out.shape)
    return mask.expand(-1, *out.shape)
