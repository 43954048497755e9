"""A learned baseline: for each site a small network that predicts the return from what was known before the draw.

Known are the earlier draws and the batch's first tensor (data, or the observations of episodes). The draw itself
is not, so the baseline never biases the gradient. Each network predicts first and is trained afterwards, by a step of
Adam on the squared error of returns scaled to mean 0 and standard deviation 1. (Mnih & Gregor 2014; for episodes: a
state's value.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from framework import ranks
from framework.eager_optimizer import eager
from framework.errors import UserError
from framework.optimizer_state import load_named_state, named_state
from framework.randomness import key, seeded
from framework.saved_state import check_saved

# Of the running mean and standard deviation of the returns.
RETURNS_DECAY = 0.99


class Predictor:
    """One site's network, its optimiser and the scale of its returns."""

    def __init__(
        self, inputs: int, site: str, hidden: int, learning_rate: float, outputs: int = 1
    ) -> None:
        # A resumed run builds no network at this point, and must draw the same numbers all the same.
        with seeded(key(0, f"learned baseline {site}")):
            last = nn.Linear(hidden, outputs)
            self.network = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), last)
        nn.init.zeros_(last.weight)
        self.inputs, self.outputs = inputs, outputs
        self.optimizer = eager(torch.optim.Adam)(self.network.parameters(), lr=learning_rate)
        self.mean, self.square, self.calls = 0.0, 0.0, 0

    def predict(self, known: Tensor, returns: Tensor) -> Tensor:
        """The baseline `[...]` (`[..., outputs]` if there are several) for what is known `[..., inputs]`.

        Then follows one training step.
        """
        mean, deviation = self.scale()
        with torch.enable_grad():
            predicted = self.network(known).squeeze(-1)
            baseline: Tensor = mean + deviation * predicted.detach()
            if not any(ranks.largest(not bool(returns.isfinite().all()))):
                self.remember(returns)
                mean, deviation = self.scale()
                error = (predicted - (returns - mean) / deviation).square().mean()
                self.optimizer.zero_grad()
                (share_of(returns) * error).backward()
                ranks.add_gradients(list(self.network.parameters()), error)
                self.optimizer.step()
        return baseline

    def scale(self) -> tuple[float, float]:
        """The running mean and standard deviation of the returns; 0 and 1 before the first."""
        if not self.calls:
            return 0.0, 1.0
        correction = 1 - RETURNS_DECAY**self.calls
        mean = self.mean / correction
        return mean, max(1e-6, self.square / correction - mean**2) ** 0.5

    def remember(self, returns: Tensor) -> None:
        self.calls += 1
        share = share_of(returns)
        means = ranks.total(share * float(returns.mean()), share * float(returns.square().mean()))
        self.mean = RETURNS_DECAY * self.mean + (1 - RETURNS_DECAY) * means[0]
        self.square = RETURNS_DECAY * self.square + (1 - RETURNS_DECAY) * means[1]

    def state_dict(self) -> dict[str, Any]:
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "network": dict(self.network.state_dict()),
            "optimizer": named_state(self.optimizer, dict(self.network.named_parameters())),
            "scale": [self.mean, self.square, self.calls],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        own = dict(self.network.named_parameters())
        load_named_state(self.optimizer, own, state["optimizer"], list(own))
        check_saved(
            "the baseline", state, scale=Annotated[list[float], Field(min_length=3, max_length=3)]
        )
        self.mean, self.square, self.calls = state["scale"]


def share_of(returns: Tensor) -> float:
    """This process's part of the returns of all processes."""
    return returns.numel() / ranks.total(returns.numel())[0]


class LearnedBaseline:
    """Returns are compared with a network's prediction of them."""

    def __init__(self, hidden: int, learning_rate: float) -> None:
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.predictors: dict[str, Predictor] = {}

    def __call__(
        self, site: str, returns: Tensor, axis: int, known: Callable[[], Tensor]
    ) -> Tensor:
        inputs = known()
        # Returns of elements, `[elements, n, *batch]`: each element has its own prediction.
        elements = returns.dim() == inputs.dim()
        outputs = len(returns) if elements else 1
        existing = self.predictors.get(site)
        if existing is not None and (existing.inputs, existing.outputs) != (
            inputs.shape[-1],
            outputs,
        ):
            # Reached by another path, with other draws.
            site = f"{site}/{inputs.shape[-1]}" + (f"/{outputs}" if elements else "")
        if site not in self.predictors:
            self.predictors[site] = self.predictor(site, inputs.shape[-1], outputs)
        predictor = self.predictors[site]
        predictor.network.to(inputs.device)
        if elements:
            return predictor.predict(inputs, returns.movedim(0, -1)).movedim(-1, 0)
        return predictor.predict(inputs, returns.expand(inputs.shape[:-1]))

    def of_bound(self, site: str, log_weights: Tensor, value: Tensor) -> Tensor:
        ones = torch.ones(*log_weights.shape, 1, device=log_weights.device)
        return self(f"bound/{site}", value.expand(log_weights.shape), 0, lambda: ones)

    def predictor(self, site: str, inputs: int, outputs: int = 1) -> Predictor:
        return Predictor(inputs, site, self.hidden, self.learning_rate, outputs)

    def state_dict(self) -> dict[str, Any]:
        return {site: predictor.state_dict() for site, predictor in self.predictors.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for site, saved in state.items():
            found = list(saved["network"]["0.weight"].shape)
            expected = [self.hidden, saved["inputs"]]
            # Before a network of this width is made: it may not fit into the memory.
            if found != expected:
                raise UserError(
                    f"checkpoint: the baseline's '{site}/0.weight' is {found}, expected {expected}"
                )
            self.predictors[site] = self.predictor(site, saved["inputs"], saved.get("outputs", 1))
            self.predictors[site].load_state_dict(saved)
