"""The doctor: a cosine of 1 for an unbiased estimator, whatever its noise, and less for a biased one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import framework
from framework.errors import UserError
from framework.gradients.registered import make_estimator
from plugins.games.doctor import figures
from plugins.games.task import Game
from tests.plugins.games.counter import LENGTH, Counter, vectors


def test_noise_is_taken_out_of_the_cosine_and_not_out_of_the_measured_one():
    """Halves of known means, 40 degrees apart, with noise of five times their length, over many repeats."""
    random = torch.Generator().manual_seed(0)
    angle = torch.tensor(40.0).deg2rad()
    g, r = torch.zeros(50), torch.zeros(50)
    g[0], r[0], r[1] = 1.0, angle.cos(), angle.sin()

    def half(mean: torch.Tensor, noise: float) -> torch.Tensor:
        drawn: torch.Tensor = torch.randn(50, generator=random) / 50**0.5
        return mean + noise * drawn

    found = [half(g, 0.0), half(g, 0.0)], [half(r, 0.0), half(r, 0.0)]
    exact = figures(*found)
    assert exact["doctor/cosine"] == pytest.approx(float(angle.cos()), abs=1e-5)
    assert exact["doctor/measured_cosine"] == pytest.approx(float(angle.cos()), abs=1e-5)
    noisy = [figures([half(g, 2.0), half(g, 2.0)], [half(r, 0.5)] * 2) for _ in range(400)]
    measured = torch.tensor([f["doctor/measured_cosine"] for f in noisy])
    # |g| with noise is (1 + 4 / 2)^1/2.
    expected = float(angle.cos()) / (3.0**0.5 * 1.25**0.5)
    assert abs(float(measured.mean()) - expected) < 0.03


class Late(Counter):
    """Action 1 costs 1 at once and earns 2 in the next step."""

    before = 0

    def reset(self, **options: Any) -> Any:
        self.before = 0
        return super().reset(**options)

    def step(self, action: Any) -> Any:
        seen, _, *rest = super().step(action)
        earned, self.before = 2.0 * self.before - float(action), int(action)
        return seen, earned, *rest


@pytest.mark.parametrize(("discount", "low", "high"), [(1.0, 0.9, 1.1), (0.0, -1.1, -0.5)])
def test_a2c_without_discount_follows_the_return_and_with_one_it_does_not(discount, low, high):
    """Predicting 0, lambda 1 and gamma 1 are REINFORCE, but for the rollout's end; gamma 0 sees the price alone."""
    torch.manual_seed(0)
    game = Game(
        environment=vectors(lambda i: Late(LENGTH, terminates=True)),
        games=512,
        rollout_steps=(LENGTH + 1) * 2 - 1,
        hidden=[4],
        doctor_every=1,
        doctor_episodes=2048,
    )
    assert game.model.value_head is not None
    with torch.no_grad():
        game.parameters["value_head.weight"].zero_()
    estimator = make_estimator("a2c", options={"discount": discount, "gae_lambda": 1.0})
    next(game.batches(game.program(estimator), 0, 0))
    assert game.doctor is not None
    cosine = game.doctor.figures["doctor/cosine"]
    assert low < cosine < high, cosine


def test_the_doctors_figures_are_logged_and_change_nothing(tmp_path):
    def game(every: int) -> Game:
        torch.manual_seed(0)
        return Game(
            environment="cart_pole",
            games=8,
            hidden=[4],
            evaluation_episodes=2,
            doctor_every=every,
            doctor_episodes=16,
        )

    runs = [
        framework.train(
            game(every),
            estimator="ppo",
            steps=32,
            overrides=["monitor.tensorboard=false", "trainer.log_every=16"],
            folder=tmp_path / str(every),
        )
        for every in (0, 1)
    ]
    for name, value in runs[0].task.parameters.items():
        assert torch.equal(runs[1].task.parameters[name], value)
    assert -1 <= runs[1].task.scalars()["doctor/measured_cosine"] <= 1
    assert "doctor/measured_cosine" not in runs[0].task.scalars()


def test_the_doctor_refuses_estimators_that_read_no_predictions():
    with pytest.raises(UserError, match=r"task.doctor_every = 5: .*a2c, ppo"):
        Game(environment="cart_pole", hidden=[4], doctor_every=5).program(make_estimator("rloo"))
