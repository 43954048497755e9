"""Clipping: the whole gradient as one, or each loss's own where an estimator has several."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.utils import get_total_norm

from framework.gradients.estimator import Estimator
from framework.gradients.off_policy.dqn import DQN
from framework.gradients.off_policy.sac import SAC
from framework.gradients.policy_gradient.ppo import PPO
from framework.training.updates.clipping import clip


def with_gradients() -> dict[str, torch.Tensor]:
    """Norms 12 of the critics' gradient and 5 of the policy's, 13 in all; one parameter has none."""
    parameters = {
        name: torch.zeros(2, requires_grad=True) for name in ("critics.a", "body.b", "head.c")
    }
    parameters["critics.a"].grad = torch.tensor([0.0, 12.0])
    parameters["body.b"].grad = torch.tensor([3.0, 4.0])
    return parameters


@pytest.mark.parametrize(
    ("estimator", "longest", "critics", "policy"),
    [
        (PPO(), 1.3, [0.0, 1.2], [0.3, 0.4]),
        (DQN(), 1.3, [0.0, 1.2], [0.3, 0.4]),
        (SAC(), 1.0, [0.0, 1.0], [0.6, 0.8]),
        (SAC(), 6.0, [0.0, 6.0], [3.0, 4.0]),
    ],
)
def test_each_losss_gradient_is_as_long_as_it_may_be(
    estimator: Estimator, longest: float, critics: list[float], policy: list[float]
) -> None:
    parameters: dict[str, Any] = with_gradients()
    if isinstance(estimator, DQN):
        # Its critic is the whole agent.
        parameters["body.a"] = parameters.pop("critics.a")
    first = parameters["body.a" if isinstance(estimator, DQN) else "critics.a"]
    norm = get_total_norm([p.grad for p in parameters.values() if p.grad is not None])
    clip(estimator.clip_groups(parameters), longest, norm)
    torch.testing.assert_close(first.grad, torch.tensor(critics))
    torch.testing.assert_close(parameters["body.b"].grad, torch.tensor(policy))
    assert parameters["head.c"].grad is None
