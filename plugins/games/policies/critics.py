"""Critics: the predicted return of an action and of what follows it.

For continuous actions several networks Q_k(s, a) beside the policy; for one of several actions the head of the agent
itself, which predicts the return of each and takes the best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from gymnasium import Space
from torch import Tensor, nn
from torch.distributions import Distribution

from plugins.games.environments.games import Observation
from plugins.games.policies import bodies
from plugins.games.policies.actions import GumbelMaxCategorical, Head, mask_logits

CriticKind = Literal["value", "action_value"]
# The smaller of two is less optimistic than one (Fujimoto et al. 2018).
TWINS = 2


class Linears(nn.Module):
    """K linear layers side by side, from `[K, B, inputs]` to `[K, B, outputs]`."""

    def __init__(self, count: int, inputs: int, outputs: int, gain: float) -> None:
        super().__init__()
        each = [bodies.initialised(nn.Linear(inputs, outputs), gain) for _ in range(count)]
        weights = torch.stack([layer.weight.detach().T for layer in each]).contiguous()
        self.weight = nn.Parameter(weights)
        self.bias = nn.Parameter(torch.zeros(count, 1, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, inputs, self.weight)


class Critics(nn.Module):
    """Q_k(s, a) for k = 1 .. K, each by parameters of its own.

    Args:
        actions: numbers of an action.
        hidden: widths of the layers over the observation and the action together. Pictures go through convolutions
            first, numbers come as they are.
    """

    def __init__(
        self,
        observations: Space[Any],
        actions: int,
        *,
        hidden: Sequence[int],
        encoder: bodies.BodyKind,
        observation_indices: Sequence[int] | None,
        activation: bodies.Activation,
        count: int = TWINS,
    ) -> None:
        super().__init__()
        self.count = count
        pictures = bodies.has_images(observations, encoder)
        each = [
            bodies.make_body(
                observations, encoder, hidden if pictures else (), observation_indices, activation
            )
            for _ in range(count if pictures else 1)
        ]
        self.bodies = nn.ModuleList(each)
        width = each[0].width + actions
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise([width, *hidden]):
            layers += [
                Linears(count, inputs, outputs, math.sqrt(2)),
                bodies.ACTIVATIONS[activation](),
            ]
        self.layers = nn.Sequential(*layers, Linears(count, hidden[-1], 1, 1.0))

    def forward(self, observation: Observation, actions: Tensor) -> Tensor:
        """Predicted returns `[K, *batch]` of actions `[*batch, A]`.

        Args:
            observation: `[*batch, ...]`, or with fewer leading axes than the actions.
        """
        lead = actions.shape[:-1]
        inputs = [
            torch.cat([features.expand(*lead, -1), actions], -1).flatten(0, -2)
            for features in (body(observation) for body in self.bodies)
        ]
        stacked = torch.stack(inputs).expand(self.count, -1, -1)
        values: Tensor = self.layers(stacked).float().squeeze(-1).unflatten(1, lead)
        return values


class ActionValueHead(Head):
    """The predicted return of each of A actions; the policy takes the best, or by chance any other.

    With `dueling` it is a state's value plus each action's advantage over the mean one (Wang et al. 2016).
    """

    # The chance of a random action.
    epsilon: Tensor

    def __init__(self, features: int, choices: int, first: int, dueling: bool) -> None:
        super().__init__()
        self.choices, self.first = choices, first
        self.linear = bodies.initialised(nn.Linear(features, choices), 0.01)
        self.state = bodies.initialised(nn.Linear(features, 1), 0.01) if dueling else None
        self.register_buffer("epsilon", torch.zeros(()))

    def forward(self, features: Tensor, mask: Tensor | None = None) -> EpsilonGreedy:
        values = self.linear(features).float()
        if self.state is not None:
            values = self.state(features).float() + values - values.mean(-1, keepdim=True)
        return EpsilonGreedy(mask_logits(values, mask), self.epsilon, mask)

    def greedy(self, policy: Distribution) -> Tensor:
        assert isinstance(policy, EpsilonGreedy)
        return policy.values.argmax(-1)

    def to_environment(self, actions: Tensor) -> Tensor:
        return actions + self.first if self.first else actions

    def any_action(self, policy: Distribution) -> Tensor:
        assert isinstance(policy, EpsilonGreedy)
        return policy.any_action()


class EpsilonGreedy(GumbelMaxCategorical):
    """The best action, and with a chance of epsilon any of those that are allowed.

    Probabilities are computed where they are asked for: acting and learning need the values alone.

    Attributes:
        values: `[*batch, A]`, the predicted returns.
    """

    def __init__(self, values: Tensor, epsilon: Tensor, mask: Tensor | None) -> None:
        self.values, self.epsilon, self.mask = values, epsilon, mask
        self._num_events = values.shape[-1]
        Distribution.__init__(self, values.shape[:-1], validate_args=False)

    @cached_property
    def unnormalised(self) -> Tensor:  # type: ignore[override]
        """Logits."""
        allowed = torch.ones_like(self.values)
        if self.mask is not None:
            allowed = self.mask.to(allowed.dtype)
        evenly = allowed / allowed.sum(-1, keepdim=True)
        best = nn.functional.one_hot(self.values.argmax(-1), self.values.shape[-1])
        return (self.epsilon * evenly + (1 - self.epsilon) * best).log()

    @property
    def _param(self) -> Tensor:  # type: ignore[override]
        return self.unnormalised

    def any_action(self, sample_shape: Any = ()) -> Tensor:
        """An allowed action, all with equal chances, `[*sample_shape, *batch]`."""
        chances = torch.rand((*sample_shape, *self.values.shape), device=self.values.device)
        if self.mask is not None:
            chances = chances.masked_fill(~self.mask.bool(), -1.0)
        return chances.argmax(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            by_chance = self.any_action(sample_shape)
            explores = torch.rand(by_chance.shape, device=by_chance.device) < self.epsilon
            return torch.where(explores, by_chance, self.values.argmax(-1))
