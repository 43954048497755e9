"""Which draws a program's values are made from, element by element: its operations are followed in one run.

A value made from draws is a `Traced` tensor. For each of these draws it knows which of its axes *follow* which axes of
the draw: element i along the one is made from elements i along the other and from no other. What is not known for
certain counts as made from all elements (an operation that `provenance_rules` does not know), and where nothing can be
known the run ends with `Untraceable`: at NumPy, at memory that outlives the run, and where a number is read from a
tensor, by which the program may branch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils._python_dispatch import TorchDispatchMode

from framework.recording.provenance_rules import (
    VIEWS,
    AxisMap,
    fixed_shape,
    follows,
    name_of,
    reads_values,
    tensors,
)
from framework.recording.rule import Rule, Rules
from framework.recording.trace import element_distribution


class Place(NamedTuple):
    """Where a draw's axis is found again: element i along `axis` has the draw's index (i // inner) % size."""

    axis: int
    inner: int
    size: int


# For each draw that a value is made from, by the draw's number: the place in the value of each axis of the draw's
# elements, leading ones included; None or left out: elements along it are mixed.
Origins = dict[int, tuple[Place | None, ...]]

# They read a number only to raise an error.
CHECKS = (
    "torch.distributions.distribution",
    "framework.recording.context",
    "framework.recording.moving_support",
)


class Untraceable(Exception):
    """What a value is made from cannot be followed."""


class Traced(Tensor):
    """A tensor made from draws. Once its run has ended it is an ordinary tensor to whoever kept it."""

    plain: Tensor
    origins: Origins
    run: Provenance
    # When `origins` was true: what was written into its memory later is not in it.
    time: int

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, tensor: Tensor, origins: Origins, run: Provenance) -> Traced:
        made: Traced = Tensor._make_wrapper_subclass(
            cls,
            tensor.size(),
            strides=tensor.stride(),
            storage_offset=tensor.storage_offset(),
            dtype=tensor.dtype,
            layout=tensor.layout,
            device=tensor.device,
        )
        made.plain, made.origins, made.run, made.time = tensor, origins, run, run.time
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = tensors([*args, *(kwargs or {}).values()])
        run = next(tensor.run for tensor in given if isinstance(tensor, Traced))
        return run.follow(function, args, kwargs or {})

    def ended(self) -> Tensor:
        """The tensor itself, after the run."""
        if self.run.active:
            raise Untraceable("a drawn value leaves torch")
        return self.plain

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        return self.ended().numpy(*args, **kwargs)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ended().__array__(*args, **kwargs)

    def tolist(self) -> Any:
        return self.ended().tolist()

    def data_ptr(self) -> int:
        return self.ended().data_ptr()

    def untyped_storage(self) -> Any:
        return self.ended().untyped_storage()

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        return self.ended().__dlpack__(*args, **kwargs)

    def __format__(self, form: str) -> str:
        return format(self.ended(), form)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.ended().__reduce_ex__(protocol)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return self.ended().clone()


class Written(NamedTuple):
    """What was written into memory in place, and when."""

    origins: Origins
    time: int


