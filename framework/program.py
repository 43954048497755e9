"""An objective as a stochastic program: `function(context, parameters, batch)`, its draws and its costs.

The function draws with `context.sample`, charges with `context.cost` and otherwise is ordinary Python. How the
gradient is obtained is the estimator's business: it hands the context one *rule* per draw and reads the *trace*.

Axes are `[n, *batch, ...]`: n samples, then the batch axes that the program declares, then anything. The objective is
the mean over samples and batch of the sum over the remaining axes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.distributions import Distribution

from framework.errors import ProgramError
from framework.randomness import key as stream
from framework.randomness import restore_states, save_states, seed_torch, seeded

Parameters = Mapping[str, Tensor]
Function = Callable[["Context", Parameters, Any], None]


class Rule(Protocol):
    """How one draw is made and whether its log-probability enters the surrogate.

    Attributes:
        biased: whether a gradient through the draw may be off in expectation.
        relaxed: whether the value may lie off the distribution's support: the run's costs are then not the objective.
    """

    name: str
    scored: bool
    biased: bool
    relaxed: bool

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        """A value of shape `[*shape, *distribution.batch_shape, *distribution.event_shape]`."""


Rules = Callable[[str], Rule]


class Plain:
    """The rule that draws and does nothing else: what evaluation and numerical estimators need."""

    name = "plain"
    scored = False
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        return distribution.sample(shape)


@dataclass(eq=False, slots=True)
class Draw:
    """A random value in a program, made now (`sample`) or earlier (`observe`)."""

    name: str
    distribution: Distribution
    value: Tensor
    rule: Rule
    baseline: Tensor | None = None
    mask: Tensor | None = None
    behaviour: Tensor | None = None


@dataclass(eq=False, slots=True)
class Cost:
    """A cost and how many scored draws had been made before it: those, and no others, are charged with it."""

    name: str
    value: Tensor
    position: int


@dataclass(eq=False, slots=True)
class Prediction:
    """What a program predicts of recorded steps, `[T, N]` each; see `Context.value`."""

    value: Tensor
    following: Tensor
    terminated: Tensor
    truncated: Tensor
    behaviour: Tensor | None


@dataclass(frozen=True)
class Rollouts:
    """How recorded steps are to be handed to an estimator that reads value predictions.

    Such an estimator needs no whole episodes: a record of fixed length will do, whatever begins and ends in it.

    Attributes:
        epochs: how often each record is gone through.
        minibatches: into how many parts its games are divided, anew in each epoch; each part is one batch.
    """

    epochs: int = 1
    minibatches: int = 1


@dataclass(eq=False, slots=True)
class Trace:
    """What one run of a program did. `shape` is the leading shape: `[n, *batch]`, or `[T, n]` for episodes."""

    shape: tuple[int, ...]
    steps: bool = False
    alone: bool = False  # one of several runs of one sample each
    batch: Any = None
    draws: list[Draw] = field(default_factory=list)
    scored: list[Draw] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    penalties: list[Cost] = field(default_factory=list)
    prediction: Prediction | None = None
    bounds: list[Cost] = field(default_factory=list)  # values are log weights

    def leading(self, value: Tensor, what: str) -> Tensor:
        """Sum `value` over the axes behind the leading ones; the result broadcasts against `shape`.

        A value may lack the sample axis (it depends on no draw), the batch axes, or both.

        Raises:
            ProgramError: a shape that fits none of these.
        """
        kept = self._kept(value, what)
        if value.dim() > len(kept):
            value = value.flatten(len(kept)).sum(-1)
        depth = len(self.shape)
        if len(kept) == depth:
            return value
        if not kept:
            return value
        return (
            value.reshape(-1, *[1] * (depth - 1)) if kept == self.shape[:1] else value.unsqueeze(0)
        )

    def mean(self, value: Tensor, what: str) -> Tensor:
        """The mean over samples and batch of the sum over every other axis, the steps' included.

        A scalar counts once, in a program of episodes too.
        """
        kept = self._kept(value, what)
        count = math.prod(kept[1:] if self.steps else kept)
        return value.mean() if count == value.numel() else value.sum() / count

    def _kept(self, value: Tensor, what: str) -> tuple[int, ...]:
        """Which of the leading axes a value has: all of them, the samples', the batch's, or none."""
        shape, lead = tuple(value.shape), self.shape
        if not shape:
            return ()
        if shape[: len(lead)] == lead:
            return lead
        if not self.steps and shape[0] == lead[0]:  # one value a sample, shared by the batch
            return lead[:1]
        if not self.steps and len(lead) > 1 and shape[: len(lead) - 1] == lead[1:]:
            return lead[1:]  # one value a datum, the same for all samples
        names = "[steps, episodes, ...]" if self.steps else "[samples, *batch, ...]"
        raise ProgramError(
            f"{what} has shape {list(shape)}; expected a scalar or {names} beginning with {list(lead)}"
        )

    def objective(self) -> Tensor:
        """The hard objective of this run: the mean over samples and batch of all costs and penalties."""
        means = [self.mean(c.value, f"cost '{c.name}'") for c in self.charges()]
        means += [self.bound(bound).mean() for bound in self.bounds]
        return means[0] if len(means) == 1 else torch.stack(means).sum()

    def charges(self) -> list[Cost]:
        """All costs and penalties.

        Raises:
            ProgramError: there are none.
        """
        terms = [*self.costs, *self.penalties]
        if not terms and not self.bounds:
            raise ProgramError("the program charged no cost: call context.cost(value)")
        return terms

    def bound(self, bound: Cost) -> Tensor:
        """A multi-sample bound's value for each datum, `[*batch]`: -log of the samples' mean weight."""
        weights = self.log_weights(bound)
        return math.log(len(weights)) - weights.logsumexp(0)

    def log_weights(self, bound: Cost) -> Tensor:
        """A bound's log weights, `[n, *batch]`.

        Raises:
            ProgramError: episodes, or one of several runs of one sample: the samples are not together.
        """
        if self.steps or self.alone:
            raise ProgramError(
                f"bound '{bound.name}' is made of all samples together, which a program of episodes or in loop mode "
                "does not run together"
            )
        return self.leading(bound.value, f"bound '{bound.name}'").expand(self.shape)

    def refuse_bounds(self, estimator: str) -> None:
        """For estimators that compare the samples' own costs.

        Raises:
            ProgramError: the program has a multi-sample bound, whose samples have no costs of their own.
        """
        if self.bounds:
            raise ProgramError(
                f"'{estimator}' needs each sample's own cost, and bound '{self.bounds[0].name}' is made of all samples "
                "together; estimators that can serve it: vimco, reinforce, reparameterisation, gumbel"
            )


class Context:
    """What a program sees: where it draws, observes and charges costs. `samples` is n, the leading axis."""

    __slots__ = ("_intents", "_key", "_rules", "probing", "samples", "trace")

    def __init__(
        self,
        rules: Rules,
        shape: tuple[int, ...],
        *,
        steps: bool = False,
        alone: bool = False,
        key: int | None = None,
        intents: dict[str, bool] | None = None,
        probing: bool = False,
    ) -> None:
        self.samples = shape[1] if steps else shape[0]
        self.trace = Trace(shape, steps, alone)
        self.probing = probing
        self._rules = rules
        self._key = key
        self._intents = {} if intents is None else intents

    def sample(
        self,
        name: str,
        distribution: Distribution,
        *,
        baseline: Tensor | None = None,
        per_sample: bool | None = None,
    ) -> Tensor:
        """Draw from `distribution`.

        Args:
            name: the draw's site; configuration chooses rules by it.
            distribution: its parameters either depend on no draw (they are repeated for each sample) or carry the
                sample axis because they depend on an earlier draw.
            baseline: an expected cost given all that was known before this draw, `[n, *batch]` or smaller; it
                replaces the estimator's own and must not depend on the draw.
            per_sample: whether the parameters carry the sample axis. Needed only where it cannot be found out by
                running the program with one sample more.

        Returns:
            the draw, `[n, *batch, *rest]`.

        Raises:
            ProgramError: the estimator's rule cannot serve the distribution.
        """
        rule = self._rules(name)
        carries = self._carries_samples(name, distribution, per_sample)
        shape = torch.Size(()) if carries else torch.Size((self.samples,))
        if self._key is not None:
            seed_torch(self._key ^ zlib.crc32(f"{name}/{len(self.trace.draws)}".encode()))
        value = rule.draw(name, distribution, shape)
        self._record(Draw(name, distribution, value, rule, baseline))
        return value

    def observe(
        self,
        name: str,
        distribution: Distribution,
        value: Tensor,
        *,
        mask: Tensor | None = None,
        behaviour: Tensor | None = None,
        baseline: Tensor | None = None,
    ) -> None:
        """Tell of a draw made earlier, such as the recorded actions of episodes.

        Args:
            distribution: what the value would be drawn from under the current parameters.
            value: the recorded draw, `[n, *batch, ...]`, or `[T, n, ...]` in a program of episodes.
            mask: true where the draw was really made; elsewhere its log-probability counts as 0.
            behaviour: the log-probability under the distribution that made the draw, for estimators off policy.
        """
        rule = self._rules(name)
        if not rule.scored and not self.probing:
            raise ProgramError(
                f"draw '{name}' was made earlier, and '{rule.name}' needs to draw it itself; "
                "estimators that can serve it: reinforce, rloo"
            )
        self._record(Draw(name, distribution, value, rule, baseline, mask, behaviour))

    def cost(self, value: Tensor | float, name: str = "cost") -> None:
        """Charge a cost, a scalar or `[n, *batch, ...]`, to the draws made before it and to no other."""
        charged = self._charged(torch.as_tensor(value), f"cost '{name}'", len(self.trace.costs))
        self.trace.costs.append(Cost(name, charged, len(self.trace.scored)))

    def bound(self, log_weight: Tensor, name: str = "bound") -> None:
        """Charge -log of the mean over samples of exp(log_weight) `[n, *batch, ...]`, as importance weighting does.

        All draws of all samples made before it are charged with it. (Burda et al. 2016; Mnih & Rezende 2016.)
        """
        self.trace.bounds.append(Cost(name, log_weight, len(self.trace.scored)))

    def penalty(self, value: Tensor | float, name: str) -> None:
        """Add a plain differentiable term (entropy, weight decay): no draw is blamed for it."""
        charged = self._charged(
            torch.as_tensor(value), f"penalty '{name}'", len(self.trace.penalties)
        )
        self.trace.penalties.append(Cost(name, charged, 0))

    def value(
        self,
        prediction: Tensor,
        following: Tensor,
        *,
        terminated: Tensor,
        truncated: Tensor,
        behaviour: Tensor | None = None,
    ) -> None:
        """Tell what return the program predicts of recorded steps: minus the discounted cost still to come.

        Actor-critic estimators learn the prediction and build advantages from it; the others do not read it.

        Args:
            prediction: `[T, N]`, from what was known before each step; differentiable.
            following: `[T, N]`, from what each step led to, before any reset. At a truncated step that is the
                episode's last observation; at a terminated one it is not read.
            terminated: `[T, N]`, the step ended the episode and nothing comes any more.
            truncated: `[T, N]`, the episode was cut off behind the step, though it would have gone on.
            behaviour: `[T, N]`, the prediction that was made when the steps were recorded.

        Raises:
            ProgramError: another shape, a second call, or a program that holds no recorded steps.
        """
        if self.trace.prediction is not None:
            raise ProgramError("context.value was called twice; a program predicts one return")
        for name, given in (("prediction", prediction), ("following", following)):
            if not self.trace.steps or tuple(given.shape) != self.trace.shape:
                expected = list(self.trace.shape) if self.trace.steps else "recorded steps [T, N]"
                raise ProgramError(
                    f"context.value: {name} has shape {list(given.shape)}; expected {expected}"
                )
        self.trace.prediction = Prediction(
            prediction, following.detach(), terminated, truncated, behaviour
        )

    def black_box(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Call a function through which no gradient passes.

        Raises:
            ProgramError: an input carries a gradient that would be lost, which would bias the estimate.
        """
        if any(carries_gradient(i) for i in inputs):
            pathwise = [d.name for d in self.trace.draws if carries_gradient(d.value)]
            whose = f"draw '{pathwise[-1]}'" if pathwise else "a parameter"
            raise ProgramError(
                f"a gradient through {whose} would be lost in a black box; estimators that can serve it: "
                f"{'reinforce, rloo, ' if pathwise else ''}finite_difference, spsa, evolution_strategies"
            )
        with torch.no_grad():
            return function(*inputs)

    def _record(self, draw: Draw) -> None:
        self.trace.draws.append(draw)
        if draw.rule.scored:
            self.trace.scored.append(draw)

    def _charged(self, value: Tensor, what: str, number: int) -> Tensor:
        """A cost with all leading axes where it has either the samples' or the batch's and n is the batch's size.

        One value for each sample or one for each datum: as with draws, a run with one sample more finds out.
        """
        if self.trace.steps or len(self.trace.shape) < 2:
            return value
        (n, *batch), site = self.trace.shape, f"{what}, number {number}"
        if self.probing:
            self._intents[site] = value.shape[:1] == (n,)
        ambiguous = batch[0] == n and n > 1
        if not ambiguous or list(value.shape[: len(batch)]) != batch:
            return value
        if tuple(value.shape[: 1 + len(batch)]) == self.trace.shape:
            return value
        if site not in self._intents:
            raise Ambiguous(
                site,
                f"{what} has shape {list(value.shape)}, one value for each sample or for each datum: {n} are both; "
                f"expand it to [samples, *batch] = {list(self.trace.shape)}",
            )
        if not self._intents[site]:
            return value.expand(n, *value.shape)
        rest = value.shape[1:]
        return value.reshape(n, *[1] * len(batch), *rest).expand(n, *batch, *rest)

    def _carries_samples(
        self, name: str, distribution: Distribution, per_sample: bool | None
    ) -> bool:
        """Whether the distribution's parameters carry the sample axis: told, certain, or found by probing."""
        batch_shape = distribution.batch_shape
        leads = len(batch_shape) > 0 and batch_shape[0] == self.samples
        if per_sample and not leads:
            raise ProgramError(
                f"draw '{name}': per_sample=True, but the distribution's batch shape {list(batch_shape)} "
                f"does not begin with the {self.samples} samples"
            )
        if per_sample is not None:
            return per_sample
        if not leads or not self.trace.draws:  # the first draw cannot depend on an earlier one
            return False
        if self.probing:
            self._intents[name] = True
            return True
        if name not in self._intents:
            raise Ambiguous(
                name,
                f"draw '{name}': its batch shape begins with the number of samples, by design or by coincidence; "
                "say per_sample=True (it depends on an earlier draw) or per_sample=False",
            )
        return self._intents[name]


