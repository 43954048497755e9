"""Baselines: what a return is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from framework import ranks
from framework.config.types import CountOrZero
from framework.gradients.surrogate.dice import Known
from framework.gradients.surrogate.multi_sample_bound import without_each
from framework.saved_state import check_saved


class LeaveOneOut:
    """Each sample's return is compared with the mean of the others': b_i = mean over j != i of R_j.

    Attributes:
        spread: whether the samples are spread over several processes.
    """

    spread = False

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known | None = None) -> Tensor:
        return mean_of_others(returns, axis, spread=self.spread)

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        return without_each(log_weights)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def mean_of_others(values: Tensor, axis: int, *, spread: bool = False) -> Tensor:
    """For each sample the mean of the other samples' values; 0 where there is no other.

    Args:
        axis: of the samples; before it, if anything, lie steps, of which other processes may have more.
        spread: whether the samples are spread over several processes.
    """
    samples, sums = values.shape[axis], values.sum(axis, keepdim=True)
    if spread and ranks.size() > 1:
        samples = int(ranks.total(samples)[0])
        sums = ranks.summed_steps(sums) if axis else ranks.summed(sums)
    return (sums - values) / (samples - 1) if samples > 1 else torch.zeros_like(values)


class MovingAverage:
    """Returns are compared with a running mean of earlier calls' returns; 0 in the first call.

    In a program of episodes each step has its own running mean, and so has each element of a draw (returns
    `[elements, n, *batch]`).
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.means: dict[str, Tensor] = {}
        self.calls: dict[str, int] = {}

    def __call__(self, site: str, returns: Tensor, axis: int, known: Known | None = None) -> Tensor:
        latest = mean_of_all(returns, axis)
        calls = self.calls.get(site, 0)
        mean, latest = pad_to_same_length(self.means.get(site, torch.zeros_like(latest)), latest)
        # As in Adam: the mean began at 0.
        correction = 1 - self.decay**calls
        baseline = mean / correction if calls else mean
        # One NaN must not stay in the mean.
        latest = torch.where(latest.isfinite(), latest, baseline)
        self.means[site] = self.decay * mean + (1 - self.decay) * latest
        self.calls[site] = calls + 1
        if not axis:
            return baseline
        return baseline[: returns.shape[0]].reshape(-1, *[1] * (returns.dim() - 1))

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        return self(site, value.expand(log_weights.shape), 0)

    def state_dict(self) -> dict[str, Any]:
        return {"means": dict(self.means), "calls": dict(self.calls)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        check_saved("the baseline", state, means=dict[str, Tensor], calls=dict[str, CountOrZero])
        self.means, self.calls = dict(state["means"]), dict(state["calls"])


def mean_of_all(returns: Tensor, axis: int) -> Tensor:
    """The mean over samples and data of all processes, `[]`, or `[T]` of each step."""
    over = list(range(axis, returns.dim()))
    if ranks.size() == 1:
        return returns.mean(dim=over)
    own = returns.sum(dim=over)
    sums = ranks.summed_steps(own) if axis else ranks.summed(own)
    return sums / ranks.total(returns[0].numel() if axis else returns.numel())[0]


def pad_to_same_length(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two vectors padded with zeros to the longer one's length; scalars as they are."""
    if a.dim() == 0 or a.shape == b.shape:
        return a, b
    length = max(len(a), len(b))
    return tuple(torch.nn.functional.pad(v, (0, length - len(v))) for v in (a, b))  # type: ignore[return-value]
