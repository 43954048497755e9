"""How the axes of an operation's result follow the axes of its inputs, for the operations of torch's core.

Axis a of an input *follows* to axis b of the result if element i along b is made from elements i along a and from no
other. The table holds what is known for certain; any other operation is taken to mix all axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# For each axis of an input, the axis of the result that follows it; None: it is mixed.
AxisMap = Sequence[int | None]
Follows = Iterator[tuple[Tensor, AxisMap]]

REDUCTIONS = frozenset(
    [
        "sum",
        "mean",
        "prod",
        "amax",
        "amin",
        "aminmax",
        "max",
        "min",
        "argmax",
        "argmin",
        "logsumexp",
        "any",
        "all",
        "var",
        "std",
        "var_mean",
        "std_mean",
        "norm",
        "linalg_vector_norm",
        "nansum",
        "nanmean",
        "count_nonzero",
        "median",
        "nanmedian",
        "mode",
        "kthvalue",
    ]
)
# They rearrange or accumulate along one axis.
ALONG_ONE_AXIS = frozenset(
    [
        "_softmax",
        "_log_softmax",
        "cumsum",
        "cumprod",
        "logcumsumexp",
        "cummax",
        "cummin",
        "sort",
        "topk",
        "_cummax_helper",
        "renorm",
    ]
)
SAME_AXES = frozenset(
    [
        "clone",
        "_to_copy",
        "detach",
        "alias",
        "lift_fresh",
        "lift_fresh_copy",
        "contiguous",
        "tril",
        "triu",
        "masked_fill",
        "nan_to_num",
        "copy",
        "log_sigmoid_forward",
        "bernoulli",
        "poisson",
        "normal",
        "binomial",
        "zero",
        "fill",
    ]
)
LOSSES = frozenset(
    [
        "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "soft_margin_loss",
    ]
)
# The same elements in the same order: `framework.recording.provenance` follows them itself.
VIEWS = frozenset(("view", "_unsafe_view", "_reshape_alias"))


def follows(function: Any, arguments: dict[str, Any], results: Sequence[Tensor]) -> Follows | None:
    """For each input tensor of an operation its axis map; inputs left out are mixed. None: nothing is known.

    Args:
        function: the operator's overload, such as `torch.ops.aten.add.Tensor`.
        arguments: its arguments by the names of its schema.
        results: the tensors that it returned.
    """
    name = name_of(function)
    if name.startswith("_foreach"):
        return None
    if torch.Tag.pointwise in function.tags or name in SAME_AXES:
        return pointwise(tensors(arguments.values()), results[0].shape)
    if name in LOSSES:
        none = arguments.get("reduction") == 0
        return pointwise(tensors(arguments.values()), results[0].shape) if none else None
    if name in REDUCTIONS:
        return reduction(arguments, results[0])
    if name in ALONG_ONE_AXIS:
        return along(arguments)
    rule = RULES.get(name)
    return None if rule is None else rule(arguments, results[0])


def name_of(function: Any) -> str:
    """An operator's name without its namespace and the underscore of its form in place."""
    name: str = function._schema.name.removeprefix("aten::").removesuffix("_")
    return name


def reads_values(function: Any) -> bool:
    """Whether a result depends on the values of the inputs, not on their shapes alone."""
    name = name_of(function)
    return not (name.endswith("_like") or name.startswith("new_"))


def fixed_shape(function: Any, arguments: Mapping[str, Any]) -> bool:
    """Whether the shape of a result is known without the values: indexing is by whole numbers, not by a mask."""
    given = [each for each in arguments.get("indices") or () if each is not None]
    masks = any(each.dtype in (torch.bool, torch.uint8) for each in given)
    return name_of(function) == "index" and not masks


def tensors(values: Any) -> Iterator[Tensor]:
    """All tensors among arguments, lists of tensors included."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from (item for item in value if isinstance(item, Tensor))


def broadcast(shape: Sequence[int], result: Sequence[int], offset: int = 0) -> list[int | None]:
    """The axes of a tensor that is broadcast to `result`, whose axis 0 is the axis `offset` of the operation's."""
    shift = len(result) - len(shape)
    if shift < 0:
        return [None] * len(shape)
    return [
        a + shift + offset if size == result[a + shift] else None for a, size in enumerate(shape)
    ]


