"""Which random variables the elements of a program's tensors depend on, followed through every operation of a run.

Dependence is kept for each element of a tensor's storage, so that views and changes in place need no rules of their
own. What leaves torch (a Python branch, `.item()`, NumPy) cannot be followed, and nothing is proved then.

Two readers mark a run's draws with variables of their own making. Elimination (`gradients.enumeration.factor_graph`)
needs to know which elements an element depends on: a variable for each. Credit (`gradients.surrogate.credit`) needs to
know only whether it depends on one element and which, for draws of any size: two variables for each binary digit of
an element's number, see `framework.recording.element_codes`.
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

from framework.batch import leaves
from framework.recording.pausing import Pausable
from framework.recording.propagation import SHAPE_ONLY, Mask, Operation, result_mask

# By these a tensor's numbers leave torch without an operation.
EXITS = {"numpy", "tolist", "__array__", "__dlpack__", "data_ptr", "untyped_storage", "storage"}
EXITS |= {"_typed_storage", "__deepcopy__", "__reduce_ex__", "__reduce__", "__repr__", "__format__"}
# They return memory that nothing was written to.
ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
# They read values to raise an error and for nothing else.
CHECKS = (
    "torch/distributions/distribution.py",
    "framework/recording/moving_support.py",
)
# Bytes of all masks together; what needs more is not followed.
LARGEST_MASKS = 2**30


class NotProved(Exception):
    """What a program's draws and costs depend on could not be proved; says why."""


