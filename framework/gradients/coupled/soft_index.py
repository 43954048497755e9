"""An index drawn softly: what a program is given for a relaxed Categorical draw.

A `SoftIndex` is a finite distribution: weights w_k over the values v_k that the hard index may have. An operation is
applied to every value. Where the results are floating-point numbers they are averaged,

    f(z) = sum over k of w_k f(v_k),

which is f itself where one weight is 1; where they are integers or truth values they are another `SoftIndex` with the
same weights, so that `table[z + 1]` and `(z == 2) | (z == 3)` are what they should be. Several draws in one operation
are averaged over all combinations of their values; what is made of several counts as a draw of its own afterwards,
which is right, too, where one weight is 1. What has no such average (`int(z)`, a branch) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import embedding, one_hot
from torch.utils._pytree import tree_flatten, tree_map

from framework.capabilities import alternatives
from framework.errors import ProgramError

SERVED_USES = (
    "look-ups such as table[k], gather, take_along_dim, index_select and embedding, one_hot with a number of "
    "classes, comparisons, torch.where, arithmetic and casts"
)


class SoftIndex(Tensor):
    """Integers or truth values of which only a distribution is known.

    Attributes:
        weights: `[*shape, K]`, differentiable; they sum to 1.
        support: their values, `[K]` or `[*shape, K]`.
        site, estimator: the draw that it comes from and who relaxed it, for errors.
    """

    weights: Tensor
    support: Tensor
    site: str
    estimator: str

    @staticmethod
    def __new__(
        cls, weights: Tensor, values: Tensor, site: str = "", estimator: str = ""
    ) -> SoftIndex:
        shape = torch.broadcast_shapes(weights.shape, values.shape)
        self: SoftIndex = torch.Tensor._make_wrapper_subclass(
            cls, shape[:-1], dtype=values.dtype, device=weights.device
        )
        self.weights, self.support, self.site, self.estimator = weights, values, site, estimator
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DESCRIBE:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **kwargs)
        serve = RULES.get(func)
        if serve is not None:
            return serve(*args, **kwargs)
        if func in ELEMENTWISE:
            return elementwise(func, args, kwargs)
        return refuse_use(func, (args, kwargs))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        # What reads the numbers without a function of torch's interface, such as torch.tensor(z).
        refuse_use(func, (args, kwargs or {}))

    def __repr__(  # type: ignore[override]
        self, *, tensor_contents: Any = None
    ) -> str:
        return f"SoftIndex(draw '{self.site}', weights {list(self.weights.shape)})"


def soft_index(weights: Tensor, site: str, estimator: str) -> SoftIndex:
    """The index with the given weights of 0 to K - 1, `[..., K]`."""
    values = torch.arange(weights.shape[-1], device=weights.device)
    return SoftIndex(weights, values, site, estimator)


def refuse_use(func: Callable[..., Any] | str, given: Any) -> NoReturn:
    """Refuse a use that has no average over the values.

    Raises:
        ProgramError: always.
    """
    origin = next(a for a in tree_flatten(given)[0] if isinstance(a, SoftIndex))
    name = func if isinstance(func, str) else getattr(func, "__name__", str(func))
    raise use_error(origin.site, origin.estimator, f"uses it in '{name}'")


def use_error(site: str, estimator: str, what: str) -> ProgramError:
    """The error for a program that does something with a relaxed index which cannot be served."""
    return ProgramError(
        f"draw '{site}' ~ Categorical: {estimator} relaxes the index, and the program {what}; it serves "
        f"{SERVED_USES}; {alternatives([{'Categorical', 'finite'}], without=estimator, black_box=True, hard=True)}"
    )


class Combined:
    """The operands of one operation with every combination of values along new last axes, one for each draw."""

    def __init__(self, operands: Any) -> None:
        soft = [a for a in tree_flatten(operands)[0] if isinstance(a, SoftIndex)]
        self.origin = soft[0]
        # What was made from the same weights varies together.
        self.distinct = list({id(a.weights): a.weights for a in soft}.values())
        self.axes = len(self.distinct)
        self.weight = self.spread(self.distinct[0], 0)
        for i, weights in enumerate(self.distinct[1:], start=1):
            self.weight = self.weight * self.spread(weights, i)
        self.hard = tree_map(self.hardened, operands)

    def spread(self, values: Tensor, axis: int) -> Tensor:
        """`[..., K]` with K as the given one of the new axes."""
        count = values.shape[-1]
        return values.reshape(*values.shape[:-1], *[1] * axis, count, *[1] * (self.axes - 1 - axis))

    def hardened(self, operand: Any) -> Any:
        """An operand with its values along the new axes."""
        if isinstance(operand, SoftIndex):
            axis = next(i for i, w in enumerate(self.distinct) if w is operand.weights)
            return self.spread(spelt_out(operand)[1], axis)
        if isinstance(operand, Tensor):
            return operand.reshape(*operand.shape, *[1] * self.axes)
        return operand

    def finish(self, result: Tensor, trailing: int = 0) -> Tensor:
        """The average over the last axes; integers and truth values are kept with their weights.

        Args:
            trailing: how many axes of the result were not among the operands'.
        """
        weight = self.weight
        if trailing:
            batch = weight.shape[: weight.dim() - self.axes]
            weight = weight.reshape(*batch, *[1] * trailing, *weight.shape[len(batch) :])
        if result.is_floating_point():
            return (weight.to(result.dtype) * result).flatten(-self.axes).sum(-1)
        if self.axes == 1:
            # The same tensor where it can be: what is made from one draw varies together.
            weight = weight if trailing else self.distinct[0]
            return SoftIndex(weight, result, self.origin.site, self.origin.estimator)
        shape = torch.broadcast_shapes(weight.shape, result.shape)
        weight, result = (t.expand(shape).flatten(-self.axes) for t in (weight, result))
        return SoftIndex(weight, result, self.origin.site, self.origin.estimator)


def spelt_out(index: SoftIndex) -> tuple[Tensor, Tensor]:
    """The weights and the values, both `[*shape, K]`."""
    weights, values = torch.broadcast_tensors(index.weights, index.support)
    return weights, values


def elementwise(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    if any(isinstance(a, Tensor) for a in kwargs.values()):
        refuse_use(func, (args, kwargs))
    combined = Combined(args)
    return combined.finish(func(*combined.hard, **kwargs))


def get_item(table: Tensor, index: Any) -> Tensor:
    """`table[index]`, where either is soft."""
    parts = index if isinstance(index, tuple) else (index,)
    if isinstance(table, SoftIndex):
        return part_of(table, parts)
    first = parts[0]
    simple = len(parts) == 1 and isinstance(first, SoftIndex) and first.support.dim() == 1
    if simple and first.dtype != torch.bool and table.is_floating_point():
        found: Tensor = torch.tensordot(first.weights.to(table.dtype), table[first.support], 1)
        return found
    refuse_unusual(parts)
    combined = Combined(parts)
    result = table[combined.hard]
    indices = [part for part in parts if isinstance(part, Tensor)]
    shape = torch.broadcast_shapes(*(part.shape for part in indices))
    at = lead(parts, table.dim()) + len(shape)
    trailing = result.dim() - at - combined.axes
    values = list(range(at, at + combined.axes))
    result = result.movedim(values, list(range(-combined.axes, 0)))
    return combined.finish(result, trailing)


def part_of(index: SoftIndex, parts: tuple[Any, ...]) -> Tensor:
    """`index[parts]`, without the axis of the values."""
    if any(isinstance(part, SoftIndex) for part in parts):
        refuse_use("a soft index of a soft index", index)
    whole = slice(None) if any(part is Ellipsis for part in parts) else Ellipsis
    weights, values = (t[(*parts, whole)] for t in spelt_out(index))
    return SoftIndex(weights, values, index.site, index.estimator)


def refuse_unusual(parts: tuple[Any, ...]) -> None:
    """Refuse indices beside a soft one of which the result's axes are not known here."""
    tensors = [part for part in parts if isinstance(part, Tensor)]
    for part in parts:
        known = part is None or part is Ellipsis or isinstance(part, int | slice | Tensor)
        if not known or isinstance(part, bool):
            refuse_use(f"an index beside a {type(part).__name__}", parts)
        if isinstance(part, Tensor) and part.dtype == torch.bool:
            refuse_use("an index by truth values", parts)
        if isinstance(part, Tensor) and part.dim() == 0 and len(tensors) > 1:
            refuse_use("an index by several tensors, one of them a scalar", parts)


