"""Follows what becomes of a program's draws: which values depend on them, and the calls that matter to a gradient."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from framework.batch import leaves
from framework.errors import ProgramError
from framework.lint.calls import (
    ESCAPES,
    ONE_NUMBER,
    SAMPLERS,
    SHAPES,
    Call,
    effect_of,
    is_straight_through,
    name_of,
    own_draw,
    own_line,
    users_line,
)
from framework.lint.mixing import may_mix_data, may_mix_samples
from framework.lint.noise import is_noise
from framework.lint.sample_axis import meets_its_length
from framework.recording.derivatives import has_derivative, in_forward_mode, layers
from framework.recording.pausing import Pausable

Names = frozenset[Any]
# Stands for the noise that a program draws by itself.
OWN_NOISE = object()


class Labels:
    """Tensors and the names of what they depend on, be they draws or calls."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], Names]] = {}

    def of(self, values: Iterable[Tensor]) -> Names:
        """The names of all that these tensors depend on."""
        found: Names = frozenset()
        for value in values:
            for layer in layers(value):
                known = self._known.get(id(layer))
                if known is not None and known[0]() is layer:
                    found |= known[1]
        return found

    def put(self, values: Iterable[Tensor], names: Names) -> None:
        for value in values:
            for layer in layers(value):
                self._known[id(layer)] = weakref.ref(layer), names


@dataclass(eq=False)
class Mark:
    """A tensor as it was when it was recorded; `line` is where it was changed in place."""

    what: str
    value: Tensor
    version: int
    copy: Tensor | None
    line: str | None = None

    @property
    def changed(self) -> bool:
        """Whether it was changed in place, by torch or (where there is a copy) through memory shared with NumPy."""
        if self.value._version != self.version:
            return True
        if self.copy is None:
            return False
        same = (self.value == self.copy) | self.value.isnan() & self.copy.isnan()
        return not bool(same.all())


