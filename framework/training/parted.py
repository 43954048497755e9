"""Whether an objective over a batch is the mean of those over its parts, which several processes make of it.

A loss that compares the data of a batch with each other, that divides by what the batch holds, or that is a sum over
it, is another objective where each process sees its part only. So a process runs the program on its batch and on the
two halves of it, which exchange with each other what processes would: `framework.ranks` and batch normalisation serve
both. A program that costs the same again has the same objective and the same gradient, but for rounding; one that
draws, or has noise of its own, the same on average over a few runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from framework import ranks
from framework.batch import first_tensor, part_of
from framework.config.explanation import first_line
from framework.errors import ProgramError, UserError
from framework.lint.calls import name_of
from framework.outside_state import OutsideState
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import key, seeded
from framework.recording.rule import Always, Plain

# Samples of each run.
SAMPLES = 4
# Of a program with noise: so many runs are looked at, and more where they differ by more standard errors than noise is
# likely to; by as many as cannot be noise in the end.
RUNS = ((8, 4.0), (64, 8.0))
# Of an objective and of a gradient, the part that may be rounding, in full precision on a CPU and elsewhere. A value on
# the other side of a kink changes a gradient by more than the objective: by 0.2 % that of a face recogniser.
FINE, COARSE = (1e-3, 1e-2), (3e-2, 1e-1)

REMEDY = (
    "it compares the data of a batch with each other, divides by what they hold or is a sum over them, and of several "
    "processes each sees its own only; expected costs of each datum or a mean over data; "
    "framework.ranks.all_rows(x) has the rows of all, framework.ranks.summed(x) a sum over all"
)


class WithoutDropout(TorchFunctionMode):
    """Inside it nothing is dropped, be it whole features or weights of attention: noise would hide a difference."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if name_of(function).strip("_").endswith("dropout"):
            return args[0] if args else kwargs["input"]
        if "dropout_p" in kwargs:
            kwargs["dropout_p"] = 0.0
        return function(*args, **kwargs)


class Drawn(Plain):
    """Samples like `Plain`, and takes draws that were made earlier."""

    name = "drawn"
    scored = True


@dataclass(frozen=True)
class Look:
    """What one run of a batch, or the runs of its parts together, have shown.

    Attributes:
        value: the objective.
        size: the mean size of what it is made of.
        gradient: by parameter; empty: not asked for.
    """

    value: float
    size: float
    gradient: list[Tensor]


