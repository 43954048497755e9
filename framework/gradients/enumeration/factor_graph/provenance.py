"""Which random variables the elements of a program's tensors depend on, followed through every operation of a run.

Dependence is kept for each element of a tensor's storage, so that views and changes in place need no rules of their
own. What leaves torch (a Python branch, `.item()`, NumPy) cannot be followed and is noted: nothing is proved then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from framework.gradients.enumeration.factor_graph.propagation import (
    PLACES,
    SHAPE_ONLY,
    Mask,
    result_mask,
    tensors_in,
)

# By these a tensor's numbers leave torch without an operation.
EXITS = {"numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage"}
EXITS |= {"_typed_storage", "__deepcopy__", "__reduce_ex__", "__reduce__", "__repr__", "__format__"}
# They return memory that nothing was written to.
ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
# Its checks read values to raise an error and for nothing else.
CHECKS = "torch/distributions/distribution.py"


# Bytes of all masks together; what needs more is not followed.
LARGEST_MASKS = 2**30


class NotProved(Exception):
    """What a program's draws and costs depend on could not be proved; says why."""


class Provenance(TorchDispatchMode):
    """Follows what depends on `variables` variables while it is entered.

    Attributes:
        left: by what a value that depends on a variable left torch, and in which line; empty: none did.
        reads: whether parameters, data or other tensors from outside decided what depends on what: Python read one,
            or it told where elements of a draw are moved.
    """

    def __init__(self, variables: int) -> None:
        super().__init__()
        self.variables = variables
        self.left = ""
        self.reads = False
        # By storage; the tensor keeps the storage alive, whose address is the key.
        self.masks: dict[int, tuple[Tensor, Mask]] = {}
        self.bytes = 0
        # Storage that no operation has written to yet: who reads it reads what was written outside of torch.
        self.unwritten: dict[int, Tensor] = {}
        # Storage that holds constants of the program; they are the same in every run.
        self.constants: dict[int, Tensor] = {}
        # Inside a function whose reading of values is a check.
        self.trusted = 0
        self.paused = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its whole compiler at the first operation, which takes seconds.
        return False

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow all operations of the block, those of compiled functions one by one."""
        compiles = "torch._dynamo" in sys.modules
        with (
            torch.compiler.set_stance("force_eager") if compiles else nullcontext(),
            self,
            Exits(self),
        ):
            yield

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Follow nothing in the block."""
        before, self.paused = self.paused, True
        try:
            yield
        finally:
            self.paused = before

    @contextmanager
    def trusting(self) -> Iterator[None]:
        """What the block reads does not change the course of the program."""
        self.trusted += 1
        try:
            yield
        finally:
            self.trusted -= 1

    def mark(self, tensor: Tensor, mask: Mask) -> None:
        """Say what a tensor's elements depend on: `mask` is `[V, *shape]`."""
        key = key_of(tensor)
        known = self.masks.get(key)
        if known is None:
            size = tensor.untyped_storage().nbytes() // tensor.element_size()
            self.bytes += self.variables * size
            if self.bytes > LARGEST_MASKS:
                raise NotProved(f"its tensors are too large to follow {self.variables} variables")
            of_storage = torch.zeros(self.variables, size, dtype=torch.bool)
            known = self.masks[key] = (tensor, of_storage)
        in_place(tensor, known).copy_(mask)

    def of(self, tensor: Tensor) -> Mask | None:
        """What a tensor's elements depend on, `[V, *shape]`; None: nothing."""
        known = self.masks.get(key_of(tensor))
        if known is None:
            return None
        if known[0].element_size() != tensor.element_size():
            total = known[1].any(1)
            return total.reshape(-1, *[1] * tensor.dim()).expand(-1, *tensor.shape)
        return in_place(tensor, known)

    def depends(self, tensor: Tensor) -> bool:
        mask = self.of(tensor)
        return mask is not None and bool(mask.any())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused or self.left:
            return func(*args, **kwargs)
        with self.pause():
            return self.follow(func, args, kwargs)

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation and note what its results depend on."""
        name = func.overloadpacket.__name__
        given = tensors_in(args) + tensors_in(list(kwargs.values()))
        if any(tensor.layout != torch.strided for tensor in given):
            raise NotProved("a sparse tensor is not followed")
        masks = [self.of(tensor) for tensor in given]
        # Before the call, which may change them.
        masks = [None if mask is None or not mask.any() else mask.clone() for mask in masks]
        followed = any(mask is not None for mask in masks)
        written = {key_of(tensor) for tensor in written_arguments(func, args, kwargs)}
        sources = {key_of(tensor) for tensor in given}
        # `torch.tensor` of numbers arrives so.
        lifted = name == "lift_fresh"
        constant = not followed and (lifted or sources <= self.constants.keys())
        if reads_values(func, args):
            self.note(name, followed, constant)
        self.note_unwritten(func, sources, written)
        result = func(*args, **kwargs)
        if name in ALLOCATES:
            self.unwritten[key_of(result)] = result
        if constant:
            self.constants.update({key_of(tensor): tensor for tensor in tensors_in(result)})
        else:
            for key in written:
                self.constants.pop(key, None)
        if followed and name in PLACES:
            places = tensors_in(args[PLACES[name]])
            self.reads |= any(
                key_of(place) not in self.constants and not self.depends(place) for place in places
            )
        if self.left or not followed:
            return result
        operands = list(zip(given, masks, strict=True))
        for out in tensors_in(result):
            key = key_of(out)
            if out.numel() and (key in written or key not in sources):
                self.mark(out, result_mask(func, args, kwargs, operands, out))
        return result

    def note_unwritten(self, func: Any, sources: set[int], written: set[int]) -> None:
        """Note where an operation computes with memory to which no operation has written."""
        for key in sources & self.unwritten.keys():
            if key in written:
                del self.unwritten[key]
            elif not is_view(func) and func.overloadpacket.__name__ not in SHAPE_ONLY:
                self.left = self.left or "memory that was filled by other means than torch"

    def note(self, what: str, depends: bool, constant: bool) -> None:
        """Note that a tensor's value was read."""
        if self.trusted:
            return
        frame = user_frame()
        if frame.f_code.co_filename.endswith(CHECKS):
            return
        self.reads |= not constant
        if depends and not self.left:
            self.left = f"{what} in {frame.f_code.co_name}, line {frame.f_lineno}"


