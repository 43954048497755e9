"""Advantages and targets against sums written out, on episodes that end in every way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor

from framework.gradients.policy_gradient.advantages import (
    Transitions,
    gae,
    reward_to_go,
    td_lambda,
    upgo,
    vtrace,
)

DISCOUNT, LAMBDA = 0.9, 0.8


def recorded(seed: int, steps: int = 12, games: int = 5) -> Transitions:
    """Random steps in which episodes end often, in both ways, and resets are rows that are no steps."""
    random = torch.Generator().manual_seed(seed)
    terminated = torch.rand(steps, games, generator=random) < 0.15
    truncated = (torch.rand(steps, games, generator=random) < 0.15) & ~terminated
    valid = torch.ones(steps, games, dtype=torch.bool)
    for t in range(1, steps):
        valid[t] = ~(valid[t - 1] & (terminated | truncated)[t - 1])
    rewards, values = torch.randn(2, steps, games, generator=random, dtype=torch.float64)
    next_values = torch.cat(
        [values[1:], torch.randn(1, games, generator=random, dtype=torch.float64)]
    )
    return Transitions(
        torch.where(valid, rewards, 0.0),
        values,
        next_values,
        terminated & valid,
        truncated & valid,
        valid,
    )


def episode_from(steps: Transitions, t: int, n: int) -> list[int]:
    """The steps of an episode from t to its end, or to the end of the record."""
    ended = steps.terminated | steps.truncated
    last = t
    while last + 1 < len(ended) and not ended[last, n]:
        last += 1
    return list(range(t, last + 1))


def rest(steps: Transitions, last: int, n: int) -> float:
    """What comes after the last recorded step: nothing where the game was over."""
    return 0.0 if steps.terminated[last, n] else float(steps.next_values[last, n])


def n_step_return(steps: Transitions, path: list[int], length: int, n: int) -> float:
    """r + gamma r' + ... over `length` steps and then the value."""
    used = path[:length]
    earned = sum(DISCOUNT**i * float(steps.rewards[t, n]) for i, t in enumerate(used))
    return earned + DISCOUNT ** len(used) * rest(steps, used[-1], n)


def by_sums(steps: Transitions, function) -> Tensor:
    """`function(path, n)` at every valid step, 0 elsewhere."""
    result = torch.zeros_like(steps.rewards)
    for t, n in steps.valid.nonzero().tolist():
        result[t, n] = function(episode_from(steps, t, n), n)
    return result


@pytest.mark.parametrize("seed", range(5))
def test_reward_to_go_is_the_discounted_sum_to_the_end_of_the_episode(seed):
    steps = recorded(seed)
    expected = by_sums(steps, lambda path, n: n_step_return(steps, path, len(path), n))
    torch.testing.assert_close(reward_to_go(steps, DISCOUNT), expected)


@pytest.mark.parametrize("seed", range(5))
def test_td_lambda_is_the_mixture_of_all_n_step_returns(seed):
    steps = recorded(seed)

    def mixture(path, n):
        lengths = range(1, len(path))
        parts = [
            LAMBDA ** (k - 1) * (1 - LAMBDA) * n_step_return(steps, path, k, n) for k in lengths
        ]
        return sum(parts) + LAMBDA ** (len(path) - 1) * n_step_return(steps, path, len(path), n)

    found = torch.where(steps.valid, td_lambda(steps, DISCOUNT, LAMBDA), 0.0)
    torch.testing.assert_close(found, by_sums(steps, mixture))


def test_gae_with_lambda_one_is_reward_to_go_less_the_value():
    steps = recorded(0)
    expected = torch.where(steps.valid, reward_to_go(steps, DISCOUNT) - steps.values, 0.0)
    torch.testing.assert_close(gae(steps, DISCOUNT, 1.0), expected)


