"""What a program sees: where it draws, observes and charges costs; everything is written into the trace."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, LKJCholesky

from framework.capabilities import alternatives
from framework.errors import ProgramError, suggestion
from framework.randomness import seed_torch
from framework.recording.axes import ALL, NONE, Axes, Probe, Site, SiteAxes, candidates
from framework.recording.derivatives import carries_gradient
from framework.recording.moving_support import has_constant_support, refuse_moving_support
from framework.recording.rule import Rules
from framework.recording.trace import Cost, Draw, LogProb, Prediction, Trace


class Context:
    """What a program sees: where it draws, observes and charges costs. `samples` is n, the leading axis."""

    __slots__ = (
        "_key",
        "_probe",
        "_rules",
        "_site_axes",
        "dry_run",
        "per_datum",
        "samples",
        "shown",
        "trace",
    )

    def __init__(
        self,
        rules: Rules,
        shape: tuple[int, ...],
        *,
        recorded_trajectories: bool = False,
        single_sample: bool = False,
        key: int | None = None,
        site_axes: SiteAxes | None = None,
        probe: Probe | None = None,
        dry_run: bool = False,
    ) -> None:
        self.samples = shape[1] if recorded_trajectories else shape[0]
        self.trace = Trace(shape, recorded_trajectories, single_sample)
        self.dry_run = dry_run
        self._rules = rules
        self._key = key
        # Of the draw that is made: whether it has the batch axes.
        self.per_datum = True
        self._site_axes = SiteAxes() if site_axes is None else site_axes
        self._probe = Probe() if probe is None else probe
        # In a probing run: the axes that each site has.
        self.shown: dict[Site, Axes] = {}

    def sample(
        self,
        name: str,
        distribution: Distribution,
        *,
        baseline: Tensor | None = None,
        per_sample: bool | None = None,
        per_datum: bool | None = None,
    ) -> Tensor:
        """Draw from `distribution`.

        Args:
            name: the draw's site; configuration selects rules by it.
            distribution: its parameters either depend on no draw (they are repeated for each sample) or have the
                sample axis because they depend on an earlier draw.
            baseline: an expected cost given all that was known before this draw, `[n, *batch]` or smaller; it
                replaces the estimator's own and must not depend on the draw.
            per_sample: whether the parameters have the sample axis.
            per_datum: whether they have the batch axes; else the draw is shared by all data of its sample. Both are
                needed only where shapes do not tell and a probing run (see `Program`) cannot determine it.

        Returns:
            the draw, `[n, *batch, *rest]`.

        Raises:
            ProgramError: the estimator's rule cannot serve the distribution, torch cannot sample it, or its axes are
                not what is declared or cannot be determined.
        """
        refuse_arguments(name, distribution)
        if isinstance(distribution, LKJCholesky) and distribution.dim > 2:
            raise ProgramError(
                f"draw '{name}' ~ LKJCholesky: what torch draws in {distribution.dim} dimensions does not follow the "
                "distribution, which its sampler serves in 2 only; build the draw from Beta draws of its own"
            )
        rule = self._rules(name)
        axes = self._parameter_axes(name, distribution, per_sample, per_datum)
        self.per_datum = axes.per_datum
        shape = torch.Size(()) if axes.per_sample else torch.Size((self.samples,))
        if self._key is not None:
            seed_torch(self._key ^ zlib.crc32(f"{name}/{len(self.trace.draws)}".encode()))
        value = rule.draw(name, distribution, shape)
        self._record(Draw(name, distribution, value, rule, Axes(True, axes.per_datum), baseline))
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
        """Report a draw made earlier, such as the recorded actions of episodes.

        Args:
            distribution: what the value would be drawn from under the current parameters.
            value: the recorded draw, `[n, *batch, ...]`, or `[T, n, ...]` in a program of episodes.
            mask: true where there was such a draw; elsewhere its log-probability counts as 0.
            behaviour: the log-probability under the distribution that it was drawn from, for off-policy estimators.
        """
        rule = self._rules(name)
        if not rule.scored and not self.dry_run:
            raise ProgramError(
                f"draw '{name}' was made earlier, and '{rule.name}' needs to draw it itself; "
                f"{alternatives(recorded_actions=True)}"
            )
        axes = ALL
        if not self.trace.recorded_trajectories:
            event = len(distribution.event_shape)
            elements = value.shape[: value.dim() - event]
            shape = tuple(torch.broadcast_shapes(distribution.batch_shape, elements))
            axes = self._axes("observed draw", name, len(self.trace.draws), shape)
        self._record(Draw(name, distribution, value, rule, axes, baseline, mask, behaviour))

    def log_prob(self, name: str) -> Tensor:
        """The log-probability of a draw made before, `[n, *batch, *rest]`, for a cost that holds it.

        It is what the draw's distribution gives, as in an evidence lower bound. Its derivative has the mean 0 where
        the draw follows the score function, and estimators that compare samples then leave out its variance: they
        compare its coefficients as well, provided that no scored draw follows.

        Raises:
            ProgramError: no draw of this name was made.
        """
        draw = next((d for d in reversed(self.trace.draws) if d.name == name), None)
        if draw is None:
            known = suggestion(name, [d.name for d in self.trace.draws])
            raise ProgramError(f"context.log_prob: no draw '{name}' was made before; {known}")
        value = draw.distribution.log_prob(draw.value)
        if draw.mask is not None:
            value = torch.where(draw.mask, value, 0.0)
        self.trace.log_probs.append(LogProb(draw, value, len(self.trace.scored)))
        return value

    def cost(
        self,
        value: Tensor | float,
        name: str = "cost",
        *,
        per_sample: bool | None = None,
        per_datum: bool | None = None,
        elementwise: Sequence[str] = (),
    ) -> None:
        """Charge a cost, a scalar or `[n, *batch, ...]`, to the draws made before it and to no other.

        True counts as 1, false as 0.

        Args:
            value: it may lack the sample axis, the batch axes, or both where it is a scalar.
            per_sample, per_datum: whether it has the sample axis and the batch axes; needed only where its shape does
                not tell and a probing run (see `Program`) cannot determine it.
            elementwise: names of draws with as many elements as the cost, of which each element of the cost depends on
                the same element only: estimators of the score function then charge it with that element alone. They
                mostly find this out by themselves; it is to be declared where they cannot follow the program.

        Raises:
            ProgramError: another shape, an unknown draw, or axes that are not what is declared or cannot be determined.
        """
        charge = as_number(value, f"cost '{name}'")
        site = ("cost", name, len(self.trace.costs))
        axes = self._axes(*site, tuple(charge.shape), per_sample, per_datum)
        cost = Cost(name, charge, len(self.trace.scored), axes, tuple(elementwise))
        for draw in cost.elementwise:
            self._refuse_unlike(cost, draw)
        self.trace.costs.append(cost)

    def bound(self, log_weight: Tensor, name: str = "bound") -> None:
        """Charge -log of the mean over samples of exp(log_weight) `[n, *batch, ...]`, as importance weighting does.

        All draws of all samples made before it are charged with it. (Burda et al. 2016; Mnih & Rezende 2016.)
        """
        site = ("bound", name, len(self.trace.bounds))
        axes = ALL
        if not self.trace.recorded_trajectories:
            axes = self._axes(*site, tuple(log_weight.shape))
        self.trace.bounds.append(Cost(name, log_weight, len(self.trace.scored), axes))

    def penalty(
        self,
        value: Tensor | float,
        name: str,
        *,
        per_sample: bool | None = None,
        per_datum: bool | None = None,
    ) -> None:
        """Add a plain differentiable term (entropy, weight decay), which is not attributed to any draw.

        Of a term that depends on a draw of the score function the gradient lacks a part, which the first run reports.

        Unlike a cost it may be a tensor with neither sample axis nor batch axes: the sum of its elements counts once.
        """
        charge = as_number(value, f"penalty '{name}'")
        site = ("penalty", name, len(self.trace.penalties))
        axes = self._axes(*site, tuple(charge.shape), per_sample, per_datum)
        self.trace.penalties.append(Cost(name, charge, 0, axes))

    def value(
        self,
        values: Tensor,
        next_values: Tensor,
        *,
        terminated: Tensor,
        truncated: Tensor,
        behaviour: Tensor | None = None,
    ) -> None:
        """Report the predicted return of recorded steps: minus the discounted cost still to come.

        Actor-critic estimators learn the prediction and build advantages from it; the others do not read it.

        Args:
            values: `[T, N]`, V(s_t) of the state before each step; differentiable.
            next_values: `[T, N]`, V(s_{t+1}) of the state after each step, before any reset. At a truncated step that
                is the episode's last observation; at a terminated one it is not read.
            terminated: `[T, N]`, the step ended the episode and nothing follows.
            truncated: `[T, N]`, the episode was cut off after the step, though it would have gone on.
            behaviour: `[T, N]`, the values predicted when the steps were recorded.

        Raises:
            ProgramError: another shape, a second call, or a program that holds no recorded steps.
        """
        if self.trace.prediction is not None:
            raise ProgramError("context.value was called twice; a program predicts one return")
        for name, given in (("values", values), ("next_values", next_values)):
            if not self.trace.recorded_trajectories or tuple(given.shape) != self.trace.shape:
                expected = (
                    list(self.trace.shape)
                    if self.trace.recorded_trajectories
                    else "recorded steps [T, N]"
                )
                raise ProgramError(
                    f"context.value: {name} has shape {list(given.shape)}; expected {expected}"
                )
        self.trace.prediction = Prediction(
            values, next_values.detach(), terminated, truncated, behaviour
        )

    def action_values(self, values: Tensor) -> None:
        """Report a critic's predicted returns of an action and all that follows it.

        Estimators that learn a critic read them; the others do not.

        Args:
            values: by K critics, `[K, n, *batch]` (n may be 1) of the action recorded or drawn for each datum; or
                `[K, n, *batch, A]` of each of A actions.

        Raises:
            ProgramError: another shape, or a second call.
        """
        if self.trace.action_values is not None:
            raise ProgramError(
                "context.action_values was called twice; K critics report in one tensor"
            )
        lead = self.trace.shape
        given = tuple(values.shape[1 : 1 + len(lead)])
        if given[1:] != lead[1:] or values.dim() not in (len(lead) + 1, len(lead) + 2):
            raise ProgramError(
                f"context.action_values: values have shape {list(values.shape)}; expected [critics, ...] or "
                f"[critics, ..., actions] with {list(lead)} in the middle"
            )
        self.trace.action_values = values

    def black_box(self, function: Callable[..., Any], *inputs: Tensor) -> Any:
        """Call a function through which no gradient passes, such as a simulator written with NumPy.

        Returns:
            what it returns, arrays and numbers as tensors on the inputs' device; of a tuple, each.

        Raises:
            ProgramError: an input carries a gradient that would be lost, which would bias the estimate; or what is
                returned is neither a tensor nor numbers.
        """
        if any(carries_gradient(i) for i in inputs):
            pathwise = [d.name for d in self.trace.draws if carries_gradient(d.value)]
            whose = f"draw '{pathwise[-1]}'" if pathwise else "a parameter"
            raise ProgramError(
                f"a gradient through {whose} would be lost in a black box; "
                f"{alternatives(black_box=True, values_only=not pathwise)}"
            )
        with torch.no_grad():
            returned = function(*inputs)
            device = next((i.device for i in inputs if isinstance(i, Tensor)), None)
            if isinstance(returned, tuple):
                return tuple(as_tensor(value, device) for value in returned)
            return as_tensor(returned, device)

    def _refuse_unlike(self, cost: Cost, name: str) -> None:
        """Refuse a cost whose elements cannot be those of a draw of this name."""
        trace = self.trace
        draws = [draw for draw in trace.draws if draw.name == name]
        if not draws:
            known = suggestion(name, [draw.name for draw in trace.draws])
            raise ProgramError(f"cost '{cost.name}': elementwise names no draw '{name}'; {known}")
        own = tuple(cost.value.shape)[len(cost.axes.of(trace.shape)) :]
        for draw in draws:
            theirs = trace.element_shape(draw)
            if theirs != own:
                raise ProgramError(
                    f"cost '{cost.name}' has the elements {list(own)}, and draw '{name}' {list(theirs)}: elementwise "
                    "needs as many"
                )

    def _record(self, draw: Draw) -> None:
        self.trace.draws.append(draw)
        if draw.rule.scored:
            kind = type(draw.distribution)
            if not has_constant_support(kind):  # type: ignore[arg-type]
                refuse_moving_support(draw)
            self.trace.scored.append(draw)

    def _axes(
        self,
        kind: str,
        name: str,
        number: int,
        shape: tuple[int, ...],
        per_sample: bool | None = None,
        per_datum: bool | None = None,
    ) -> Axes:
        """The axes of a cost, a penalty, a bound or an observed draw."""
        if not shape:
            return NONE
        trace = self.trace
        if trace.recorded_trajectories:
            return trace.recorded_axes(shape, f"{kind} '{name}'")
        axes = self._decided((kind, name, number), shape, per_sample, per_datum)
        declared = per_sample is False and (per_datum is False or len(trace.shape) == 1)
        if axes != NONE or kind == "penalty" or declared or self.dry_run:
            return axes
        raise ProgramError(
            f"{kind} '{name}' has shape {list(shape)}; expected a scalar or [samples, *batch, ...] "
            f"beginning with {list(trace.shape)}"
        )

    def _parameter_axes(
        self,
        name: str,
        distribution: Distribution,
        per_sample: bool | None,
        per_datum: bool | None,
    ) -> Axes:
        """Which leading axes a distribution's parameters have; without batch axes `per_datum` is true."""
        trace, shape = self.trace, tuple(distribution.batch_shape)
        if trace.recorded_trajectories:
            return Axes(bool(per_sample), True)
        site = ("draw", name, len(trace.draws))
        alone = trace.single_sample or (trace.shape == (1,) and site in self._site_axes.alone)
        if alone and not trace.draws and per_sample is None:
            # One sample: the axis changes no sum, and the first draw depends on no other.
            per_sample = False
        if not shape and not per_sample and not per_datum:
            axes = NONE
        else:
            axes = self._decided(site, shape, per_sample, per_datum)
        return axes if len(trace.shape) > 1 else Axes(axes.per_sample, True)

    def _decided(
        self,
        site: Site,
        shape: tuple[int, ...],
        per_sample: bool | None,
        per_datum: bool | None,
    ) -> Axes:
        """What the shape, the declaration or the probing run says."""
        lead = self.trace.shape
        if len(lead) == 1:
            per_datum = None
        if self.dry_run:
            self.shown[site] = (candidates(shape, lead, per_sample, per_datum) or (NONE,))[0]
            return self.shown[site]
        axes = self._site_axes.decide(site, shape, lead, self._probe, per_sample, per_datum)
        if axes is not None:
            return axes
        declared = {"per_sample": per_sample, "per_datum": per_datum}
        words = ", ".join(f"{key}={value}" for key, value in declared.items() if value is not None)
        expected = [f"the {lead[0]} samples"] if per_sample else []
        expected += [f"the batch {list(lead[1:])}"] if per_datum else []
        of = "the distribution's batch shape" if site[0] == "draw" else "its shape"
        raise ProgramError(
            f"{site[0]} '{site[1]}': {words}, but {of} {list(shape)} does not begin with {' and '.join(expected)}"
        )


