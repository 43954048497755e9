"""The context of a watched run: it refuses what is certainly wrong, and marks what must not be changed any more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.batch import leaves
from framework.errors import ProgramError
from framework.lint.watch import Mark, Names, Watch
from framework.recording.axes import Probe, SiteAxes
from framework.recording.context import Context
from framework.recording.derivatives import carries_gradient
from framework.recording.trace import Cost, Draw


class UnwatchedProbe(Probe):
    """A probing run, at which the watch does not look."""

    def __init__(self, probe: Probe, watch: Watch) -> None:
        self.probe, self.watch = probe, watch

    def sizes(self) -> set[int]:
        return self.probe.sizes()

    def run(self, known: SiteAxes) -> None:
        with self.watch.pause():
            self.probe.run(known)


class WatchedContext(Context):
    """A context that refuses what is certainly wrong in a run.

    Attributes:
        watch: the function mode under which the program runs.
        made: the draws made in this run, without those made earlier.
        penalised: the draws that each penalty depends on, by its name.
        unlabelled: the costs of one number for all samples that a draw may have reached outside torch.
    """

    __slots__ = ("made", "penalised", "unlabelled", "watch")

    def __init__(self, *args: Any, watch: Watch, probe: Probe, **options: Any) -> None:
        super().__init__(*args, probe=UnwatchedProbe(probe, watch), **options)
        self.watch = watch
        self.made: list[Draw] = []
        self.penalised: dict[str, Names] = {}
        self.unlabelled: list[int] = []

    def sample(self, name: str, distribution: Distribution, **options: Any) -> Tensor:
        with self.watch.pause():
            value = super().sample(name, distribution, **options)
        draw = self.trace.draws[-1]
        self.made.append(draw)
        self._refuse_lost_gradient(draw)
        self.watch.arrived(tensors_of(distribution))
        if carries_gradient(value):
            self.watch.paths.add(name)
        self.watch.draws.put([value], frozenset({name}))
        return value

    def observe(self, name: str, distribution: Distribution, value: Tensor, **options: Any) -> None:
        with self.watch.pause():
            super().observe(name, distribution, value, **options)
        self.watch.draws.put([value], self.watch.draws.of([value]) | {name})

    def cost(self, value: Tensor | float, *args: Any, **options: Any) -> None:
        with self.watch.pause():
            super().cost(value, *args, **options)
        self._take("cost", self.trace.costs, value)

    def penalty(self, value: Tensor | float, *args: Any, **options: Any) -> None:
        with self.watch.pause():
            super().penalty(value, *args, **options)
        self._take("penalty", self.trace.penalties, value)

    def bound(self, log_weight: Tensor, *args: Any, **options: Any) -> None:
        with self.watch.pause():
            super().bound(log_weight, *args, **options)
        self._take("bound", self.trace.bounds, log_weight)

    def black_box(self, function: Any, *inputs: Tensor) -> Any:
        value = super().black_box(function, *inputs)
        # What happened inside is declared.
        self.watch.draws.put(leaves(value), self.watch.draws.of(inputs))
        return value

    def look_for_lost_draws(self) -> None:
        """Let the calls that cut a path matter where a draw reaches nothing that is charged by autograd's graph.

        What they lead to cannot be followed through functions that torch does not dispatch.
        """
        if self.watch.cut:
            reached = nodes_behind(self._charged_tensors())
            for draw in self.made:
                if draw.name in self.watch.paths and draw.value.grad_fn not in reached:
                    self.watch.calls |= self.watch.cut

    def _charged_tensors(self) -> Iterator[Tensor]:
        """What is charged, and what draws are made from."""
        trace = self.trace
        yield from (c.value for c in (*trace.costs, *trace.penalties, *trace.bounds))
        for draw in trace.draws:
            yield from tensors_of(draw.distribution)

    def refuse_changes(self) -> None:
        """Refuse what was changed in place after it was recorded."""
        for mark in self.watch.marks:
            if mark.changed:
                raise ProgramError(changed_in_place(mark))
        self.watch.marks.clear()

    def _record(self, draw: Draw) -> None:
        super()._record(draw)
        # Along a path, autograd itself looks after changes.
        if draw.rule.scored:
            self.watch.mark(f"draw '{draw.name}'", draw.value)
            for value in tensors_of(draw.distribution):
                self.watch.mark(f"a parameter of draw '{draw.name}'", value, copied=False)
            for what in ("mask", "behaviour", "baseline"):
                if (value := getattr(draw, what)) is not None:
                    self.watch.mark(f"the {what} of draw '{draw.name}'", value)

    def _take(self, kind: str, charges: list[Cost], value: Tensor | float) -> None:
        """Take in what was charged last."""
        charge = charges[-1]
        self.watch.mark(f"{kind} '{charge.name}'", charge.value)
        self.watch.arrived([value] if isinstance(value, Tensor) else [])
        names = self.watch.draws.of([value]) if isinstance(value, Tensor) else frozenset()
        if kind == "penalty":
            self.penalised[charge.name] = names | self.penalised.get(charge.name, frozenset())
        if kind == "penalty" or self.trace.recorded_trajectories:
            return
        for draw in self.trace.draws:
            if draw.name in names:
                self._refuse_lacking(f"{kind} '{charge.name}'", draw, charge)
        if kind == "cost" and not names and not charge.axes.per_sample and self.watch.escaped:
            self.unlabelled.append(len(charges) - 1)

    def _refuse_lacking(self, what: str, draw: Draw, charge: Cost) -> None:
        """Refuse a charge without an axis that a draw has of which it depends."""
        if draw.axes.per_sample and not charge.axes.per_sample and self.samples > 1:
            raise ProgramError(lacks_samples(what, draw.name))
        data = math.prod(self.trace.shape[1:])
        scored = draw.rule.scored and draw.axes.per_datum
        if scored and not charge.axes.per_datum and data > 1:
            raise ProgramError(
                f"{what} has no batch axes {list(self.trace.shape[1:])}, though it depends on draw '{draw.name}', "
                "which has them: no datum can be charged with its own; keep [samples, *batch, ...], since the "
                "objective is the mean over data in any case (.mean() takes the axes away), or use context.penalty for "
                "a term that depends on no draw"
            )

    def _refuse_lost_gradient(self, draw: Draw) -> None:
        """Refuse a draw whose distribution has lost its gradient under `no_grad`."""
        if not self.watch.graded or draw.rule.name == "plain":
            return
        parameters = tensors_of(draw.distribution)
        inside = not torch.is_grad_enabled()
        path_lost = inside and not draw.rule.scored and any(p.requires_grad for p in parameters)
        if path_lost or self.watch.ungraded.of(parameters):
            how = "is made" if inside else "has a distribution made"
            raise ProgramError(
                f"draw '{draw.name}' {how} under torch.no_grad() and depends on a parameter, whose gradient is lost: "
                "make it outside, or from tensors that are detached where that is meant"
            )


def nodes_behind(values: Iterable[Tensor]) -> set[Any]:
    """The nodes of autograd's graph from which these tensors come."""
    found: set[Any] = set()
    waiting = [value.grad_fn for value in values]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [earlier for earlier, _ in node.next_functions]
    return found


def lacks_samples(what: str, draw: str) -> str:
    return (
        f"{what} has no sample axis, though it depends on draw '{draw}', which has one: no sample can be charged with "
        "its own; keep [samples, ...], since the objective is the mean over samples in any case (.mean() takes the "
        "axis away), or use context.penalty for a term that depends on no draw"
    )


def changed_in_place(mark: Mark) -> str:
    where = f" at {mark.line}" if mark.line else ""
    return (
        f"{mark.what} was changed in place{where} after it was recorded, which changes the record too: write x = x + y "
        "in place of x += y, x.clamp(...) in place of x.clamp_(...), or record x.clone()"
    )


def tensors_of(distribution: Distribution) -> list[Tensor]:
    """The tensors a distribution is made of, those of the distributions inside it included."""
    found = []
    for value in vars(distribution).values():
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, Distribution):
            found += tensors_of(value)
    return found