class Ambiguous(Exception):
    """An axis of length n, by design or by coincidence: the runner finds out which.

    Attributes:
        site: what has the axis.
        asked: what to ask the user where it cannot be found out.
    """

    def __init__(self, site: str, asked: str) -> None:
        super().__init__(asked)
        self.site = site
        self.asked = asked


@dataclass(eq=False)
class Program:
    """A function with its axes.

    Args:
        function: `(context, parameters, batch) -> None`.
        batch_axes: how many leading axes of the batch's tensors count data; 0: the batch is not a batch of data.
        loop: run with one sample, n times: for `.item()`, branches on drawn values, NumPy, games.
        steps: the batch holds recorded episodes; draws and costs are `[T, n, ...]`, n is the number of episodes, and
            a cost at step t is charged to the draws of steps up to t.
        rollouts: the records are of fixed length, to be used so often; None: whole episodes, used once.
        stateful: a run keeps tensors outside, such as a game's state, so that several cannot be made one under vmap.
    """

    function: Function
    batch_axes: int = 0
    loop: bool = False
    steps: bool = False
    rollouts: Rollouts | None = None
    stateful: bool = False
    _intents: dict[str, bool] = field(default_factory=dict, repr=False)
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
        """Run the program for `samples` samples: one trace, or one for each sample in loop mode.

        With a `key` every draw has its own keyed stream, so that two runs with different parameters share their
        randomness even where their draws differ in number (common random numbers); torch's generators begin at the
        key, for randomness that the program makes itself, and are put back behind the run.
        """
        if key is None:
            return self._runs(rules, parameters, batch, samples, None)
        with seeded(key):
            return self._runs(rules, parameters, batch, samples, key)

    def _runs(
        self, rules: Rules, parameters: Parameters, batch: Any, samples: int, key: int | None
    ) -> list[Trace]:
        if not self.loop:
            return [self._run_once(rules, parameters, batch, samples, key)]
        keys = [key if key is None else stream(key, "loop", 0, i) for i in range(samples)]
        return [self._run_once(rules, parameters, batch, 1, k) for k in keys]

    def _run_once(
        self, rules: Rules, parameters: Parameters, batch: Any, samples: int, key: int | None
    ) -> Trace:
        shape = self._leading_shape(batch, samples)
        run = self._context(rules, shape, key)
        states = None if self._ran or key is not None else save_states()
        try:
            self._call(run, parameters, batch)
        except Ambiguous as found:
            self._probe(found, shape, parameters, batch)
            if states is not None:
                restore_states(states)  # finding out must not change what is drawn
            run = self._context(rules, shape, key)
            self._call(run, parameters, batch)
        self._ran = True
        run.trace.batch = batch
        return run.trace

    def _context(self, rules: Rules, shape: tuple[int, ...], key: int | None) -> Context:
        return Context(
            rules, shape, steps=self.steps, alone=self.loop, key=key, intents=self._intents
        )

    def _call(self, context: Context, parameters: Parameters, batch: Any) -> None:
        try:
            self.function(context, parameters, batch)
        except (RuntimeError, ValueError) as error:
            told = str(error)
            if "converted to Scalar" in told or "more than one value is ambiguous" in told:
                raise ProgramError(
                    "the program branches on a drawn value or calls .item(): declare it with "
                    "framework.Program(function, loop=True), or `loop = True` in a task"
                ) from error
            if "escaped from inside a function being vmapped" in told:
                raise ProgramError(
                    "the program keeps tensors between its runs: declare it with "
                    "framework.Program(function, stateful=True), or `stateful = True` in a task"
                ) from error
            raise

    def _probe(
        self, found: Ambiguous, shape: tuple[int, ...], parameters: Parameters, batch: Any
    ) -> None:
        """Find out what carries the sample axis by running with one sample more."""
        plain, more = Plain(), (shape[0] + 1, *shape[1:])
        context = Context(lambda site: plain, more, intents=self._intents, probing=True)
        try:
            with torch.no_grad():
                self.function(context, parameters, batch)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ProgramError(found.asked) from error
        for draw in context.trace.draws:
            self._intents.setdefault(draw.name, False)
        if found.site not in self._intents:
            raise ProgramError(found.asked)

    def _leading_shape(self, batch: Any, samples: int) -> tuple[int, ...]:
        if self.steps:
            return tuple(first_tensor(batch).shape[:2])
        if self.batch_axes:
            tensor = batch if isinstance(batch, Tensor) else first_tensor(batch)
            return (samples, *tensor.shape[: self.batch_axes])
        return (samples,)


