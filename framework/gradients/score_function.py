"""The score function: grad E[f(x)] = E[(f(x) - b) grad log p(x)], for any draw and any cost, a black box included.

(Williams 1992; leave-one-out baseline: Kool et al. 2019; graphs of draws and costs: Schulman et al. 2015.) Without a
baseline the estimate is unbiased but useless in practice; the choices here never bias it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution

from framework.errors import ProgramError
from framework.gradients.bound import without_each
from framework.gradients.estimator import Estimate, SurrogateEstimator, mean_objective
from framework.gradients.learned_baseline import Learned
from framework.gradients.rules import SiteRules, Sites
from framework.gradients.surrogate import Baseline, Known, surrogate
from framework.parameters import Parameters
from framework.program import Program
from framework.relaxed import smoothing
from framework.rule import Rule

Samples = Annotated[int, Field(ge=1)]


class ScoreFunction:
    """Draw, cut the gradient, and let the log-probability carry the blame."""

    name = "score_function"
    scored = True
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        return distribution.sample(shape)


class LeaveOneOut:
    """Each sample's return is compared with the mean of the others': b_i = mean over j != i of R_j."""

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known | None = None) -> Tensor:
        samples = returns.shape[axis]
        if samples < 2:
            return torch.zeros_like(returns)
        return (returns.sum(axis, keepdim=True) - returns) / (samples - 1)

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        return without_each(log_weights)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class MovingAverage:
    """Returns are compared with a running mean of earlier calls' returns; 0 in the first call.

    In a program of episodes each step has its own running mean.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.means: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known | None = None) -> Tensor:
        latest = returns.mean(dim=list(range(axis, returns.dim())))  # [] or [T]
        calls = self.calls.get(site, 0)
        mean, latest = longest(self.means.get(site, torch.zeros_like(latest)), latest)
        correction = 1 - self.decay**calls  # as in Adam: the mean began at 0
        baseline = mean / correction if calls else mean
        latest = torch.where(latest.isfinite(), latest, baseline)  # one NaN must not stay for ever
        self.means[site] = self.decay * mean + (1 - self.decay) * latest
        self.calls[site] = calls + 1
        return baseline[: returns.shape[0]].unsqueeze(1) if axis else baseline

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        return self(site, value.expand(log_weights.shape), 0)

    def state_dict(self) -> dict[str, Any]:
        return {"means": dict(self.means), "calls": dict(self.calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.means, self.calls = dict(state["means"]), dict(state["calls"])


def longest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two vectors padded with zeros to the longer one's length; scalars as they are."""
    if a.dim() == 0 or a.shape == b.shape:
        return a, b
    length = max(len(a), len(b))
    return tuple(torch.nn.functional.pad(v, (0, length - len(v))) for v in (a, b))  # type: ignore[return-value]


class Mixed(SurrogateEstimator):
    """The surrogate of one run of the program, each draw made by its rule: the family's common engine.

    Args:
        rule: how a draw is made that no pattern of `sites` matches.
        samples: n; a batch of recorded episodes brings its own n.
        sites: rules by name pattern.
        baseline: what returns are compared with.
    """

    def __init__(
        self,
        rule: Rule,
        samples: int,
        sites: Sites | None = None,
        baseline: LeaveOneOut | MovingAverage | Learned | None = None,
    ) -> None:
        self.rules = SiteRules(rule, sites)
        self.replays = rule.scored  # a draw made earlier has a log-probability and no path
        self.calls = 0
        self.samples = samples
        self.baseline: Baseline | None = baseline

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        temperatures = self.rules.begin(self.calls)
        self.calls += 1
        with smoothing() as smooth, off_support(self.rules):
            traces = program.run(self.rules, parameters, batch, samples=self.samples)
        scored = any(trace.scored for trace in traces)
        samples = traces[0].shape[1] if program.steps else self.samples
        if isinstance(self.baseline, LeaveOneOut) and scored and samples < 2:
            raise ProgramError(
                f"a leave-one-out baseline compares samples and there is {samples}: set estimator.samples to 2 or more"
            )
        loss = surrogate(traces, self.baseline if scored else None)
        objective, evaluations = loss.detach(), samples  # the surrogate's value is the objective's
        if smooth.used or self.rules.relaxed:  # unless what was run is not the hard program
            with torch.no_grad():
                traces = program.run(self.rules.hard, parameters, batch, samples=self.samples)
            objective = mean_objective([trace.objective() for trace in traces])
            evaluations += samples
        return loss, Estimate(
            objective=objective,
            evaluations=evaluations,
            biased=smooth.biased or self.rules.biased,
            extras=dict(temperatures),
        )

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"calls": self.calls} if self.rules.scheduled else {}
        if self.baseline is not None:
            state["baseline"] = self.baseline.state_dict()  # type: ignore[attr-defined]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls = state.get("calls", 0)
        if self.baseline is not None:
            self.baseline.load_state_dict(state["baseline"])  # type: ignore[attr-defined]


class Relaxing(Protocol):
    """What may give a program values off a distribution's support."""

    @property
    def relaxed(self) -> bool:
        """Whether it has."""


@contextmanager
def off_support(rules: Relaxing) -> Iterator[None]:
    """Say what to do where a program takes the log-probability of a relaxed value."""
    try:
        yield
    except ValueError as error:
        if rules.relaxed and "within the support" in str(error):
            raise ProgramError(
                "the program takes the log-probability of a relaxed value, which is off the distribution's support: "
                "give that distribution validate_args=False; or estimators that keep draws hard: "
                "straight_through_gumbel, gumbel_rao, reinmax"
            ) from error
        raise


def reinforce(
    *,
    samples: Samples = 16,
    baseline: Literal["none", "moving_average", "learned"] = "moving_average",
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    hidden: Annotated[int, Field(ge=1)] = 32,
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2,
    sites: dict[str, Any] | None = None,
) -> Mixed:
    """REINFORCE averaged over many samples or episodes; baseline: a moving average, a learned network, or none."""
    chosen: MovingAverage | Learned | None = None
    if baseline == "moving_average":
        chosen = MovingAverage(decay)
    elif baseline == "learned":
        chosen = Learned(hidden, learning_rate)
    return Mixed(ScoreFunction(), samples, sites, chosen)


def rloo(*, samples: Samples = 16, sites: dict[str, Any] | None = None) -> Mixed:
    """REINFORCE where each sample's baseline is the mean of the others (leave-one-out)."""
    return Mixed(ScoreFunction(), samples, sites, LeaveOneOut())


def vimco(*, samples: Samples = 16, sites: dict[str, Any] | None = None) -> Mixed:
    """Leave-one-out for multi-sample bounds (`context.bound`); elsewhere the same as rloo."""
    return rloo(samples=samples, sites=sites)
