"""Heads' distributions against torch's own: log-probabilities, entropies and how often each value is sampled."""

from __future__ import annotations

import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch.distributions import Categorical, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from plugins.games.policies.actions import (
    Gaussian,
    GumbelMaxCategorical,
    SquashedNormal,
    make_head,
    mask_logits,
)
from plugins.games.policies.agent import Agent

LOGITS = torch.tensor([[0.3, -1.0, 2.0, 0.0], [5.0, 5.0, -5.0, 1.0]])


def test_a_choices_probabilities_and_entropy_are_categoricals():
    ours, theirs = GumbelMaxCategorical(LOGITS), Categorical(logits=LOGITS)
    values = torch.tensor([2, 3])
    torch.testing.assert_close(ours.log_prob(values), theirs.log_prob(values))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.probs, theirs.probs)


def test_a_choice_draws_each_value_as_often_as_it_should():
    torch.manual_seed(0)
    sampled = GumbelMaxCategorical(LOGITS).sample((20_000,))
    assert sampled.shape == (20_000, 2)
    for column, probabilities in enumerate(LOGITS.softmax(-1)):
        counts = torch.bincount(sampled[:, column], minlength=4)
        errors = (20_000 * probabilities * (1 - probabilities)).sqrt()
        assert ((counts - 20_000 * probabilities).abs() < 4 * errors + 1).all()


def test_a_masked_choice_is_never_drawn_and_its_entropy_is_finite():
    torch.manual_seed(0)
    mask = torch.tensor([[True, False, True, False], [False, False, True, False]])
    policy = GumbelMaxCategorical(mask_logits(LOGITS, mask).requires_grad_())
    sampled = policy.sample((2_000,))
    assert mask.expand(2_000, 2, 4).gather(-1, sampled.unsqueeze(-1)).all()
    entropy = policy.entropy()
    expected = Categorical(logits=LOGITS[:1, [0, 2]]).entropy()
    torch.testing.assert_close(entropy, torch.cat([expected, torch.zeros(1)]))


@pytest.mark.parametrize("kind", [Gaussian, SquashedNormal])
def test_normal_draws_have_their_mean_and_deviation(kind):
    torch.manual_seed(0)
    mean, deviation = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0])
    sampled = kind(mean, deviation).sample((40_000,))
    assert ((sampled.mean(0) - mean).abs() < 4 * deviation / 200).all()
    assert ((sampled.std(0) - deviation).abs() < 4 * deviation / 280).all()
    value = torch.tensor([0.2])
    if kind is Gaussian:
        ours, theirs = (chosen(mean[:1], deviation[:1]) for chosen in (Gaussian, Normal))
        torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))


def test_a_number_with_one_end_is_cut_there_and_no_other_is_changed():
    low = numpy.array([0, -numpy.inf, -numpy.inf], dtype=numpy.float32)
    high = numpy.array([numpy.inf, 1, numpy.inf], dtype=numpy.float32)
    head = make_head(4, Box(low, high), "clipped", 0.0)
    sampled = torch.tensor([[-2.0, -2.0, -2.0], [3.0, 3.0, 3.0]])
    assert head.to_environment(sampled).tolist() == [[0.0, -2.0, -2.0], [3.0, 1.0, 3.0]]


def test_squashed_log_probabilities_are_those_of_torchs_transformed_normal():
    mean, deviation = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.5, 2.0, 1.0])
    values = torch.tensor([[0.2, -0.9, 0.999], [-0.7, 0.5, 0.0]])
    theirs = TransformedDistribution(Normal(mean, deviation), TanhTransform())
    ours = SquashedNormal(mean, deviation)
    torch.testing.assert_close(ours.log_prob(values.atanh()), theirs.log_prob(values))


def test_a_squashed_draw_at_the_edge_keeps_its_log_probability_and_a_mean_ratio_of_one():
    """Mean 9, deviation 0.1: tanh rounds to 1, and the density of the action is about e^17.5.

    At the mean it is log N(9; 9, 0.1) - log(1 - tanh(9)^2) = 1.3836 + 16.6137.
    """
    ours = SquashedNormal(torch.tensor([9.0]), torch.tensor([0.1]))
    torch.testing.assert_close(
        ours.log_prob(torch.tensor([9.0])), torch.tensor([17.9973]), atol=1e-3, rtol=0
    )
    torch.manual_seed(0)
    draws = ours.sample((20_000,))
    moved = SquashedNormal(torch.tensor([9.05]), torch.tensor([0.1]))
    ratio = (moved.log_prob(draws) - ours.log_prob(draws)).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / 20_000**0.5


def test_a_squashed_action_is_played_inside_the_box_and_the_gradient_reaches_it():
    head = make_head(4, Box(-2, 6, (1,), numpy.float32), "squashed", 0.0)
    draws = torch.tensor([[-30.0], [0.0], [30.0]], requires_grad=True)
    played = head.to_environment(draws)
    assert played.tolist() == [[-2.0], [2.0], [6.0]]
    played.sum().backward()
    assert draws.grad is not None
    assert draws.grad[1] == 4


def test_an_agent_sees_every_part_of_named_observations():
    space = Dict(
        speed=Box(-1, 1, (3,), numpy.float32),
        gear=Discrete(5),
        picture=Box(0, 255, (84, 84, 3), numpy.uint8),
    )
    torch.manual_seed(0)
    agent = Agent(space, MultiDiscrete([3, 2]), hidden=[8])
    with torch.no_grad():
        for parameter in agent.head.parameters():
            parameter.add_(torch.randn(parameter.shape))
    seen = {
        "speed": torch.rand(4, 3),
        "gear": torch.arange(4),
        "picture": torch.randint(256, (4, 84, 84, 3), dtype=torch.uint8),
    }
    action = torch.zeros(4, 2, dtype=torch.long)
    episode_start = torch.ones(4, dtype=torch.bool)
    before = agent.act(seen, None, episode_start)[0].log_prob(action)
    assert before.shape == (4,)
    for name, part in seen.items():
        changed = {**seen, name: part.flip(0)}
        assert (agent.act(changed, None, episode_start)[0].log_prob(action) != before).all(), name