def carries_gradient(value: Any) -> bool:
    """Whether a derivative flows through `value` here and now, backwards (autograd) or forwards (a dual number)."""
    if not isinstance(value, Tensor):
        return False
    if value.requires_grad and torch.is_grad_enabled():
        return True
    return forward_ad.unpack_dual(value).tangent is not None


def as_program(function: Function | Program) -> Program:
    """The program itself, or a plain function as a program without batch axes."""
    return function if isinstance(function, Program) else Program(function)


def first_tensor(batch: Any) -> Tensor:
    """The first tensor of a batch, which is a tensor, a dataclass, a mapping or a sequence of such."""
    for leaf in leaves(batch):
        return leaf
    raise ProgramError("the program declares batch axes, but its batch holds no tensor")


def leaves(batch: Any) -> Iterator[Tensor]:
    """All tensors of a batch in order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from leaves(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from leaves(value)
    elif hasattr(batch, "__dataclass_fields__"):
        for name in batch.__dataclass_fields__:
            yield from leaves(getattr(batch, name))


def mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """The same batch with the function applied to each of its tensors."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {name: mapped(value, function) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(mapped(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(mapped(value, function) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return replace(
            batch, **{f.name: mapped(getattr(batch, f.name), function) for f in fields(batch)}
        )
    return batch


@contextmanager
def placed(model: nn.Module, parameters: Parameters) -> Iterator[None]:
    """Put `parameters` into `model` for the length of a block, then put the model's own back.

    Gradients flow to the given tensors. Tied parameters are placed under each of their names.
    """
    owned: list[tuple[nn.Module, str, nn.Parameter]] = []
    given = {
        id(own): parameters[name] for name, own in model.named_parameters() if name in parameters
    }
    for module in model.modules():
        for leaf, own in module._parameters.items():
            if own is not None and id(own) in given:
                owned.append((module, leaf, own))
    try:
        for module, leaf, own in owned:
            module._parameters[leaf] = given[id(own)]  # type: ignore[assignment]
        yield
    finally:
        for module, leaf, own in owned:
            module._parameters[leaf] = own
