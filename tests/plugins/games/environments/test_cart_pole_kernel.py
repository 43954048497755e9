"""Cart-poles by one kernel for many steps are those that are stepped one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plugins.games.environments.native.cart_pole import CartPole
from tests.kernels import interpreted

COUNT, STEPS = 5, 40


class Prepared(CartPole):
    """Its episodes begin where they are told."""

    firsts: Tensor
    turn = 0

    def begin(self, count: int) -> dict[str, Tensor]:
        return {"seen": self.firsts[self.turn].T[:count]}


def prepared(firsts: Tensor) -> Prepared:
    games = Prepared(COUNT)
    games.firsts, games.time_limit = firsts, 25
    games.reset(0)
    return games


def test_the_kernel_plays_as_the_games_do(monkeypatch):
    """Some episodes end by a fall, others by the limit, and each ended game begins another."""
    from framework import waiting

    # First states for all games, of which those that begin are taken.
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    draw = torch.Generator().manual_seed(0)
    firsts = 0.1 * torch.rand(STEPS, 4, COUNT, generator=draw) - 0.05
    # Games that push in turn stay up, the others fall.
    actions = (torch.arange(STEPS)[:, None] % torch.tensor([2, 2, 2, 9, 40]) > 0).long()
    stepped, whole = prepared(firsts), prepared(firsts)
    outcomes = []
    for turn, row in enumerate(actions):
        stepped.turn = turn
        outcomes.append(stepped.step(row))
    with interpreted():
        from plugins.games.environments.native.cart_pole_kernel import play

        found = play(whole, actions, firsts)
    for name in ("observations", "rewards"):
        rows = torch.stack([getattr(outcome, name) for outcome in outcomes])
        torch.testing.assert_close(getattr(found, name), rows, atol=1e-5, rtol=1e-5)
    for name in ("terminated", "truncated", "valid", "episode_start"):
        rows = torch.stack([getattr(outcome, name) for outcome in outcomes])
        assert torch.equal(getattr(found, name), rows), name
    assert found.terminated.any()
    assert found.truncated.any()
    assert torch.equal(whole.clock, stepped.clock)
    assert torch.equal(whole.ended, stepped.ended)
    torch.testing.assert_close(whole.state["seen"], stepped.state["seen"], atol=1e-5, rtol=1e-5)


def test_its_own_first_states_lie_near_the_middle():
    games = CartPole(64)
    games.reset(0)
    games.ended.fill_(True)
    with interpreted():
        from plugins.games.environments.native.cart_pole_kernel import play

        torch.manual_seed(0)
        found = play(games, torch.zeros(1, 64, dtype=torch.long))
    assert isinstance(found.observations, Tensor)
    begun = found.observations[0]
    assert begun.abs().max() <= 0.05
    assert begun.unique().numel() == begun.numel()
    # Uniform: the variance is (0.1)^2 / 12, and that of its estimate from 256 numbers 4 / 5 / 256 of its square.
    assert begun.var().item() == pytest.approx(0.1**2 / 12, rel=4 * (0.8 / 256) ** 0.5)