def lead(parts: tuple[Any, ...], axes: int) -> int:
    """How many axes of `table[parts]` come before those of the tensors among the parts; `axes`: of the table."""
    consumed = sum(part is not None and part is not Ellipsis for part in parts)
    # An integer leaves no axis.
    kept = [part for part in parts if not isinstance(part, int)]
    places = [i for i, part in enumerate(kept) if isinstance(part, Tensor)]
    # Tensors that are not side by side move to the front.
    if places != list(range(places[0], places[-1] + 1)):
        return 0
    return sum(axes - consumed if part is Ellipsis else 1 for part in kept[: places[0]])


def gather(table: Tensor, dim: int, index: Tensor) -> Tensor:
    if isinstance(table, SoftIndex):
        refuse_use("gather", table)
    combined = Combined([index])
    values = combined.hard[0]
    count = values.shape[-1]
    dim = dim % table.dim()
    return combined.finish(table.unsqueeze(-1).expand(*table.shape, count).gather(dim, values))


def take_along_dim(table: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    if isinstance(table, SoftIndex) or dim is None:
        refuse_use("take_along_dim", (table, indices))
    combined = Combined([indices])
    return combined.finish(
        torch.take_along_dim(table.unsqueeze(-1), combined.hard[0], dim % table.dim())
    )


def index_select(table: Tensor, dim: int, index: Tensor) -> Tensor:
    if isinstance(table, SoftIndex) or index.dim() != 1:
        refuse_use("index_select", (table, index))
    return get_item(table.movedim(dim, 0), index).movedim(0, dim)


def embed(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq or sparse:
        refuse_use(
            "embedding with padding_idx, max_norm, scale_grad_by_freq or sparse", (input, weight)
        )
    return get_item(weight, input)


def one_hot_weights(tensor: SoftIndex, num_classes: int = -1) -> Tensor:
    """The weight of each class, in the weights' precision."""
    if num_classes < 0:
        refuse_use("one_hot without a number of classes", tensor)
    weights, values = spelt_out(tensor)
    coded = one_hot(values, num_classes).to(weights.dtype)
    return (weights.unsqueeze(-2) @ coded).squeeze(-2)


def unsqueeze(index: SoftIndex, dim: int) -> Tensor:
    dim = dim % (index.dim() + 1)
    weights, values = (t.unsqueeze(dim) for t in spelt_out(index))
    return SoftIndex(weights, values, index.site, index.estimator)


RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    Tensor.__getitem__: get_item,
    Tensor.gather: gather,
    torch.gather: gather,
    Tensor.take_along_dim: take_along_dim,
    torch.take_along_dim: take_along_dim,
    Tensor.index_select: index_select,
    torch.index_select: index_select,
    embedding: embed,
    one_hot: one_hot_weights,
    Tensor.unsqueeze: unsqueeze,
    torch.unsqueeze: unsqueeze,
    Tensor.requires_grad.__get__: lambda index: index.weights.requires_grad,  # type: ignore[attr-defined]
}

NAMES = (
    "add sub mul div true_divide floor_divide remainder fmod pow neg abs eq ne lt le gt ge "
    "logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor "
    "minimum maximum where clamp sqrt square exp log sin cos"
)
METHODS = (
    "__add__ __radd__ __sub__ __rsub__ __mul__ __rmul__ __truediv__ __rtruediv__ __div__ __rdiv__ __floordiv__ "
    "__rfloordiv__ __mod__ __rmod__ __pow__ __rpow__ __neg__ __abs__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ "
    "__and__ __rand__ __or__ __ror__ __xor__ __rxor__ __invert__ float double half bfloat16 long int to type bool "
    "clone contiguous cpu cuda"
)
ELEMENTWISE = {
    getattr(place, name)
    for place, names in ((torch, NAMES), (Tensor, NAMES), (Tensor, METHODS))
    for name in names.split()
    if hasattr(place, name)
}
DESCRIBE = {
    Tensor.dim,
    Tensor.size,
    Tensor.numel,
    Tensor.nelement,
    Tensor.__len__,
    Tensor.is_floating_point,
    Tensor.is_complex,
    Tensor.is_inference,
    torch.is_inference,
    torch.is_floating_point,
    torch.is_complex,
    torch.is_tensor,
    Tensor.shape.__get__,  # type: ignore[attr-defined]
    Tensor.ndim.__get__,  # type: ignore[attr-defined]
    Tensor.dtype.__get__,  # type: ignore[attr-defined]
    Tensor.device.__get__,
    Tensor.layout.__get__,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__,  # type: ignore[attr-defined]
    Tensor._version.__get__,  # type: ignore[attr-defined]
}
