"""The surrogate of one sampled run of the program, each draw sampled by its rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.config.types import CountOrZero
from framework.errors import ProgramError
from framework.gradients.distributions.refusal import RELAXED
from framework.gradients.estimator import Estimate, SurrogateEstimator, mean_objective
from framework.gradients.surrogate.baselines import LeaveOneOut, MovingAverage
from framework.gradients.surrogate.credit import relations_of
from framework.gradients.surrogate.dice import Baseline, surrogate
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

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        temperatures = self.rules.begin(self.calls)
        self.calls += 1
        with smoothing() as smooth, explain_off_support(self.rules):
            traces = program.run(self.rules, parameters, batch, samples=self.samples)
        scored = any(trace.scored for trace in traces)
        samples = traces[0].shape[1] if program.recorded_trajectories else self.samples
        if isinstance(self.baseline, LeaveOneOut) and scored and samples < 2:
            raise ProgramError(
                f"a leave-one-out baseline compares samples and there is {samples}: set estimator.samples to 2 or more"
            )
        loss = self.charged(program, traces, parameters, batch)
        # The surrogate's value is the objective's, unless a relaxed program was run instead of the hard one.
        objective, evaluations = loss.detach(), samples
        if smooth.used or self.rules.relaxed:
            with torch.no_grad():
                traces = program.run(self.rules.hard, parameters, batch, samples=self.samples)
            objective = mean_objective([trace.objective() for trace in traces])
            evaluations += samples
        return loss, Estimate(
            objective=objective,
            evaluations=evaluations,
            biased=smooth.biased or self.rules.biased or program.findings.biases(self.rules.names),
            extras=dict(temperatures),
        )

    def charged(
        self, program: Program, traces: list[Trace], parameters: Parameters, batch: Any
    ) -> Tensor:
        """The surrogate of the runs, each cost charged to the draws that it was made from."""
        if not any(trace.scored for trace in traces):
            return surrogate(traces)
        relations = relations_of(program, traces[0], self.rules, parameters, batch)
        if relations is None:
            return surrogate(traces, self.baseline)
        return elementwise_surrogate(traces[0], relations, self.baseline)

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


@contextmanager
def explain_off_support(source: MayRelax) -> Iterator[None]:
    """Explain the error of a program that takes the log-probability of a relaxed value."""
    try:
        yield
    except ValueError as error:
        if source.relaxed and "within the support" in str(error):
            raise ProgramError(
                "the program takes the log-probability of a relaxed value, which is off the distribution's support: "
                "give that distribution validate_args=False; or "
                f"{alternatives(RELAXED, what='keep draws hard', hard=True)}"
            ) from error
        raise