class Parts:
    """A program with a batch, to be run as a whole and in halves."""

    def __init__(self, program: Program, parameters: Parameters, batch: Any) -> None:
        self.program = replace(program, checked=False)
        self.parameters, self.whole = parameters, [batch]
        count = len(first_tensor(batch))
        middle = count // 2
        self.halves = [part_of(batch, slice(0, middle)), part_of(batch, slice(middle, count))]
        self.shares = [middle / count, 1 - middle / count]
        self.outside = OutsideState(program.function)

    def look(self, batches: Sequence[Any], number: int, *, gradient: bool = False) -> Look:
        """Run each of some batches that make up the whole, with the random numbers of run `number`."""
        shares = self.shares if len(batches) > 1 else [1.0]
        own = key(0, "parts", number)

        def part(place: int) -> Look:
            with torch.set_grad_enabled(gradient), WithoutDropout():
                return self.part(batches[place], shares[place], own, gradient)

        with seeded(own), self.outside.kept(own):
            found = ranks.side_by_side(len(batches), part)
        gradients = [
            torch.stack(parts).sum(0) for parts in zip(*(f.gradient for f in found), strict=True)
        ]
        return Look(sum(f.value for f in found), sum(f.size for f in found), gradients)

    def part(self, batch: Any, share: float, own: int, gradient: bool) -> Look:
        """What a batch adds to the whole."""
        traces = self.program.run(Always(Drawn()), self.parameters, batch, samples=SAMPLES, key=own)
        charged = [c.value.detach().abs().mean() for t in traces for c in (*t.charges(), *t.bounds)]
        objective = share * torch.stack([trace.objective() for trace in traces]).mean()
        size = share * float(torch.stack(charged).sum()) / len(traces)
        found: list[Tensor] = []
        learned = [p for p in self.parameters.values() if p.requires_grad]
        if gradient and objective.requires_grad:
            made = torch.autograd.grad(objective, learned, allow_unused=True)
            found = [
                p.new_zeros(p.shape) if g is None else g for p, g in zip(learned, made, strict=True)
            ]
        return Look(objective.item(), size, found)

    def difference(self) -> str:
        """How the halves together differ from the whole, in words; empty where they do not.

        Raises:
            Exception: whatever the program raises.
        """
        first, again = self.look(self.whole, 0), self.look(self.whole, 1)
        if not math.isfinite(first.value):
            return ""
        halves = self.look(self.halves, 0)
        for_value, for_gradient = self.rounding
        rounding = for_value * max(first.size, halves.size)
        if abs(first.value - again.value) > 1e-6 * first.size:
            return self.difference_on_average(rounding)
        # NaN is another value, too.
        if not abs(first.value - halves.value) <= rounding:
            return f"{first.value:.4g} for a batch, {halves.value:.4g} for its halves"
        return self.difference_of_gradients(for_gradient)

    def difference_of_gradients(self, rounding: float) -> str:
        """The same of gradients, which may differ where values happen to be equal, as at the start of a training."""
        try:
            whole, halves = (
                self.look(batches, 0, gradient=True).gradient
                for batches in (self.whole, self.halves)
            )
            off = length([a - b for a, b in zip(whole, halves, strict=True)])
        # It may have none, for an estimator that needs none.
        except Exception:
            return ""
        longest = max(length(whole), length(halves))
        if off > rounding * longest:
            return f"one whose gradient of a batch and that of its halves differ by {off / longest:.1%}"
        return ""

    def difference_on_average(self, rounding: float) -> str:
        """The same of a program with noise."""
        found = ""
        for runs, errors in RUNS:
            whole, halves = (
                torch.tensor([self.look(batches, n).value for n in range(runs)]).double()
                for batches in (self.whole, self.halves)
            )
            off = float(whole.mean() - halves.mean())
            error = float((whole.var() + halves.var()) / runs) ** 0.5
            if abs(off) <= max(rounding, errors * error) or not bool(whole.isfinite().all()):
                return ""
            found = (
                f"{whole.mean():.4g} for a batch, {halves.mean():.4g} for its halves, on average"
            )
        return found

    @property
    def rounding(self) -> tuple[float, float]:
        """The parts of an objective and of a gradient that may be rounding."""
        exact = all(
            p.device.type == "cpu" and torch.finfo(p.dtype).eps < 1e-6
            for p in self.parameters.values()
            if p.is_floating_point()
        )
        return FINE if exact else COARSE


def length(gradient: Sequence[Tensor]) -> float:
    return float(torch.nn.utils.get_total_norm(gradient)) if gradient else 0.0


def refuse_mixed_data(program: Program, parameters: Parameters, batch: Any) -> None:
    """Refuse, in all processes, an objective that is not the mean of those over the parts of a batch.

    What cannot be seen is noted among the program's findings.

    Raises:
        ProgramError: says how the parts differ from the whole, and what serves all.
    """
    stateful = program.stateful or program.repeatable is False
    if not (program.checked and program.batch_axes) or program.recorded_trajectories or stateful:
        return
    found = ""
    if len(first_tensor(batch)) > 1:
        try:
            found = Parts(program, parameters, batch).difference()
        except Exception as error:
            why = (
                str(error)
                if isinstance(error, UserError)
                else f"{type(error).__name__}: {first_line(error)}"
            )
            program.findings.messages.append(
                "the program cannot be run on half of a batch, to see whether its objective is a mean over data, as "
                f"several processes need it ({why})"
            )
    if any(ranks.largest(bool(found))):
        raise ProgramError(f"the objective is {found or 'no mean over data'}: {REMEDY}")