class Exits(TorchFunctionMode):
    """Notes calls by which a tensor's numbers leave torch without an operation."""

    def __init__(self, provenance: Provenance) -> None:
        super().__init__()
        self.provenance = provenance

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self.provenance.paused:
            return func(*args, **kwargs)
        if name in EXITS:
            with self.provenance.pause():
                depends = any(map(self.provenance.depends, tensors_in(args)))
                known = all(key_of(t) in self.provenance.constants for t in tensors_in(args))
            self.provenance.note(name, depends, known)
        # With a number of classes given it reads its operand for a check alone.
        trusted = name == "one_hot" and max([*args[1:2], kwargs.get("num_classes", -1)]) > 0
        with self.provenance.trusting() if trusted else nullcontext():
            return func(*args, **kwargs)


def key_of(tensor: Tensor) -> int:
    """A tensor's storage."""
    return int(tensor.untyped_storage()._cdata)


def is_view(function: Any) -> bool:
    """Whether an operation's result is its operand's storage, unchanged."""
    aliases = [a.alias_info for a in function._schema.arguments if a.alias_info is not None]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def in_place(tensor: Tensor, known: tuple[Tensor, Mask]) -> Mask:
    """The part of a storage's mask that is the tensor's, as a view."""
    mask = known[1]
    return mask.as_strided(
        (len(mask), *tensor.shape), (mask.shape[1], *tensor.stride()), tensor.storage_offset()
    )


def reads_values(function: Any, args: tuple[Any, ...]) -> bool:
    """Whether an operation's result is a Python value, or has a shape that depends on its operands' values."""
    if torch.Tag.data_dependent_output in function.tags:
        return True
    if torch.Tag.dynamic_output_shape not in function.tags:
        return False
    name = function.overloadpacket.__name__
    if name not in ("index", "_unsafe_index"):
        return True
    return any(place.dtype in (torch.bool, torch.uint8) for place in tensors_in(args[1]))


def written_arguments(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    for number, argument in enumerate(function._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        yield from tensors_in(args[number] if number < len(args) else kwargs.get(argument.name))


def user_frame() -> Any:
    """The nearest frame that is neither torch's (its distributions apart) nor this module's."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if name != __file__ and ("/torch/" not in name or "/torch/distributions/" in name):
            break
        frame = frame.f_back
    return frame