class Provenance(TorchDispatchMode):
    """One run of a program, every operation of which is followed; `draws` counts its draws."""

    def __init__(self) -> None:
        super().__init__()
        self.draws = 0
        self.time = 0
        self.active = False
        # While a rule samples: a draw depends on what its log-probability reads, however it is sampled.
        self.sampling = False
        # Whether a draw has a derivative that does not reach back beyond it here.
        self.has_path = False
        # The memory that the run itself has taken, by address; kept, so that no address occurs twice.
        self.taken: dict[int, Any] = {}
        # What was written into memory in place, by address and by the way to look at it (shape and strides).
        self.written: dict[int, dict[tuple[Any, ...], Written]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Torch would import its compiler for the first operation, which takes seconds.
        return False

    def __enter__(self) -> Self:
        self.active = True
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.active = False
        super().__exit__(*error)

    def rules(self, rules: Rules) -> Rules:
        """The same rules, whose draws are traced."""
        return lambda site: TracedRule(rules(site), self)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return self.follow(function, args, kwargs or {})

    def follow(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run an operation and note what its results are made from.

        Raises:
            Untraceable: it reads a number, or changes what outlives the run.
        """
        if not self.active:
            return function(*plain(args), **plain(kwargs))
        self.time += 1
        arguments = named(function, args, kwargs)
        inputs = list(tensors(arguments.values()))
        written = [arguments.get(a.name) for a in function._schema.arguments if writes(a)]
        targets = list(tensors(written))
        self.refuse(function, arguments, inputs, targets)
        sources = [(t, self.origins(t)) for t in inputs] if reads_values(function) else []
        result = function(*plain(args), **plain(kwargs))
        outputs = list(tensors([result]))
        self.take(function, inputs, outputs)
        given = {id(plain(target)): target for target in targets}
        if any(origins for _, origins in sources):
            made = merged(function, arguments, outputs or targets, sources)
            for target in targets:
                self.write(target, made)
            if not targets:
                given = {id(each): Traced(each, fitting(made, each), self) for each in outputs}
        return replaced(result, given)

    def refuse(
        self,
        function: Any,
        arguments: Mapping[str, Any],
        inputs: Sequence[Tensor],
        targets: list[Tensor],
    ) -> None:
        """Raise an error before an operation that is not followed, and leave what outlives the run as it is."""
        tags = function.tags
        if torch.Tag.inplace_view in tags and any(isinstance(t, Traced) for t in inputs):
            raise Untraceable("the shape of a drawn value changes in place")
        if any(no_memory(tensor) for tensor in inputs):
            raise Untraceable("a drawn value comes back from outside torch")
        dynamic = torch.Tag.dynamic_output_shape in tags and not fixed_shape(function, arguments)
        reads = dynamic or torch.Tag.data_dependent_output in tags
        if reads and not self.sampling and caller() not in CHECKS:
            raise Untraceable("the program reads a number, by which it may branch")
        if self.has_path and torch._C._current_graph_task_id() != -1:
            raise Untraceable("the program differentiates draws that have a path")
        if "batch_norm" in name_of(function):
            targets = [t for name, t in arguments.items() if name.startswith("running_")]
        for target in tensors(targets):
            if address(plain(target)) not in self.taken:
                raise Untraceable("the program changes a tensor that outlives its run")

    def origins(self, tensor: Tensor) -> Origins:
        """What a tensor is made from."""
        known: Origins = {}
        time = -1
        if isinstance(tensor, Traced):
            known, time = tensor.origins, tensor.time
        if not self.written:
            return known
        own = plain(tensor)
        written = self.written.get(address(own))
        if written is None:
            return known
        same = written.get(look(own))
        if same is not None and same.time > time:
            known, time = same
        later = [w.origins for key, w in written.items() if key != look(own) and w.time > time]
        return known | {number: () for origins in later for number in origins}

    def write(self, target: Tensor, made: Origins) -> None:
        """Note what was written into a tensor in place, for whatever shares its memory."""
        own, made = plain(target), fitting(made, target)
        self.written.setdefault(address(own), {})[look(own)] = Written(made, self.time)

    def take(self, function: Any, inputs: Sequence[Tensor], outputs: Iterable[Tensor]) -> None:
        """Note the memory that an operation has taken."""
        fresh = name_of(function) == "lift_fresh"
        old = set() if fresh else {address(plain(tensor)) for tensor in inputs}
        for tensor in outputs:
            storage = tensor.untyped_storage()
            if storage._cdata not in old:
                self.taken[storage._cdata] = storage


class TracedRule:
    """A rule whose draws are traced: each depends on what its log-probability reads."""

    def __init__(self, rule: Rule, run: Provenance) -> None:
        self.name, self.scored = rule.name, rule.scored
        self.biased, self.relaxed = rule.biased, rule.relaxed
        self.rule, self.run = rule, run

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        run = self.run
        run.sampling = True
        try:
            value = self.rule.draw(site, distribution, shape)
        finally:
            run.sampling = False
        hard = plain(value).detach()
        elements = element_distribution(distribution)
        log_prob = elements.log_prob(hard)
        axes = log_prob.dim() if log_prob.shape == hard.shape[: log_prob.dim()] else 0
        run.time += 1
        traced = Traced(hard, run.origins(log_prob) | {run.draws: places(hard, axes)}, run)
        run.draws += 1
        if value.requires_grad:
            run.has_path = True
            traced.requires_grad_()
        return traced


def merged(
    function: Any,
    arguments: dict[str, Any],
    results: Sequence[Tensor],
    sources: Sequence[tuple[Tensor, Origins]],
) -> Origins:
    """What an operation's results are made from."""
    if name_of(function) in VIEWS:
        tensor, own = sources[0]
        return viewed(own, tensor.shape, results[0].shape)
    origins = {id(tensor): own for tensor, own in sources}
    made: Origins = {}
    followed = set()
    for tensor, axes in follows(function, arguments, results) or () if results else ():
        followed.add(id(tensor))
        join(made, carried(origins[id(tensor)], axes))
    for tensor, own in sources:
        if id(tensor) not in followed:
            join(made, {number: () for number in own})
    return made


def places(tensor: Tensor, axes: int) -> tuple[Place, ...]:
    """Each of the first axes of a tensor, at its own place."""
    return tuple(Place(a, 1, tensor.shape[a]) for a in range(axes))


def carried(origins: Origins, axes: AxisMap) -> Origins:
    """Origins of a result, from those of one input and the axes that follow its axes."""

    def moved(place: Place | None) -> Place | None:
        axis = None if place is None else axes[place.axis]
        return None if place is None or axis is None else place._replace(axis=axis)

    return {number: tuple(map(moved, own)) for number, own in origins.items()}


def viewed(origins: Origins, old: Sequence[int], new: Sequence[int]) -> Origins:
    """Origins of a tensor in another shape: merged axes keep their indices, by row-major order."""
    before, after = strides(old), strides(new)

    def moved(place: Place | None) -> Place | None:
        if place is None or 0 in old:
            return None
        stride = before[place.axis] * place.inner
        for axis, (step, size) in enumerate(zip(after, new, strict=True)):
            if stride % step == 0 and (step * size) % (stride * place.size) == 0:
                return Place(axis, stride // step, place.size)
        return None

    return {number: tuple(map(moved, own)) for number, own in origins.items()}


def strides(shape: Sequence[int]) -> list[int]:
    """How far elements along each axis lie apart, in row-major order."""
    return [math.prod(shape[a + 1 :]) for a in range(len(shape))]


def join(made: Origins, other: Origins) -> None:
    """Add what a result is made from, too: an axis follows a draw's if it does so in every input."""
    for number, axes in other.items():
        known = made.get(number)
        if known is not None and known != axes:
            axes = tuple(a if a == b else None for a, b in zip_longest(known, axes))
        made[number] = axes


def fitting(origins: Origins, tensor: Tensor) -> Origins:
    """The origins of one of several results: an axis that it does not have follows nothing."""
    count = tensor.dim()
    return {
        number: tuple(p if p is not None and p.axis < count else None for p in own)
        for number, own in origins.items()
    }


def named(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """An operation's arguments by the names of its schema, the defaults included."""
    schema = function._schema.arguments
    arguments = {a.name: a.default_value for a in schema if a.default_value is not None}
    arguments.update((a.name, value) for a, value in zip(schema, args, strict=False))
    arguments.update(kwargs)
    return arguments


def writes(argument: Any) -> bool:
    """Whether an operation writes into this argument of its schema."""
    return argument.alias_info is not None and argument.alias_info.is_write


def plain(value: Any) -> Any:
    """A value, or the values in a list, tuple or mapping, without their traces."""
    if isinstance(value, Traced):
        return value.plain
    if isinstance(value, list | tuple):
        return type(value)([plain(each) for each in value])
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def replaced(result: Any, given: Mapping[int, Tensor]) -> Any:
    """An operation's result with some of its tensors replaced."""
    if isinstance(result, list | tuple):
        return type(result)([replaced(each, given) for each in result])
    return given.get(id(result), result)


def no_memory(tensor: Tensor) -> bool:
    """Whether a tensor is a trace that has lost its name: it was exported, or made another tensor's data."""
    return not isinstance(tensor, Traced) and tensor.numel() > 0 and tensor.data_ptr() == 0


def address(tensor: Tensor) -> int:
    """Which memory a tensor lies in."""
    number: int = tensor.untyped_storage()._cdata
    return number


def look(tensor: Tensor) -> tuple[Any, ...]:
    """How a tensor looks at its memory."""
    return tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def caller() -> str:
    """The module of the Python code that called torch."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    name: str = frame.f_globals["__name__"]
    return name