class Provenance(Pausable, TorchDispatchMode):
    """Follows what depends on `variables` variables.

    Args:
        lasting: what is found must hold for all parameters and data: Python may read no number of theirs, and an index
            of theirs may choose anything. Else they are taken as they are in this run, which `reads` tells.

    Attributes:
        left: why the run cannot be followed, such as the line in which a drawn value left torch; empty: it can.
        reads: whether parameters, data or other tensors from outside decided what depends on what: Python read one,
            or it decided where elements of a draw are moved.
    """

    def __init__(self, variables: int, *, lasting: bool = False) -> None:
        super().__init__()
        self.variables = variables
        self.lasting = lasting
        self.left = ""
        self.reads = False
        # By storage; the tensor keeps the storage alive, whose address is the key.
        self.masks: dict[int, tuple[Tensor, Mask]] = {}
        self.bytes = 0
        # Storage that the run has taken, and other storage that it has met.
        self.taken: dict[int, Tensor] = {}
        self.outside: dict[int, Tensor] = {}
        # Storage that no operation has written to yet: who reads it reads what was written outside of torch.
        self.unwritten: set[int] = set()
        # Storage that holds constants of the program; they are the same in every run.
        self.constants: set[int] = set()
        # Inside a function whose reading of values is a check.
        self.trusted = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its whole compiler at the first operation, which takes seconds.
        return False

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow all operations of the block, those of compiled functions one by one.

        Raises:
            NotProved: something cannot be followed, also where the block has caught that error.
        """
        compiles = "torch._dynamo" in sys.modules
        with (
            torch.compiler.set_stance("force_eager") if compiles else nullcontext(),
            self,
            Exits(self),
        ):
            yield
        if self.left:
            raise NotProved(self.left)

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
                self.leave(f"its tensors are too large to follow {self.variables} variables")
            of_storage = torch.zeros(self.variables, size, dtype=torch.bool)
            known = self.masks[key] = (tensor, of_storage)
            self.taken[key] = tensor
        part_of(known[1], tensor).copy_(mask)

    def of(self, tensor: Tensor) -> Mask | None:
        """What a tensor's elements depend on, `[V, *shape]`; None: nothing."""
        known = self.masks.get(key_of(tensor))
        if known is None:
            return None
        if known[0].element_size() != tensor.element_size():
            total = known[1].any(1)
            return total.reshape(-1, *[1] * tensor.dim()).expand(-1, *tensor.shape)
        return part_of(known[1], tensor)

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
        if self.paused:
            return func(*args, **kwargs)
        with self.pause():
            return self.follow(func, args, kwargs)

    def follow(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run an operation and note what its results depend on.

        Raises:
            NotProved: the operation cannot be followed; it has not been run then.
        """
        given = list(leaves((args, kwargs)))
        for tensor in given:
            self.meet(tensor)
        masks = [self.of(tensor) for tensor in given]
        # Before the call, which may change them.
        masks = [None if mask is None or not mask.any() else mask.clone() for mask in masks]
        operation = Operation(func, args, kwargs, list(zip(given, masks, strict=True)))
        sources, written = {key_of(tensor) for tensor in given}, list(written_by(operation))
        fixed = torch.Tag.nondeterministic_seeded not in func.tags
        # `torch.tensor` of numbers arrives as something lifted.
        constant = fixed and (operation.name == "lift_fresh" or sources <= self.constants)
        constant &= not operation.masks
        self.refuse_changes(operation, written)
        if reads_values(operation):
            self.note(operation.name, bool(operation.masks), constant)
        if operation.masks and operation.places and not operation.chosen_by_variables:
            self.note_places(operation)
        changed = {key_of(tensor) for tensor in written}
        self.note_unwritten(operation, sources, changed)
        result = func(*args, **kwargs)
        results = [*leaves(result), *written]
        self.take(operation, results, sources, constant)
        for out in results if operation.masks else ():
            if out.numel() and (key_of(out) in changed or key_of(out) not in sources):
                self.mark(out, result_mask(operation, out))
        return result

    def meet(self, tensor: Tensor) -> None:
        """Look at an operand for the first time.

        Raises:
            NotProved: it is sparse; or it is not of this run and shares memory with what depends on a variable.
        """
        self.refuse_sparse(tensor)
        key = key_of(tensor)
        if key in self.taken or key in self.outside:
            return
        self.outside[key] = tensor
        start, end = memory_of(tensor)
        for known, _ in self.masks.values():
            first, last = memory_of(known)
            if start < last and first < end:
                self.leave("a drawn value comes back from outside torch")

    def refuse_sparse(self, tensor: Tensor) -> None:
        """Raise an error for a tensor that has no storage of its elements in order."""
        if tensor.layout != torch.strided:
            self.leave("a sparse tensor is not followed")

    def refuse_changes(self, operation: Operation, written: list[Tensor]) -> None:
        """Raise an error before an operation that changes what outlives the run, or the size of a followed storage."""
        if operation.name.startswith("resize") and operation.masks:
            self.leave("the memory of a drawn value changes its size")
        if "batch_norm" in operation.name:
            # Its schema does not say so.
            written = list(leaves([operation.argument(f"running_{s}") for s in ("mean", "var")]))
        if any(key_of(tensor) not in self.taken for tensor in written):
            self.leave("the program changes a tensor that outlives its run")

    def take(
        self, operation: Operation, results: list[Tensor], sources: set[int], constant: bool
    ) -> None:
        """Note the memory that an operation has taken, and whether what it returns or has written to is constant."""
        for tensor in results:
            self.refuse_sparse(tensor)
            key = key_of(tensor)
            if key not in sources or operation.name == "lift_fresh":
                self.taken[key] = tensor
            if operation.name in ALLOCATES and tensor.numel():
                self.unwritten.add(key)
            if constant:
                self.constants.add(key)
            elif not is_view(operation):
                self.constants.discard(key)

    def note_places(self, operation: Operation) -> None:
        """Note where tensors from outside tell where elements of a draw are moved."""
        if all(key_of(place) in self.constants for place in operation.places):
            return
        operation.trusts_indices = not self.lasting
        self.reads |= not self.lasting

    def note_unwritten(self, operation: Operation, sources: set[int], written: set[int]) -> None:
        """Note where an operation computes with memory to which no operation has written."""
        for key in sources & self.unwritten:
            if key in written:
                self.unwritten.discard(key)
            elif not is_view(operation) and operation.name not in SHAPE_ONLY:
                self.leave("memory that was filled by other means than torch")

    def note(self, what: str, depends: bool, constant: bool) -> None:
        """Note that a tensor's value was read."""
        if self.trusted or constant:
            return
        frame = user_frame()
        if frame.f_code.co_filename.replace("\\", "/").endswith(CHECKS):
            return
        self.reads = True
        if depends:
            where = f"{what} in {frame.f_code.co_name}, line {frame.f_lineno}"
            self.leave(f"a drawn value leaves torch: {where}")
        if self.lasting:
            self.leave("the program reads a number, by which it may branch")

    def leave(self, why: str) -> None:
        """Raise the error for what cannot be followed.

        Raises:
            NotProved: always.
        """
        self.left = self.left or why
        raise NotProved(why)


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
            given = list(leaves(args))
            with self.provenance.pause():
                depends = any(map(self.provenance.depends, given))
            self.provenance.note(
                name, depends, all(key_of(t) in self.provenance.constants for t in given)
            )
        # With a number of classes given it reads its operand for a check alone.
        trusted = name == "one_hot" and max([*args[1:2], kwargs.get("num_classes", -1)]) > 0
        with self.provenance.trusting() if trusted else nullcontext():
            return func(*args, **kwargs)


def key_of(tensor: Tensor) -> int:
    """A tensor's storage."""
    return int(tensor.untyped_storage()._cdata)


def memory_of(tensor: Tensor) -> tuple[int, int]:
    """Where a tensor's storage begins and ends; nowhere where it has no memory."""
    storage = tensor.untyped_storage()
    start = storage.data_ptr()
    return start, start + storage.nbytes() if start else 0


def is_view(operation: Operation) -> bool:
    """Whether an operation's result is its operand's storage, unchanged."""
    arguments = operation.function._schema.arguments
    aliases = [a.alias_info for a in arguments if a.alias_info is not None]
    return bool(aliases) and not any(alias.is_write for alias in aliases)


def part_of(mask: Mask, tensor: Tensor) -> Mask:
    """The part of a storage's mask that is the tensor's, as a view."""
    return mask.as_strided(
        (len(mask), *tensor.shape), (mask.shape[1], *tensor.stride()), tensor.storage_offset()
    )


def reads_values(operation: Operation) -> bool:
    """Whether an operation's result is a Python value, or has a shape that depends on its operands' values."""
    tags = operation.function.tags
    if torch.Tag.data_dependent_output in tags:
        return True
    if torch.Tag.dynamic_output_shape not in tags:
        return False
    if operation.name not in ("index", "_unsafe_index"):
        return True
    return any(place.dtype in (torch.bool, torch.uint8) for place in operation.places)


def written_by(operation: Operation) -> Iterator[Tensor]:
    """The tensors that an operation changes in place."""
    for argument in operation.function._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from leaves(operation.argument(argument.name))


def user_frame() -> Any:
    """The nearest frame that is neither torch's (its distributions apart) nor this module's."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_code.co_filename.replace("\\", "/")
        if name != __file__ and ("/torch/" not in name or "/torch/distributions/" in name):
            break
        frame = frame.f_back
    return frame
