"""The surrogate of one sampled run of the program, each draw sampled by its rule."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from framework import ranks
from framework.capabilities import alternatives
from framework.config.types import CountOrZero
from framework.errors import ProgramError
from framework.gradients.distributions.refusal import RELAXED
from framework.gradients.estimator import (
    Estimate,
    SurrogateEstimator,
    differentiate,
    mean_objective,
)
from framework.gradients.surrogate.baselines import LeaveOneOut, MovingAverage
from framework.gradients.surrogate.coefficients import compare_coefficients
from framework.gradients.surrogate.credit import relations_of
from framework.gradients.surrogate.dice import (
    Baseline,
    first_order_surrogate,
    is_one_segment,
    surrogate,
)
from framework.gradients.surrogate.elementwise import elementwise_surrogate
from framework.gradients.surrogate.learned_baseline import LearnedBaseline
from framework.gradients.surrogate.site_rules import SiteRules, Sites
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.rule import Rule
from framework.recording.trace import Trace
from framework.relaxed import smoothing
from framework.saved_state import check_saved


class SampledSurrogate(SurrogateEstimator):
    """The surrogate of one run of the program, each draw sampled by its rule: the family's common engine.

    Args:
        rule: for draws that no pattern of `sites` matches.
        samples: n; a batch of recorded episodes brings its own n.
        sites: rules by name pattern.
        baseline: what returns are compared with.
    """

    def __init__(
        self,
        rule: Rule,
        samples: int,
        sites: Sites = MappingProxyType({}),
        baseline: LeaveOneOut | MovingAverage | LearnedBaseline | None = None,
    ) -> None:
        self.rules = SiteRules(rule, sites)
        # A draw made earlier has a log-probability but no path.
        self.supports_recorded_actions = rule.scored
        self.calls = 0
        self.samples = samples
        self.baseline: Baseline | None = baseline

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        loss, estimate = self.sampled(program, parameters, batch, first_order=True)
        differentiate(loss, scale)
        return estimate

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        return self.sampled(program, parameters, batch, first_order=False)

    def sampled(
        self, program: Program, parameters: Parameters, batch: Any, *, first_order: bool
    ) -> tuple[Tensor, Estimate]:
        """A surrogate whose first derivatives are right, or those of any order."""
        temperatures = self.rules.begin(self.calls)
        self.calls += 1
        drawn = self.share_of_samples(program)
        with smoothing() as smooth:
            try:
                traces = program.run(self.rules, parameters, batch, samples=drawn)
            except ValueError as error:
                explain_off_support(error, self.rules)
                raise
        scored = any(trace.scored for trace in traces)
        samples = traces[0].shape[1] if program.recorded_trajectories else drawn
        compares = isinstance(self.baseline, LeaveOneOut) and scored
        if compares and samples < 2 and ranks.size() == 1:
            raise ProgramError(
                f"a leave-one-out baseline compares samples and there is {samples}: set estimator.samples to 2 or more"
            )
        if scored:
            loss, objective = self.charged(program, traces, parameters, batch, first_order)
        else:
            loss = surrogate(traces)
            objective = loss.detach()
        evaluations = samples
        # Its value is the objective's, unless a relaxed program was run instead of the hard one.
        if smooth.used or self.rules.relaxed:
            with torch.no_grad():
                traces = program.run(self.rules.hard, parameters, batch, samples=drawn)
            objective = mean_objective([trace.objective() for trace in traces])
            evaluations += samples
        if drawn != self.samples and not program.recorded_trajectories:
            # The trainer weighs processes without data alike.
            weight = drawn * ranks.size() / self.samples
            loss, objective = weight * loss, weight * objective
        return loss, Estimate(
            objective=objective,
            evaluations=evaluations,
            biased=smooth.biased or self.rules.biased or program.findings.biases(self.rules.names),
            extras=dict(temperatures),
        )

    def share_of_samples(self, program: Program) -> int:
        """How many samples this process draws: of several that train together each has its part, or of the data.

        Raises:
            ProgramError: there are more processes than samples.
        """
        count = ranks.size()
        spread = count > 1 and program.spreads_samples
        if isinstance(self.baseline, LeaveOneOut):
            self.baseline.spread = spread
        if not spread or program.recorded_trajectories:
            return self.samples
        if self.samples < count:
            raise ProgramError(
                f"estimator.samples = {self.samples}: fewer than the {count} processes that draw them"
            )
        alone = program.one_sample_at_a_time and isinstance(self.baseline, LeaveOneOut)
        if alone and self.samples < 2 * count:
            raise ProgramError(
                f"estimator.samples = {self.samples}: a program that runs one sample at a time compares those of one "
                f"process, expected two at least for each of {count}"
            )
        return len(range(self.samples)[ranks.part(self.samples)])

    def charged(
        self,
        program: Program,
        traces: list[Trace],
        parameters: Parameters,
        batch: Any,
        first_order: bool,
    ) -> tuple[Tensor, Tensor]:
        """The surrogate of the runs, each cost charged to the draws that it was made from, and its objective."""
        first, baseline = traces[0], self.baseline
        if first.bounds and program.spreads_samples and ranks.size() > 1:
            raise ProgramError(
                f"bound '{first.bounds[0].name}' is made of all samples together, and several processes draw them"
            )
        if first_order and baseline is not None:
            compare_coefficients(first, spread=program.spreads_samples and ranks.size() > 1)
        relations = relations_of(program, first, self.rules, parameters, batch)
        if relations is not None:
            loss = elementwise_surrogate(first, relations, baseline)
        elif first_order and len(traces) == 1 and is_one_segment(first):
            return first_order_surrogate(first, baseline)
        else:
            loss = surrogate(traces, baseline)
        return loss, loss.detach()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"calls": self.calls} if self.rules.scheduled else {}
        if self.baseline is not None:
            state["baseline"] = self.baseline.state_dict()  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the estimator", {"calls": 0, **state}, calls=CountOrZero)
        self.calls = state.get("calls", 0)
        if self.baseline is not None:
            self.baseline.load_state_dict(state["baseline"])  # type: ignore[attr-defined]


class MayRelax(Protocol):
    """What may give a program values off a distribution's support."""

    @property
    def relaxed(self) -> bool:
        """Whether it has done so."""


def explain_off_support(error: ValueError, source: MayRelax) -> None:
    """Explain the error of a program that takes the log-probability of a relaxed value; another is left alone."""
    if source.relaxed and "within the support" in str(error):
        raise ProgramError(
            "the program takes the log-probability of a relaxed value, which is off the distribution's support: "
            "give that distribution validate_args=False; or "
            f"{alternatives(RELAXED, what='keep draws hard', hard=True)}"
        ) from error
