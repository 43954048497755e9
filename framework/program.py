"""An objective as a stochastic program: `function(context, parameters, batch)`, its draws and its costs.

The function draws with `context.sample`, charges with `context.cost` and is otherwise ordinary Python. How the
gradient is obtained is the estimator's business: it gives the context one *rule* per draw and reads the *trace*.

Axes are `[n, *batch, ...]`: n samples, then the batch axes that the program declares, then anything. The objective is
the mean over samples and batch of the sum over the remaining axes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from framework.axes import Ambiguous, Shape, SiteAxes, unused_size
from framework.batch import first_tensor, leaves, map_tensors
from framework.context import Context
from framework.errors import ProgramError
from framework.parameters import Parameters
from framework.randomness import key as stream
from framework.randomness import restore_states, save_states, seed_torch, seeded
from framework.rule import Plain, Rules
from framework.trace import Trace

Function = Callable[[Context, Parameters, Any], None]


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

    Where the shape of a draw or a cost has several explanations (one value for each of 3 data, or 3 elements), the
    first run is preceded by a probing run with other numbers of samples and data, whose data are the batch's, some of
    them repeated. It draws without gradients and leaves torch's random streams and the buffers of a task's model as
    they were. What else the function changes outside itself (a counter, NumPy's generator) is changed once more by it,
    and once more, buffers included, by the run that was broken off at the question. Where `per_sample=` and
    `per_datum=` declare the axes of such draws and costs, neither takes place.

    Args:
        function: `(context, parameters, batch) -> None`.
        batch_axes: how many leading axes of the batch's tensors count data; 0: the batch is not a batch of data.
        one_sample_at_a_time: run with one sample, n times: for `.item()`, branches on drawn values, NumPy, games.
        recorded_trajectories: the batch holds recorded episodes; draws and costs are `[T, n, ...]`, n is the number of
            episodes, and a cost at step t is charged to the draws of steps up to t.
        rollouts: batches are parts of rollouts of fixed length, used as the plan says; None: whole episodes, used once.
        stateful: a run keeps tensors outside, such as a game's state, so that several runs cannot be merged under vmap.
    """

    function: Function
    batch_axes: int = 0
    one_sample_at_a_time: bool = False
    recorded_trajectories: bool = False
    rollouts: RolloutPlan | None = None
    stateful: bool = False
    _site_axes: SiteAxes = field(default_factory=SiteAxes, repr=False)
    _ran: bool = field(default=False, repr=False)

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
        with nullcontext() if key is None else seeded(key):
            if not self.one_sample_at_a_time:
                return [self._run_once(rules, parameters, batch, samples, key)]
            keys = [key if key is None else stream(key, "loop", 0, i) for i in range(samples)]
            return [self._run_once(rules, parameters, batch, 1, k) for k in keys]

    def _run_once(
        self, rules: Rules, parameters: Parameters, batch: Any, samples: int, key: int | None
    ) -> Trace:
        shape = self._leading_shape(batch, samples)
        states = None if self._ran or key is not None else save_states()
        try:
            trace = self._attempt(rules, shape, parameters, batch, key)
        except Ambiguous as ambiguous:
            # The probing run must not change what is drawn.
            before = save_states() if states is None else states
            try:
                self._probe(ambiguous, shape, parameters, batch)
            finally:
                restore_states(before)
            if key is not None:
                seed_torch(key)
            try:
                trace = self._attempt(rules, shape, parameters, batch, key)
            except Ambiguous as unresolved:
                raise ProgramError(str(unresolved)) from None
        self._ran = True
        trace.batch = batch
        return trace

    def _attempt(
        self,
        rules: Rules,
        shape: tuple[int, ...],
        parameters: Parameters,
        batch: Any,
        key: int | None,
    ) -> Trace:
        """One run of the function, its typical errors explained."""
        context = Context(
            rules,
            shape,
            recorded_trajectories=self.recorded_trajectories,
            single_sample=self.one_sample_at_a_time,
            key=key,
            site_axes=self._site_axes,
            sizes=lambda: self._other_sizes(parameters, batch),
        )
        try:
            self.function(context, parameters, batch)
            return context.trace
        except (RuntimeError, ValueError) as error:
            message = str(error)
            if "converted to Scalar" in message or "more than one value is ambiguous" in message:
                raise ProgramError(
                    "the program branches on a drawn value or calls .item(): declare it with "
                    "framework.Program(function, one_sample_at_a_time=True), or `one_sample_at_a_time = True` in a task"
                ) from error
            if "escaped from inside a function being vmapped" in message:
                raise ProgramError(
                    "the program keeps tensors between its runs: declare it with "
                    "framework.Program(function, stateful=True), or `stateful = True` in a task"
                ) from error
            raise

    def _probe(
        self, ambiguous: Ambiguous, shape: Shape, parameters: Parameters, batch: Any
    ) -> None:
        """Note what follows n and what follows the batch, by a run in which both have sizes that occur nowhere else.

        A function that cannot be run so is run with parameters of each datum that follow the batch, too, or with other
        sizes of samples or data alone.

        Raises:
            ProgramError: it cannot be run with any other sizes.
        """
        used = self._other_sizes(parameters, batch) | set(shape)
        sizes: list[int] = []
        for size in shape:
            sizes.append(unused_size(size, used | set(sizes)))
        n, *data = sizes
        trials = (
            [(n, *data)] if len(shape) == 1 else [(n, *data), (n, *shape[1:]), (shape[0], *data)]
        )
        for trial in trials:
            context = self._probing_run(shape, trial, parameters, batch)
            if context is not None:
                changed = (trial[0] != shape[0], trial[1:] != shape[1:])
                self._site_axes.note(context.shown, *changed)
                return
        if shape == (1,) and ambiguous.site[0] == "draw" and ambiguous.site[2] == 0:
            self._site_axes.alone.add(ambiguous.site)
            return
        raise ProgramError(str(ambiguous))

    def _probing_run(
        self, shape: Shape, trial: Shape, parameters: Parameters, batch: Any
    ) -> Context | None:
        """A run with other sizes; None: the function fails with them."""
        old, new = shape[1:], trial[1:]
        if old == new:
            return self._try(trial, parameters, batch)
        batch = resized(batch, old, new)
        context = self._try(trial, parameters, batch)
        local = [name for name, value in parameters.items() if value.shape[: len(old)] == old]
        if context is not None or not local:
            return context
        # Some parameters are of one datum each: as few as possible.
        larger = {name: resized(parameters[name], old, new) for name in local}
        context = self._try(trial, {**parameters, **larger}, batch)
        if context is None:
            return None
        for name in local:
            fewer = {other: value for other, value in larger.items() if other != name}
            found = self._try(trial, {**parameters, **fewer}, batch)
            if found is not None:
                context, larger = found, fewer
        return context

    def _try(self, shape: Shape, parameters: Parameters, batch: Any) -> Context | None:
        """A dry run of these sizes; None: the function fails with them."""
        plain = Plain()
        context = Context(lambda site: plain, shape, dry_run=True)
        try:
            with torch.no_grad():
                self.function(context, parameters, batch)
        except Exception:
            return None
        return context

    def _other_sizes(self, parameters: Parameters, batch: Any) -> set[int]:
        """The lengths of all axes of parameters and data, but for the batch axes."""
        sizes = {size for value in parameters.values() for size in value.shape}
        for tensor in leaves(batch):
            sizes.update(tensor.shape[self.batch_axes :])
        return sizes

    def _leading_shape(self, batch: Any, samples: int) -> tuple[int, ...]:
        if self.recorded_trajectories:
            return tuple(first_tensor(batch).shape[:2])
        if self.batch_axes:
            tensor = batch if isinstance(batch, Tensor) else first_tensor(batch)
            return (samples, *tensor.shape[: self.batch_axes])
        return (samples,)


def resized(batch: Any, old: Shape, new: Shape) -> Any:
    """A batch with other numbers of data: its data again from the first, as often as needed."""

    def one(tensor: Tensor) -> Tensor:
        if tuple(tensor.shape[: len(old)]) != old:
            return tensor
        for axis, size in enumerate(new):
            indices = torch.arange(size, device=tensor.device) % tensor.shape[axis]
            tensor = tensor.index_select(axis, indices)
        return tensor

    return map_tensors(one, batch)


def as_program(function: Function | Program) -> Program:
    """The program itself, or a plain function as a program without batch axes."""
    return function if isinstance(function, Program) else Program(function)
