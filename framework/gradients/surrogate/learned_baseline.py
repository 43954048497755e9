"""A learned baseline: for each site a small network that predicts the return from what was known before the draw.

Known are the draws made before and the batch's first tensor (data, or the observations of episodes). The draw itself
is not, so the baseline never biases the gradient. Each network predicts first and learns afterwards, by a step of Adam
on the squared error of returns scaled to mean 0 and width 1. (Mnih & Gregor 2014; for episodes: a state's value.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from framework.randomness import key, seeded

MEMORY = 0.99  # of the running mean and width of the returns


class Predictor:
    """One site's network, its optimiser and the scale of its returns."""

    def __init__(self, inputs: int, site: str, hidden: int, learning_rate: float) -> None:
        with seeded(
            key(0, f"learned baseline {site}")
        ):  # a resumed run makes none, and must draw alike
            last = nn.Linear(hidden, 1)
            self.network = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), last)
        nn.init.zeros_(last.weight)
        self.inputs = inputs
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.mean, self.square, self.calls = 0.0, 0.0, 0

    def predict(self, known: Tensor, returns: Tensor) -> Tensor:
        """The baseline `[...]` for what is known `[..., inputs]`, then one step of learning."""
        mean, width = self.scale()
        with torch.enable_grad():
            predicted = self.network(known).squeeze(-1)
            baseline: Tensor = mean + width * predicted.detach()
            if bool(returns.isfinite().all()):
                self.remember(returns)
                mean, width = self.scale()
                error = (predicted - (returns - mean) / width).square().mean()
                self.optimizer.zero_grad()
                error.backward()
                self.optimizer.step()
        return baseline

    def scale(self) -> tuple[float, float]:
        """The running mean and width of the returns; 0 and 1 before the first."""
        if not self.calls:
            return 0.0, 1.0
        correction = 1 - MEMORY**self.calls
        mean = self.mean / correction
        return mean, max(1e-6, self.square / correction - mean**2) ** 0.5

    def remember(self, returns: Tensor) -> None:
        self.calls += 1
        self.mean = MEMORY * self.mean + (1 - MEMORY) * float(returns.mean())
        self.square = MEMORY * self.square + (1 - MEMORY) * float(returns.square().mean())

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "network": dict(self.network.state_dict()),
            "optimizer": self.optimizer.state_dict(),
            "scale": [self.mean, self.square, self.calls],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(
            copy.deepcopy(state["optimizer"])
        )  # it keeps what it is given
        self.mean, self.square, self.calls = state["scale"]


class Learned:
    """Returns are compared with what a network expected of them."""

    def __init__(self, hidden: int, learning_rate: float) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.predictors: dict[str, Predictor] = {}

    def __call__(
        self, site: str, returns: Tensor, axis: int, known: Callable[[], Tensor]
    ) -> Tensor:
        inputs = known()
        if site in self.predictors and self.predictors[site].inputs != inputs.shape[-1]:
            site = f"{site}/{inputs.shape[-1]}"  # another way led here, with other draws
        if site not in self.predictors:
            self.predictors[site] = self.predictor(site, inputs.shape[-1])
        predictor = self.predictors[site]
        predictor.network.to(inputs.device)
        return predictor.predict(inputs, returns.expand(inputs.shape[:-1]))

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        ones = torch.ones(*log_weights.shape, 1, device=log_weights.device)
        return self(f"bound/{site}", value.expand(log_weights.shape), 0, lambda: ones)

    def predictor(self, site: str, inputs: int) -> Predictor:
        return Predictor(inputs, site, self.hidden, self.learning_rate)

    def state_dict(self) -> dict[str, Any]:
        return {site: predictor.state_dict() for site, predictor in self.predictors.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for site, saved in state.items():
            self.predictors[site] = self.predictor(site, saved["inputs"])
            self.predictors[site].load_state_dict(saved)