def refuse_arguments(name: object, distribution: object) -> None:
    """Refuse a draw without a name, or from what is no distribution.

    Raises:
        ProgramError: says what was given and what is expected.
    """
    if isinstance(name, str) and isinstance(distribution, Distribution):
        return
    given = f"context.sample({type(name).__name__}, {type(distribution).__name__})"
    if isinstance(name, str):
        given = f"draw '{name}' is from a {type(distribution).__name__}"
    raise ProgramError(
        f"{given}: expected a name and a distribution of torch.distributions, as in "
        'context.sample("x", Normal(mean, 1.0))'
    )


def as_tensor(value: Any, device: torch.device | None) -> Tensor:
    """What a black box returned: a tensor as it is, else of torch's default precision.

    Raises:
        ProgramError: it is no tensor, no number and no array of numbers.
    """
    if isinstance(value, Tensor):
        return value
    try:
        tensor = torch.as_tensor(value, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise ProgramError(
            f"context.black_box: the function returned a {type(value).__name__}; expected a tensor, an array or a "
            "number"
        ) from None
    return tensor.to(torch.get_default_dtype()) if tensor.is_floating_point() else tensor


def as_number(value: Tensor | float, what: str) -> Tensor:
    """A tensor of floating-point numbers, whatever the user's cost is.

    Raises:
        ProgramError: it is no number and no array of numbers; names `what`.
    """
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ProgramError(
            f"{what} is a {type(value).__name__}; expected a tensor or a number"
        ) from None
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())
