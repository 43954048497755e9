"""What a program sees: where it draws, observes and charges costs; everything is written into the trace."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributions import Distribution, LKJCholesky

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.moving_support import ends_of_support, has_constant_support
from framework.randomness import seed_torch
from framework.rule import Rules
from framework.trace import Cost, Draw, Prediction, Trace


class Context:
    """What a program sees: where it draws, observes and charges costs. `samples` is n, the leading axis."""

    __slots__ = ("_key", "_rules", "_sample_axis_known", "dry_run", "samples", "trace")

    def __init__(
        self,
        rules: Rules,
        shape: tuple[int, ...],
        *,
        recorded_trajectories: bool = False,
        single_sample: bool = False,
        key: int | None = None,
        sample_axis_known: dict[str, bool] | None = None,
        dry_run: bool = False,
    ) -> None:
        self.samples = shape[1] if recorded_trajectories else shape[0]
        self.trace = Trace(shape, recorded_trajectories, single_sample)
        self.dry_run = dry_run
        self._rules = rules
        self._key = key
        self._sample_axis_known = {} if sample_axis_known is None else sample_axis_known

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
            name: the draw's site; configuration selects rules by it.
            distribution: its parameters either depend on no draw (they are repeated for each sample) or have the
                sample axis because they depend on an earlier draw.
            baseline: an expected cost given all that was known before this draw, `[n, *batch]` or smaller; it
                replaces the estimator's own and must not depend on the draw.
            per_sample: whether the parameters have the sample axis. Needed only where a run of the program with one
                sample more cannot determine it.

        Returns:
            the draw, `[n, *batch, *rest]`.

        Raises:
            ProgramError: the estimator's rule cannot serve the distribution, or torch cannot sample it.
        """
        if isinstance(distribution, LKJCholesky) and distribution.dim > 2:
            raise ProgramError(
                f"draw '{name}' ~ LKJCholesky: what torch draws in {distribution.dim} dimensions does not follow the "
                "distribution, which its sampler serves in 2 only; build the draw from Beta draws of its own"
            )
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
        self._record(Draw(name, distribution, value, rule, baseline, mask, behaviour))

    def cost(self, value: Tensor | float, name: str = "cost") -> None:
        """Charge a cost, a scalar or `[n, *batch, ...]`, to the draws made before it and to no other.

        True counts as 1, false as 0.
        """
        charged = self._charged(as_number(value), f"cost '{name}'", len(self.trace.costs))
        self.trace.costs.append(Cost(name, charged, len(self.trace.scored)))

    def bound(self, log_weight: Tensor, name: str = "bound") -> None:
        """Charge -log of the mean over samples of exp(log_weight) `[n, *batch, ...]`, as importance weighting does.

        All draws of all samples made before it are charged with it. (Burda et al. 2016; Mnih & Rezende 2016.)
        """
        self.trace.bounds.append(Cost(name, log_weight, len(self.trace.scored)))

    def penalty(self, value: Tensor | float, name: str) -> None:
        """Add a plain differentiable term (entropy, weight decay), which is not attributed to any draw."""
        charged = self._charged(as_number(value), f"penalty '{name}'", len(self.trace.penalties))
        self.trace.penalties.append(Cost(name, charged, 0))

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

    def black_box(self, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Call a function through which no gradient passes.

        Raises:
            ProgramError: an input carries a gradient that would be lost, which would bias the estimate.
        """
        if any(carries_gradient(i) for i in inputs):
            pathwise = [d.name for d in self.trace.draws if carries_gradient(d.value)]
            whose = f"draw '{pathwise[-1]}'" if pathwise else "a parameter"
            raise ProgramError(
                f"a gradient through {whose} would be lost in a black box; "
                f"{alternatives(black_box=True, values_only=not pathwise)}"
            )
        with torch.no_grad():
            return function(*inputs)

    def _record(self, draw: Draw) -> None:
        self.trace.draws.append(draw)
        if draw.rule.scored:
            kind = type(draw.distribution)
            if not has_constant_support(kind):  # type: ignore[arg-type]
                refuse_moving_support(draw)
            self.trace.scored.append(draw)

    def _charged(self, value: Tensor, what: str, number: int) -> Tensor:
        """A cost with all leading axes where it has either the samples' or the batch's and n is the batch's size.

        One value for each sample or one for each datum: as with draws, a run with one sample more determines which.
        """
        if self.trace.recorded_trajectories or len(self.trace.shape) < 2:
            return value
        (n, *batch), site = self.trace.shape, f"{what}, number {number}"
        if self.dry_run:
            self._sample_axis_known[site] = value.shape[:1] == (n,)
        ambiguous = batch[0] == n and n > 1
        if not ambiguous or list(value.shape[: len(batch)]) != batch:
            return value
        if tuple(value.shape[: 1 + len(batch)]) == self.trace.shape:
            return value
        if site not in self._sample_axis_known:
            raise Ambiguous(
                site,
                f"{what} has shape {list(value.shape)}, one value for each sample or for each datum: {n} are both; "
                f"expand it to [samples, *batch] = {list(self.trace.shape)}",
            )
        if not self._sample_axis_known[site]:
            return value.expand(n, *value.shape)
        rest = value.shape[1:]
        return value.reshape(n, *[1] * len(batch), *rest).expand(n, *batch, *rest)

    def _carries_samples(
        self, name: str, distribution: Distribution, per_sample: bool | None
    ) -> bool:
        """Whether the distribution's parameters have the sample axis: given, certain, or determined by a dry run."""
        batch_shape = distribution.batch_shape
        leads = len(batch_shape) > 0 and batch_shape[0] == self.samples
        if per_sample and not leads:
            raise ProgramError(
                f"draw '{name}': per_sample=True, but the distribution's batch shape {list(batch_shape)} "
                f"does not begin with the {self.samples} samples"
            )
        if per_sample is not None:
            return per_sample
        # The first draw cannot depend on an earlier one.
        if not leads or not self.trace.draws:
            return False
        if self.dry_run:
            self._sample_axis_known[name] = True
            return True
        if name not in self._sample_axis_known:
            raise Ambiguous(
                name,
                f"draw '{name}': its batch shape begins with the number of samples, by design or by coincidence; "
                "say per_sample=True (it depends on an earlier draw) or per_sample=False",
            )
        return self._sample_axis_known[name]


def as_number(value: Tensor | float) -> Tensor:
    """A tensor of floating-point numbers, whatever the user's cost is."""
    tensor = torch.as_tensor(value)
    return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


def refuse_moving_support(draw: Draw) -> None:
    """Raise an error where the possible values of a scored draw depend on a parameter."""
    ends = ends_of_support(draw.distribution)
    if any(carries_gradient(end) and end.isfinite().any() for end in ends):
        kind = type(draw.distribution).__name__
        path = {kind, "path"} if draw.distribution.has_rsample else {kind}
        raise ProgramError(
            f"draw '{draw.name}' ~ {kind}: which values are possible depends on a parameter, and the log-probability "
            f"used by '{draw.rule.name}' does not tell that they change; {alternatives([path], moving_support=True)}"
        )


class AxesUnknown(ProgramError):
    """It was not determined what an axis of length n counts."""


class Ambiguous(Exception):
    """An axis of length n, by design or by coincidence: the program determines which.

    Attributes:
        site: what has the axis.
        question: for the user, where it cannot be determined.
    """

    def __init__(self, site: str, question: str) -> None:
        super().__init__(question)
        self.site = site
        self.question = question


def carries_gradient(value: Any) -> bool:
    """Whether a derivative flows through `value` here and now, backwards (autograd) or forwards (a dual number)."""
    if not isinstance(value, Tensor):
        return False
    if value.requires_grad and torch.is_grad_enabled():
        return True
    return forward_ad.unpack_dual(value).tangent is not None