def pointwise(inputs: Iterator[Tensor], result: Sequence[int]) -> Follows:
    for tensor in inputs:
        yield tensor, broadcast(tensor.shape, result)


def reduction(arguments: dict[str, Any], result: Tensor) -> Follows:
    """Over the axes `dim`, or all."""
    tensor = first(arguments)
    given = arguments.get("dim")
    if given is None or given == []:
        yield tensor, [None] * tensor.dim()
        return
    gone = {
        d % max(1, tensor.dim()) for d in (given if isinstance(given, list | tuple) else [given])
    }
    keep = bool(arguments.get("keepdim", False))
    axes, position = [], 0
    for a in range(tensor.dim()):
        axes.append(None if a in gone else position)
        position += keep or a not in gone
    yield tensor, axes


def along(arguments: dict[str, Any]) -> Follows:
    """Along the axis `dim`, the last where none is given."""
    tensor = first(arguments)
    gone = arguments.get("dim", -1) % max(1, tensor.dim())
    yield tensor, [None if a == gone else a for a in range(tensor.dim())]


def expand(arguments: dict[str, Any], result: Tensor) -> Follows:
    yield from pointwise(iter([first(arguments)]), result.shape)


def permute(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    order = [d % tensor.dim() for d in arguments["dims"]]
    yield tensor, [order.index(a) for a in range(tensor.dim())]


def transpose(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    axes = list(range(tensor.dim()))
    if axes:
        a, b = (arguments.get(key, i) % tensor.dim() for i, key in enumerate(("dim0", "dim1")))
        axes[a], axes[b] = axes[b], axes[a]
    yield tensor, axes


def matrix_transpose(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    yield tensor, list(range(tensor.dim()))[::-1]


def unsqueeze(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    at = arguments["dim"] % result.dim()
    yield tensor, [a + (a >= at) for a in range(tensor.dim())]


def squeeze(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    given = arguments.get("dim", range(tensor.dim()))
    given = [given] if isinstance(given, int) else given
    gone = {d % max(1, tensor.dim()) for d in given}
    axes: list[int | None] = []
    position = 0
    for a, size in enumerate(tensor.shape):
        leaves = size == 1 and a in gone
        axes.append(None if leaves else position)
        position += not leaves
    yield tensor, axes


def select(arguments: dict[str, Any], result: Tensor) -> Follows:
    """One index of an axis, or each in turn."""
    tensor = first(arguments)
    at = arguments.get("dim", 0) % tensor.dim()
    yield tensor, [None if a == at else a - (a > at) for a in range(tensor.dim())]


def part(arguments: dict[str, Any], result: Tensor) -> Follows:
    """Some indices of an axis: unless they are all, element i is another one afterwards."""
    tensor = first(arguments)
    at = arguments.get("dim", 0) % tensor.dim()
    whole = result.shape[at] == tensor.shape[at] and arguments.get("step", 1) == 1
    yield tensor, [None if a == at and not whole else a for a in range(tensor.dim())]


def rearranged(arguments: dict[str, Any], result: Tensor) -> Follows:
    """Along the axes `dims` (all where none are given) elements change places."""
    tensor = first(arguments)
    given = arguments.get("dims") or range(tensor.dim())
    gone = {d % tensor.dim() for d in given}
    yield tensor, [None if a in gone else a for a in range(tensor.dim())]


def cat(arguments: dict[str, Any], result: Tensor) -> Follows:
    at = arguments.get("dim", 0) % max(1, result.dim())
    for tensor in arguments["tensors"]:
        if tensor.dim() == result.dim():
            yield tensor, [None if a == at else a for a in range(tensor.dim())]


def stack(arguments: dict[str, Any], result: Tensor) -> Follows:
    at = arguments.get("dim", 0) % result.dim()
    for tensor in arguments["tensors"]:
        yield tensor, [a + (a >= at) for a in range(tensor.dim())]


def gather(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor, index = first(arguments), arguments["index"]
    at = arguments["dim"] % max(1, tensor.dim())
    same = [size == result.shape[a] for a, size in enumerate(tensor.shape)]
    yield tensor, [a if same[a] and a != at else None for a in range(tensor.dim())]
    yield index, list(range(index.dim()))


def scatter(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    at = arguments["dim"] % max(1, tensor.dim())
    yield tensor, list(range(tensor.dim()))
    for name in ("index", "src"):
        other = arguments.get(name)
        if isinstance(other, Tensor):
            axes = range(other.dim())
            fits = [a != at and other.shape[a] == result.shape[a] for a in axes]
            yield other, [a if fit else None for a, fit in zip(axes, fits, strict=True)]


def index_select(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor, index = first(arguments), arguments["index"]
    at = arguments["dim"] % max(1, tensor.dim())
    yield tensor, [None if a == at else a for a in range(tensor.dim())]
    yield index, [at] * index.dim()


def embedding(arguments: dict[str, Any], result: Tensor) -> Follows:
    index = arguments["indices"]
    yield index, list(range(index.dim()))


def index(arguments: dict[str, Any], result: Tensor) -> Follows:
    """Indexing by tensors of whole numbers at neighbouring axes: their broadcast axes take those axes' place."""
    tensor, indices = first(arguments), arguments["indices"]
    where = [a for a, each in enumerate(indices) if each is not None]
    given = [indices[a] for a in where]
    if where != list(range(where[0], where[0] + len(where))):
        return
    shape = torch.broadcast_shapes(*(each.shape for each in given))
    start, grown = where[0], len(shape) - len(where)
    axes = [None if a in where else a + (grown if a > start else 0) for a in range(tensor.dim())]
    yield tensor, axes
    for each in given:
        yield each, broadcast(each.shape, shape, start)


def product(arguments: dict[str, Any], result: Tensor) -> Follows:
    """A matrix product, with batch axes or without, and what is added to it."""
    names = ("mat1", "mat2", "batch1", "batch2", "mat", "vec")
    factors: list[Tensor] = [arguments[name] for name in names if name in arguments]
    if len(factors) == 1:
        factors = [first(arguments), *factors]
    else:
        yield arguments["self"], broadcast(arguments["self"].shape, result.shape)
    left, right = factors
    rows = left.dim() - 1
    yield left, [*range(rows), None]
    yield right, [*range(rows - 1), None, rows] if right.dim() > 1 else [None]


def pad(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    same = [size == result.shape[a] for a, size in enumerate(tensor.shape)]
    moved = tensor.dim() - len(arguments["pad"]) // 2
    yield tensor, [a if a < moved and same[a] else None for a in range(tensor.dim())]


def repeat(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = first(arguments)
    shift = result.dim() - tensor.dim()
    fits = [arguments["repeats"][a + shift] == 1 for a in range(tensor.dim())]
    yield tensor, [a + shift if fits[a] else None for a in range(tensor.dim())]


def layer_norm(arguments: dict[str, Any], result: Tensor) -> Follows:
    tensor = arguments["input"]
    kept = tensor.dim() - len(arguments["normalized_shape"])
    yield tensor, [a if a < kept else None for a in range(tensor.dim())]


def first(arguments: dict[str, Any]) -> Tensor:
    """An operation's main input, whatever its schema calls it."""
    found: Tensor = next(tensors(arguments.values()))
    return found


RULES: dict[str, Callable[[dict[str, Any], Tensor], Follows]] = {
    "expand": expand,
    "permute": permute,
    "transpose": transpose,
    "t": matrix_transpose,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    **dict.fromkeys(("select", "unbind"), select),
    **dict.fromkeys(("slice", "split", "split_with_sizes", "chunk", "narrow"), part),
    **dict.fromkeys(("flip", "roll"), rearranged),
    "cat": cat,
    "stack": stack,
    "gather": gather,
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), scatter),
    "index_select": index_select,
    "embedding": embedding,
    "index": index,
    **dict.fromkeys(("mm", "bmm", "mv", "addmm", "baddbmm", "addmv"), product),
    "constant_pad_nd": pad,
    "repeat": repeat,
    "native_layer_norm": layer_norm,
}