class Watch(Pausable, TorchFunctionMode):
    """The function mode under which a watched program runs.

    Attributes:
        draws: which draws a tensor depends on.
        ungraded: tensors computed under `no_grad` from what requires a gradient.
        paths: the draws whose path is differentiated.
        calls: what may make a gradient miss something of them, or of a parameter.
        parametric: those of them that bring a parameter together with a random value.
        unnamed: calls that may jump in a parameter and meet no value that is known to be random.
        straight_through: calls that return one value and have the gradient of another.
        mixing: calls that may bring the samples of a draw together, such as a mean over them.
        mixing_data: calls that may bring the data of a batch together.
        aligned: calls in which the samples of a draw meet another value's first axis.
        numbers: calls that take a value that depends on a parameter out of torch.
        cuts: the calls by which a tensor's gradient was cut on its way; `cut` are all of them.
        escaped: whether a value that depends on a draw was taken out of torch.
    """

    def __init__(self) -> None:
        super().__init__()
        # Of the run: the lengths of the sample axis and of the first batch axis; 1 where there is none.
        self.samples = self.data = 1
        self.graded = torch.is_grad_enabled()
        self.draws, self.ungraded, self.cuts = Labels(), Labels(), Labels()
        self.paths: set[str] = set()
        self.calls: dict[Call, None] = {}
        self.parametric: set[Call] = set()
        self.unnamed: dict[Call, None] = {}
        self.straight_through: dict[Call, None] = {}
        self.mixing: dict[Call, None] = {}
        self.mixing_data: dict[Call, None] = {}
        self.aligned: dict[Call, None] = {}
        self.numbers: dict[Call, None] = {}
        self.cut: dict[Call, None] = {}
        self.escaped = False
        self.marks: list[Mark] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return function(*args, **kwargs)
        inputs = list(leaves((args, kwargs)))
        carrying = any(has_derivative(value) for value in inputs)
        if self.may_lose_a_gradient(name_of(function)):
            refuse_own_draw(name_of(function), inputs)
        result = function(*args, **kwargs)
        if inputs:
            self.note(name_of(function), args, kwargs, inputs, carrying, list(leaves(result)))
        if is_noise(name_of(function)) and own_line():
            self.draws.put(leaves(result), frozenset({OWN_NOISE}))
        return result

    def may_lose_a_gradient(self, name: str) -> bool:
        """Whether a call may draw by itself where a derivative is wanted."""
        if in_forward_mode():
            return True
        return self.graded and (name.strip("_") in SAMPLERS or not torch.is_grad_enabled())

    def note(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: list[Tensor],
        carrying: bool,
        outputs: list[Tensor],
    ) -> None:
        """Take in one call: what its outputs depend on, and whether it matters."""
        in_place = changes_in_place(name, kwargs)
        reached = [*outputs, *inputs[:1]] if in_place else outputs
        names = frozenset() if name in SHAPES else self.draws.of(inputs)
        if names:
            self.draws.put(reached, names)
            self.escaped |= name in ESCAPES and names != {OWN_NOISE}
            if name not in ONE_NUMBER:
                self.note_axes(name, (*args[1:], *kwargs.values()), inputs, outputs, names)
        if cuts := self.cuts.of(inputs):
            self.cuts.put(reached, cuts)
        if (
            self.graded
            and not torch.is_grad_enabled()
            and (any(value.requires_grad for value in inputs) or self.ungraded.of(inputs))
        ):
            lost = [value for value in reached if not value.requires_grad]
            self.ungraded.put(lost, frozenset({"no_grad"}))
        if (carrying or not self.paths.isdisjoint(names)) and any(
            value.is_floating_point() for value in inputs
        ):
            self.consider(name, kwargs, carrying, names, outputs)
        if in_place:
            self.find_line_of_changes()

    def note_axes(
        self,
        name: str,
        options: tuple[Any, ...],
        inputs: list[Tensor],
        outputs: list[Tensor],
        names: Names,
    ) -> None:
        """Note a call that may bring samples or data together, or their axes and others."""
        found = []
        if may_mix_samples(name, self.samples, options, inputs, outputs):
            found.append(self.mixing)
        if may_mix_data(name, self.samples, self.data, options, inputs, outputs):
            found.append(self.mixing_data)
        if names != {OWN_NOISE} and meets_its_length(self.samples, inputs, self.draws.of):
            found.append(self.aligned)
        line = users_line() if found else None
        if line is not None:
            for calls in found:
                calls[Call("mix", name, line)] = None

    def consider(
        self,
        name: str,
        kwargs: dict[str, Any],
        carrying: bool,
        names: Names,
        outputs: list[Tensor],
    ) -> None:
        """Note a call with a value that depends on a draw with a path, or on a parameter."""
        lost = carrying and not any(has_derivative(value) for value in outputs)
        effect = effect_of(name, kwargs, outputs, lost)
        line = None if effect is None else users_line()
        if effect is None or line is None:
            return
        call = Call(effect, name, line)
        jumps = effect in ("jump", "sawtooth")
        if carrying and not names <= self.paths and jumps:
            self.parametric.add(call)
        if carrying and not names and jumps:
            self.unnamed[call] = None
        if carrying and effect == "escape":
            self.numbers[call] = None
        if carrying and is_straight_through(name, kwargs):
            self.straight_through[call] = None
        if not (self.paths or names):
            return
        if effect == "cut":
            # It matters where it reaches a cost.
            self.cut[call] = None
            self.cuts.put(outputs, self.cuts.of(outputs) | {call})
        else:
            self.calls[call] = None

    def arrived(self, values: Iterable[Tensor]) -> None:
        """Take in what is charged, or drawn from: a cut on the way to it matters."""
        self.calls |= dict.fromkeys(self.cuts.of(values))

    def mark(self, what: str, value: Tensor, *, copied: bool = True) -> None:
        """Keep in mind how a tensor is that must not be changed any more."""
        if value.is_inference() or not has_memory(value):
            return
        with self.pause():
            # Under vmap there is no value to look at.
            whole = copied and not torch._C._functorch.is_functorch_wrapped_tensor(value)
            copy = value.detach().clone() if whole else None
        self.marks.append(Mark(what, value, value._version, copy))

    def find_line_of_changes(self) -> None:
        for mark in self.marks:
            if mark.line is None and mark.value._version != mark.version:
                mark.line = users_line() or ""


def has_memory(value: Tensor) -> bool:
    """Whether a tensor has numbers that can be read or changed; an index that is drawn softly has none."""
    return type(value).__torch_dispatch__ is Tensor.__torch_dispatch__


def refuse_own_draw(name: str, inputs: list[Tensor]) -> None:
    """Refuse a draw that the program makes by itself from values with a gradient, which is lost there."""
    call = own_draw(name) if any(map(has_derivative, inputs)) else None
    if call is not None:
        raise ProgramError(
            f"{call} draws from a value that depends on a parameter, whose gradient is lost: draw it with "
            "context.sample(name, distribution), or from tensors that are detached where that is meant"
        )


def changes_in_place(name: str, kwargs: dict[str, Any]) -> bool:
    dunder = name.startswith("__")
    return (
        "out" in kwargs
        or name == "__setitem__"
        or name.startswith("__i")
        or (name.endswith("_") and not dunder)
    )
