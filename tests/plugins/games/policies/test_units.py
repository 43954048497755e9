"""The policy for several units on a board: each chooses by the cell it stands on, and reads nothing of the order."""

import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from framework import UserError
from plugins.games.policies.agent import Agent

SLOTS, ACTIONS, SIZE = 3, 4, 5
SPACE = Dict(
    {
        "map": Box(0, 255, (2, SIZE, SIZE), numpy.uint8),
        "cells": MultiDiscrete([SIZE**2 + 1] * SLOTS),
        "action_mask": MultiBinary(SLOTS * ACTIONS),
    }
)
CHOICES = MultiDiscrete([ACTIONS] * SLOTS)


def agent(**options):
    torch.manual_seed(0)
    found = Agent(SPACE, CHOICES, encoder="units", hidden=[8], **options)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return found


def observation(*lead):
    return {
        "map": torch.randint(0, 256, (*lead, 2, SIZE, SIZE), dtype=torch.uint8),
        "cells": torch.rand(*lead, SIZE**2).argsort(-1)[..., :SLOTS],
        "action_mask": torch.ones(*lead, SLOTS * ACTIONS, dtype=torch.bool),
    }


@pytest.mark.parametrize("shared", [False, True])
def test_a_rollout_at_once_is_step_by_step(shared):
    player = agent(shared=shared)
    seen = observation(4, 6)
    start = torch.zeros(4, 6, dtype=torch.bool)
    whole, values = player.policy_and_values(seen, None, start)
    actions = whole.sample()
    assert actions.shape == (3, 6, SLOTS)
    assert values.shape == (4, 6)
    for t in range(3):
        now = {name: part[t] for name, part in seen.items()}
        policy, _ = player.act(now, None, start[t])
        assert torch.allclose(policy.log_prob(actions[t]), whole.log_prob(actions)[t], atol=1e-5)
        assert torch.allclose(player.predict(now, None, start[t]), values[t], atol=1e-5)


def test_who_changes_places_in_the_slots_changes_places_in_the_choices():
    player, seen = agent(), observation(5)
    order = torch.tensor([2, 0, 1])
    turned = {**seen, "cells": seen["cells"][:, order]}
    start = torch.zeros(5, dtype=torch.bool)
    logits = player.act(seen, None, start)[0].base_dist.logits
    assert torch.allclose(
        player.act(turned, None, start)[0].base_dist.logits, logits[:, order], atol=1e-6
    )
    assert (logits[:, 0] - logits[:, 1]).abs().max() > 0.01


def test_masked_actions_are_never_chosen_and_have_no_part_in_the_entropy():
    player, seen = agent(), observation(200)
    mask = torch.zeros(200, SLOTS, ACTIONS, dtype=torch.bool)
    mask[:, 0, 1] = mask[:, 1, 2] = mask[:, 1, 3] = mask[:, 2, 0] = True
    seen["action_mask"] = mask.flatten(1)
    policy, _ = player.act(seen, None, torch.zeros(200, dtype=torch.bool))
    actions = policy.sample()
    assert mask.gather(-1, actions.unsqueeze(-1)).all()
    assert mask.gather(-1, player.head.greedy(policy).unsqueeze(-1)).all()
    second = policy.base_dist.logits[:, 1, 2:]
    expected = -(second.exp() * second).sum(-1)
    assert torch.allclose(policy.entropy(), expected, atol=1e-6)
    assert torch.allclose(
        policy.log_prob(actions), second.gather(-1, actions[:, 1:2] - 2).squeeze(-1), atol=1e-6
    )


def test_an_empty_slot_has_the_features_of_no_cell():
    player, seen = agent(), observation(2)
    seen["cells"][:, 2] = SIZE**2
    features = player.body(seen)[:, 2 * 8 : 3 * 8]
    assert features.tolist() == [[0.0] * 8] * 2


@pytest.mark.parametrize(
    ("space", "actions", "options", "said"),
    [
        (SPACE["map"], CHOICES, {}, "expected a Dict with planes 'map'"),
        (SPACE, Discrete(4), {}, "one of the same size for each of 3 slots, not Discrete(4)"),
        (SPACE, MultiDiscrete([4, 4, 3]), {}, "one of the same size for each of 3 slots"),
        (SPACE, CHOICES, {"recurrence": "gru"}, "task.memory = 'gru': task.encoder=units has none"),
        (SPACE, CHOICES, {"critic": "action_value"}, "expected value with task.encoder=units"),
        (SPACE, CHOICES, {"observation_indices": [0]}, "task.observation_indices = [0]: "),
    ],
)
def test_what_it_does_not_serve_is_refused_in_one_line(space, actions, options, said):
    with pytest.raises(UserError) as refused:
        Agent(space, actions, encoder="units", hidden=[8], **options)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_small_board_of_many_planes_is_read_plane_by_plane():
    space = Dict({**SPACE.spaces, "map": Box(0, 255, (17, 5, 5), numpy.uint8)})
    player = Agent(space, CHOICES, encoder="units", hidden=[8])
    assert player.body.stem.in_channels == 17  # type: ignore[union-attr]
    assert player.body.place.shape == (8, 5, 5)