def test_gae_with_lambda_zero_is_the_error_of_one_step():
    steps = recorded(0)
    torch.testing.assert_close(gae(steps, DISCOUNT, 0.0), steps.errors(DISCOUNT))


def test_vtrace_on_policy_is_td_lambda():
    steps = recorded(1)
    targets, advantages = vtrace(steps, torch.ones_like(steps.values), DISCOUNT, LAMBDA)
    torch.testing.assert_close(targets, td_lambda(steps, DISCOUNT, LAMBDA))
    _, advantages = vtrace(steps, torch.ones_like(steps.values), DISCOUNT)
    torch.testing.assert_close(advantages, gae(steps, DISCOUNT, 1.0))


@pytest.mark.parametrize("seed", range(3))
def test_vtrace_is_the_sum_of_errors_weighted_by_clipped_ratios(seed):
    steps = recorded(seed)
    ratios = torch.rand(steps.values.shape, generator=torch.Generator().manual_seed(9)).double() * 3
    errors = steps.errors(DISCOUNT)

    def target(path, n):
        total, trace = float(steps.values[path[0], n]), 1.0
        for i, t in enumerate(path):
            total += DISCOUNT**i * trace * min(2.0, float(ratios[t, n])) * float(errors[t, n])
            trace *= min(1.0, float(ratios[t, n]))
        return total

    targets, advantages = vtrace(steps, ratios, DISCOUNT, 1.0, rho_bar=2.0)
    expected = by_sums(steps, target)
    torch.testing.assert_close(torch.where(steps.valid, targets, 0.0), expected)

    def advantage(path, n):
        t = path[0]
        after = expected[path[1], n] if len(path) > 1 else rest(steps, t, n)
        error = steps.rewards[t, n] + DISCOUNT * after - steps.values[t, n]
        return min(2.0, float(ratios[t, n])) * float(error)

    torch.testing.assert_close(advantages, by_sums(steps, advantage))


@pytest.mark.parametrize("seed", range(3))
def test_upgo_follows_the_episode_while_the_next_step_beats_its_prediction(seed):
    steps = recorded(seed)
    errors = steps.errors(DISCOUNT)

    def advantage(path, n):
        length = 1
        while length < len(path) and errors[path[length], n] >= 0:
            length += 1
        return n_step_return(steps, path, length, n) - float(steps.values[path[0], n])

    torch.testing.assert_close(upgo(steps, DISCOUNT), by_sums(steps, advantage))


def test_a_truncated_step_counts_the_last_observation_and_a_terminated_one_does_not():
    ones, none = torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool)
    ended = ~none
    cut = Transitions(ones, 0 * ones, 10 * ones, none, ended, ended)
    over = Transitions(ones, 0 * ones, 10 * ones, ended, none, ended)
    assert gae(cut, 0.5, 0.9).item() == reward_to_go(cut, 0.5).item() == 6.0
    assert gae(over, 0.5, 0.9).item() == reward_to_go(over, 0.5).item() == 1.0


@settings(deadline=None, max_examples=30)
@given(some.integers(0, 10_000), some.floats(0, 1), some.floats(0, 1))
def test_nothing_of_another_episode_enters(seed, discount, gae_lambda):
    steps = recorded(seed)
    ended = (steps.terminated | steps.truncated).nonzero().tolist()
    for t, n in ended[:3]:
        rewards, values = steps.rewards.clone(), steps.values.clone()
        rewards[t + 1 :, n] += 100.0
        values[t + 1 :, n] -= 50.0
        other = Transitions(
            rewards, values, steps.next_values, steps.terminated, steps.truncated, steps.valid
        )
        for function in (
            lambda s: gae(s, discount, gae_lambda),
            lambda s: upgo(s, discount),
            lambda s: reward_to_go(s, discount),
            lambda s: vtrace(s, torch.ones_like(s.values), discount, gae_lambda)[1],
        ):
            assert torch.equal(function(steps)[: t + 1, n], function(other)[: t + 1, n])
