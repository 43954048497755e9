"""An objective as a stochastic program: `function(context, parameters, batch)`, its draws and its costs.

The function draws with `context.sample`, charges with `context.cost` and is otherwise ordinary Python. How the
gradient is obtained is the estimator's business: it gives the context one *rule* per draw and reads the *trace*.

Axes are `[n, *batch, ...]`: n samples, then the batch axes that the program declares, then anything. The objective is
the mean over samples and batch of the sum over the remaining axes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from framework import ranks
from framework.batch import first_tensor
from framework.capabilities import needing
from framework.errors import Elsewhere, ProgramError
from framework.lint.findings import Findings, kind_of, known_of
from framework.lint.first_run import FirstRun
from framework.lint.sample_axis import is_misfit, misfit
from framework.outside_state import OutsideState
from framework.parameters import Parameters
from framework.randomness import key as stream
from framework.randomness import seeded
from framework.recording.axes import Axes, Shape, Site, SiteAxes
from framework.recording.context import Context
from framework.recording.probing import ProbingRun
from framework.recording.rule import Plain, Rule, Rules
from framework.recording.trace import Trace

Function = Callable[[Context, Parameters, Any], None]

# What torch says, in several wordings, of a tensor of many values that must be one.
ONE_VALUE_NEEDED = (
    "converted to Scalar",
    "converted to Python scalars",
    "converted to an index",
    "more than one value is ambiguous",
)


@dataclass(frozen=True)
class RolloutPlan:
    """How recorded steps are passed to an estimator that reads value predictions.

    Such an estimator needs no whole episodes: a rollout of fixed length will do, wherever episodes begin and end in it.

    Attributes:
        epochs: passes over each rollout.
        minibatches: parts into which its games are divided, differently in each epoch; each part is one batch.
    """

    epochs: int = 1
    minibatches: int = 1


@dataclass(eq=False)
class Program:
    """A function with its axes.

    Args:
        function: `(context, parameters, batch) -> None`.
        batch_axes: how many leading axes of the batch's tensors count data; 0: the batch is not a batch of data.
        one_sample_at_a_time: run with one sample, n times: for `.item()`, branches on drawn values, NumPy, games.
        recorded_trajectories: the batch holds recorded episodes; draws and costs are `[T, n, ...]`, n is the number of
            episodes, and a cost at step t is charged to the draws of steps up to t.
        rollouts: batches are parts of rollouts of fixed length, used as the plan says; None: whole episodes, used once.
        stateful: a run keeps tensors outside, such as a game's state, so that several runs cannot be merged under vmap.
        repeatable: a second run with the same draws charges the same costs, so that it can be checked where they jump;
            None: it does unless it is stateful.
        capturable: each run on a batch of one shape does the same operations, reads no number and keeps nothing outside
            but tensors that stay where they are: an estimator's call may be recorded on a GPU and replayed.
        apart: of several that train together, each has an objective of its own, of the parameters whose names begin
            with its word here: the gradient is that of their sum, and each one's is clipped for itself.
        checked: watch the first run for faults that make a gradient wrong without any other sign; see `framework.lint`.
    """

    function: Function
    batch_axes: int = 0
    one_sample_at_a_time: bool = False
    recorded_trajectories: bool = False
    rollouts: RolloutPlan | None = None
    stateful: bool = False
    repeatable: bool | None = None
    capturable: bool = False
    apart: tuple[str, ...] = ()
    checked: bool = True
    # Shared by the copies that estimators make of a program.
    findings: Findings = field(default_factory=Findings, repr=False)
    _site_axes: SiteAxes = field(default_factory=SiteAxes, repr=False)

    def run(
        self,
        rules: Rules,
        parameters: Parameters,
        batch: Any = None,
        *,
        samples: int = 1,
        key: int | None = None,
    ) -> list[Trace]:
        """Run the program for `samples` samples: one trace, or one for each sample one sample at a time.

        With a `key` every draw has its own keyed stream, so that two runs with different parameters share their
        randomness even where their draws differ in number (common random numbers); torch's generators begin at the
        key, for randomness that the program uses itself, and are restored after the run.
        """
        first = self._first_run(rules, parameters, batch, samples) if self.checked else None
        # What a game keeps outside, such as its cards, is drawn there.
        needs = needing(
            own_randomness=self.stateful, one_sample_at_a_time=self.one_sample_at_a_time
        )
        with needs, nullcontext() if key is None else seeded(key):
            if not self.one_sample_at_a_time:
                traces = [self._run_once(rules, parameters, batch, samples, key, first)]
            else:
                keys = [key if key is None else stream(key, "loop", 0, i) for i in range(samples)]
                traces = [self._run_once(rules, parameters, batch, 1, k, first) for k in keys]
        if first is not None:
            first.finish()
        return traces

    @property
    def spreads_samples(self) -> bool:
        """Whether several processes that train together divide samples or episodes among them, and not data."""
        return self.recorded_trajectories or self.batch_axes == 0

    def share(self, batch: Any, *, failed: bool = False) -> float:
        """This process's part of the objective's mean: by its data or episodes; without any, all weigh alike.

        Args:
            failed: there is no batch: this process could not make it.

        Raises:
            ProgramError: a process has nothing to do, and a mean over nothing is no number.
            Elsewhere: another could not make its batch.
        """
        if ranks.size() == 1 or self.apart:
            return 1.0
        shape = (0, 0) if failed else self._leading_shape(batch, 1)
        count = shape[1] if self.recorded_trajectories else math.prod(shape)
        total, idle, failures = ranks.total(count, count == 0, failed)
        if failures:
            raise Elsewhere("another process could not make its part of a batch")
        if idle:
            what = "episodes" if self.recorded_trajectories else "data"
            raise ProgramError(
                f"a batch of {total:.0f} {what} for {ranks.size()} processes, {idle:.0f} of which would have none; "
                "expected one for each at least"
            )
        return count / total

    def groups(self, parameters: Parameters) -> list[list[Tensor]]:
        """The parameters of each objective, where there are several."""
        return [
            [value for name, value in parameters.items() if name.startswith(own)]
            for own in self.apart
        ]

    def probe(self, parameters: Parameters, batch: Any = None, *, samples: int = 1) -> None:
        """Make the probing run of a program with data now, for runs that could not make it themselves."""
        shape = self._leading_shape(batch, 1 if self.one_sample_at_a_time else samples)
        if not self.recorded_trajectories and self._site_axes.needs_probing(shape):
            ProbingRun(self._dry_run, shape, parameters, batch).run(self._site_axes)

    def _run_once(
        self,
        rules: Rules,
        parameters: Parameters,
        batch: Any,
        samples: int,
        key: int | None,
        first: FirstRun | None,
    ) -> Trace:
        """One run of the function, its typical errors explained."""
        shape = self._leading_shape(batch, samples)
        context = (Context if first is None else first.context)(
            rules,
            shape,
            recorded_trajectories=self.recorded_trajectories,
            single_sample=self.one_sample_at_a_time,
            key=key,
            site_axes=self._site_axes,
            probe=ProbingRun(self._dry_run, shape, parameters, batch),
        )
        try:
            if first is None:
                self.function(context, parameters, batch)
            else:
                first.run(self.function, context, parameters, batch)
        except (RuntimeError, ValueError, TypeError) as error:
            message = str(error)
            if any(words in message for words in ONE_VALUE_NEEDED):
                raise ProgramError(
                    "the program branches on a drawn value or calls .item(): declare it with "
                    "framework.Program(function, one_sample_at_a_time=True), or `one_sample_at_a_time = True` in a task"
                ) from error
            if "Can't call numpy() on Tensor that requires grad" in message:
                raise ProgramError(
                    "the program hands a tensor to NumPy, where the gradient that its draws' paths or its parameters "
                    "need is lost: compute it by torch, call the function by context.black_box(function, x), or choose "
                    "an estimator that needs only values"
                ) from error
            if "leaf Variable that requires grad is being used in an in-place" in message:
                raise ProgramError(
                    "the program changes a draw or a parameter in place, which has no gradient: write x = x + y in "
                    "place of x += y, x.clamp(...) in place of x.clamp_(...), or change x.clone()"
                ) from error
            if samples > 1 and is_misfit(error):
                ones = self._dry_failure((1, *shape[1:]), parameters, batch)
                if ones is None or not is_misfit(ones):
                    raise ProgramError(misfit(samples, error)) from error
            if "escaped from inside a function being vmapped" in message:
                raise ProgramError(
                    "the program keeps tensors between its runs: declare it with "
                    "framework.Program(function, stateful=True), or `stateful = True` in a task"
                ) from error
            raise
        context.trace.batch = batch
        return context.trace

    def _first_run(
        self, rules: Rules, parameters: Parameters, batch: Any, samples: int
    ) -> FirstRun | None:
        """The watch over this run, if it is the first of its kind."""
        kind = kind_of(rules, samples)
        if kind in self.findings.checked:
            return None
        refuse_other_arguments(self.function)

        def again(rule: Rule, shape: Shape) -> Trace:
            context = Context(
                lambda site: rule, shape, single_sample=self.one_sample_at_a_time, dry_run=True
            )
            with outside.kept(torch.initial_seed()), ranks.alone():
                self.function(context, parameters, batch)
            return context.trace

        outside = OutsideState(self.function)
        repeatable = not self.stateful if self.repeatable is None else self.repeatable
        return FirstRun(self.findings, kind, again, outside, repeatable=repeatable)

    def _dry_run(self, shape: Shape, parameters: Parameters, batch: Any) -> dict[Site, Axes]:
        """The axes of each draw and cost in a run with another leading shape."""
        plain = Plain()
        context = Context(lambda site: plain, shape, dry_run=True)
        with OutsideState(self.function).kept(), ranks.alone():
            self.function(context, parameters, batch)
        return context.shown

    def _dry_failure(self, shape: Shape, parameters: Parameters, batch: Any) -> Exception | None:
        """Why the function cannot be run with another leading shape; None: it can."""
        try:
            self._dry_run(shape, parameters, batch)
        except Exception as error:
            return error
        return None

    def _leading_shape(self, batch: Any, samples: int) -> Shape:
        if self.recorded_trajectories:
            return tuple(first_tensor(batch).shape[:2])
        if self.batch_axes:
            tensor = batch if isinstance(batch, Tensor) else first_tensor(batch)
            return (samples, *tensor.shape[: self.batch_axes])
        return (samples,)


def refuse_other_arguments(function: Any) -> None:
    """Refuse what cannot be called as `function(context, parameters, batch)`.

    Raises:
        ProgramError: says how it is called.
    """
    expected = "expected a function (context, parameters, batch)"
    if not callable(function):
        raise ProgramError(f"program: {type(function).__name__} given; {expected}")
    name = getattr(function, "__name__", type(function).__name__)
    try:
        signature = inspect.signature(function)
    # Written in C, or a signature that Python cannot tell.
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, None, None)
    except TypeError:
        raise ProgramError(f"program: {name}{signature} given; {expected}") from None


def as_program(function: Function | Program, checked: bool = True) -> Program:
    """The program itself, or a plain function as a program without batch axes; unchecked, if that is asked for."""
    if isinstance(function, Program):
        return function if checked else replace(function, checked=False)
    findings, site_axes = known_of(function)
    return Program(function, checked=checked, findings=findings, _site_axes=site_axes)
