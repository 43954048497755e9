"""The score function: grad E[f(x)] = E[(f(x) - b) grad log p(x)], for any draw and any cost, a black box included.

(Williams 1992; leave-one-out baseline: Kool et al. 2019; graphs of draws and costs: Schulman et al. 2015.) Without a
baseline the estimate is unbiased but useless in practice; the choices here never bias it.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution

from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, SurrogateEstimator
from framework.gradients.rules import SiteRules, Sites
from framework.gradients.surrogate import Baseline, surrogate
from framework.program import Parameters, Program, Rule

Samples = Annotated[int, Field(ge=1)]


class ScoreFunction:
    """Draw, cut the gradient, and let the log-probability carry the blame."""

    name = "score_function"
    scored = True
    biased = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        return distribution.sample(shape)


class LeaveOneOut:
    """Each sample's return is compared with the mean of the others': b_i = mean over j != i of R_j."""

    def __call__(self, site: str, returns: Tensor, axis: int) -> Tensor:
        samples = returns.shape[axis]
        if samples < 2:
            return torch.zeros_like(returns)
        return (returns.sum(axis, keepdim=True) - returns) / (samples - 1)

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

    def __call__(self, site: str, returns: Tensor, axis: int) -> Tensor:
        latest = returns.mean(dim=list(range(axis, returns.dim())))  # [] or [T]
        calls = self.calls.get(site, 0)
        mean, latest = longest(self.means.get(site, torch.zeros_like(latest)), latest)
        correction = 1 - self.decay**calls  # as in Adam: the mean began at 0
        baseline = mean / correction if calls else mean
        latest = torch.where(latest.isfinite(), latest, baseline)  # one NaN must not stay for ever
        self.means[site] = self.decay * mean + (1 - self.decay) * latest
        self.calls[site] = calls + 1
        return baseline[: returns.shape[0]].unsqueeze(1) if axis else baseline

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

    replays: ClassVar[bool] = True

    def __init__(
        self,
        rule: Rule,
        samples: int,
        sites: Sites | None = None,
        baseline: LeaveOneOut | MovingAverage | None = None,
    ) -> None:
        self.rules = SiteRules(rule, sites)
        self.samples = samples
        self.baseline: Baseline | None = baseline

    def surrogate(
        self, program: Program, parameters: Parameters, batch: Any = None
    ) -> tuple[Tensor, Estimate]:
        traces = program.run(self.rules, parameters, batch, samples=self.samples)
        scored = any(trace.scored for trace in traces)
        samples = traces[0].shape[1] if program.steps else self.samples
        if isinstance(self.baseline, LeaveOneOut) and scored and samples < 2:
            raise ProgramError(
                f"a leave-one-out baseline compares samples and there is {samples}: set estimator.samples to 2 or more"
            )
        loss = surrogate(traces, self.baseline if scored else None)
        return loss, Estimate(  # the surrogate's value is the objective's
            objective=loss.detach(), evaluations=samples, biased=self.rules.biased
        )

    def state_dict(self) -> dict[str, Any]:
        return {} if self.baseline is None else {"baseline": self.baseline.state_dict()}  # type: ignore[attr-defined]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.baseline is not None:
            self.baseline.load_state_dict(state["baseline"])  # type: ignore[attr-defined]


def reinforce(
    *,
    samples: Samples = 16,
    baseline: Literal["none", "moving_average"] = "moving_average",
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
    sites: dict[str, Any] | None = None,
) -> Mixed:
    """REINFORCE averaged over many samples or episodes, with a moving-average baseline or none."""
    average = MovingAverage(decay) if baseline == "moving_average" else None
    return Mixed(ScoreFunction(), samples, sites, average)


def rloo(*, samples: Samples = 16, sites: dict[str, Any] | None = None) -> Mixed:
    """REINFORCE where each sample's baseline is the mean of the others (leave-one-out)."""
    return Mixed(ScoreFunction(), samples, sites, LeaveOneOut())
