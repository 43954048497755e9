"""The scale of advantages: 1 at first, and never up for batches in which all is alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from framework.gradients.policy_gradient.actor_critic import A2C, UPGO, VTrace, VTraceUPGO
from framework.gradients.policy_gradient.advantage_scale import AdvantageScale
from framework.gradients.policy_gradient.advantages import Transitions
from framework.gradients.policy_gradient.trajectory import EvaluatedTrajectory
from tests.framework.gradients.policy_gradient.test_actor_critic import gradients, record


def trajectory() -> EvaluatedTrajectory:
    """Two steps of two games, of which the last is none."""
    zero, valid = torch.zeros(2, 2), torch.tensor([[True, True], [True, False]])
    no = torch.zeros(2, 2, dtype=torch.bool)
    steps = Transitions(zero, zero, zero, no, no, valid)
    return EvaluatedTrajectory(zero, zero + 1, zero, steps, None)


def test_the_divisor_is_the_larger_of_the_batchs_deviation_and_the_usual_one():
    scale, given = AdvantageScale(), torch.tensor([[1.0, 2.0], [6.0, 99.0]])
    # Mean 3, variance (4 + 1 + 9) / 3.
    first = scale(trajectory(), given)
    deviation = (14 / 3) ** 0.5
    torch.testing.assert_close(first[0], torch.tensor([-2.0, -1.0]) / deviation)
    # A hundredth as large: by the root of the mean of both variances, 14 / 3 and 14 / 30,000.
    second = scale(trajectory(), given / 100)
    usual = ((14 / 3 + 14 / 30_000) / 2) ** 0.5
    torch.testing.assert_close(second[0], torch.tensor([-0.02, -0.01]) / usual)
    # A hundred times as large: variance 1.
    third = scale(trajectory(), 100 * given)
    torch.testing.assert_close(third[0], first[0], rtol=1e-4, atol=1e-6)


def test_a_restored_scale_goes_on_as_the_saved_one():
    first, second = AdvantageScale(), AdvantageScale()
    first(trajectory(), torch.tensor([[1.0, 2.0], [6.0, 0.0]]))
    second.load_state_dict(first.state_dict())
    given = torch.tensor([[0.1, 0.3], [0.2, 0.0]])
    torch.testing.assert_close(second(trajectory(), given), first(trajectory(), given))


def test_an_estimator_keeps_its_scale_through_a_checkpoint():
    batch = record()
    small = replace(batch, rewards=batch.rewards / 100)
    whole, saved, restored = (A2C(normalise_advantages=True) for _ in range(3))
    for estimator in (whole, saved):
        gradients(estimator, batch)
    restored.load_state_dict(saved.state_dict())
    expected, found = gradients(whole, small)[0], gradients(restored, small)[0]
    torch.testing.assert_close(found["logits"], expected["logits"])
    fresh, _ = gradients(A2C(normalise_advantages=True), small)
    assert fresh["logits"].norm() > 5 * expected["logits"].norm()


def test_v_trace_with_upgo_is_the_weighted_sum_of_both_policy_gradients():
    batch = record()
    shared: dict[str, Any] = {"gae_lambda": 0.9, "discount": 0.95}
    vtrace, _ = gradients(VTrace(**shared), batch)
    upgo, _ = gradients(UPGO(**shared), batch)
    both, _ = gradients(VTraceUPGO(**shared, vtrace_weight=0.7, upgo_weight=0.4), batch)
    torch.testing.assert_close(both["logits"], 0.7 * vtrace["logits"] + 0.4 * upgo["logits"])
    torch.testing.assert_close(both["value"], vtrace["value"])
