"""In bfloat16 only the networks are computed; what is added up is added up in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from framework.gradients.estimator import Estimate
from framework.gradients.registered import make_estimator
from plugins.games.task import Game

# The distance from 1 to the next number of bfloat16.
STEP = torch.finfo(torch.bfloat16).eps
CPU = torch.device("cpu")


def learned(precision: torch.dtype, **options: Any) -> tuple[Estimate, Tensor, Any]:
    """The estimate, all gradients in a row and the rollout, which is the same in either precision."""
    torch.manual_seed(0)
    game = Game(environment="cart_pole", games=64, hidden=[16], rollout_steps=64, **options)
    estimator = make_estimator("ppo", None, {"epochs": 1, "minibatches": 1})
    program = game.program(estimator)
    batch = next(game.batches(program, 0, 0))
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        estimate = estimator.backward(program, game.parameters, batch)
    gradients = [p.grad for p in game.parameters.values() if p.grad is not None]
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    return estimate, torch.cat([gradient.flatten() for gradient in gradients]), batch


@pytest.mark.parametrize("shared", [False, True])
def test_a_gradient_is_that_of_float32_within_the_precision(shared):
    exact, right, _ = learned(torch.float32, shared=shared)
    rounded, own, _ = learned(torch.bfloat16, shared=shared)
    assert 0 < (own - right).norm() < 8 * STEP * right.norm()
    # Of costs, which no network computes.
    assert torch.equal(rounded.objective, exact.objective)
    for name in ("entropy", "value_loss"):
        assert rounded.extras[name].dtype == torch.float32  # type: ignore[union-attr]
        torch.testing.assert_close(rounded.extras[name], exact.extras[name], rtol=4 * STEP, atol=0)


def test_a_mean_over_thousands_of_steps_is_not_added_up_in_bfloat16():
    """A sum of 4,096 ones in bfloat16 stays at 256."""
    _, _, batch = learned(torch.float32)
    game = Game(environment="cart_pole", games=64, hidden=[16], rollout_steps=64)
    with torch.autocast("cpu", torch.bfloat16):
        policy, values = game.model.policy_and_values(
            batch.observations, batch.memory, batch.episode_start
        )
        scores = policy.log_prob(batch.actions)
        means = scores.mean(), values.mean(), policy.entropy().mean()
    assert scores.numel() == 4096
    for found, terms in zip(means, (scores, values, policy.entropy()), strict=True):
        assert found.dtype == terms.dtype == torch.float32
        torch.testing.assert_close(found.double(), terms.double().mean(), rtol=1e-5, atol=1e-7)
