"""Small environments of every kind of course: what is earned when, how episodes end, what is hidden; each is learned.

Kinds of spaces are in `test_spaces`. Every environment's best return is known, and the greedy agent must earn it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector import AutoresetMode

from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from plugins.games.task import Game
from tests.plugins.games.counter import vectors


class Course(gymnasium.Env[Any, Any]):
    """A state that is observed, a clock, and what subclasses make of an action."""

    observation_space: Any = Box(-10, 10, (2,), numpy.float32)
    action_space: Any = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.clock, self.place = 0, 0
        self.begin()
        return self.seen(), {}

    def begin(self) -> None:
        """What else an episode begins with."""

    def seen(self) -> Any:
        return numpy.array([self.place, self.clock], "f") / 4

    def step(self, action: Any) -> Any:
        self.clock += 1
        reward, terminated, truncated = self.act(action)
        return self.seen(), reward, terminated, truncated, {}

    def act(self, action: Any) -> tuple[float, bool, bool]:
        raise NotImplementedError


class Corridor(Course):
    """Three steps to the right earn 1, once; left leads back."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        self.place = max(0, self.place + (1 if action else -1))
        return float(self.place == 3), self.place == 3, self.clock == 20


class Hurry(Corridor):
    """The same where each step costs 1: -3 is best."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        _, over, cut_off = super().act(action)
        return -1.0, over, cut_off


class SmallFirst(Course):
    """Left pays 1 and ends; four times right pays 3."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        self.place += 1
        if not action:
            return 1.0, True, False
        return 3.0 * (self.place == 4), self.place == 4, False


class Endless(Course):
    """Right pays 1 in every step; only a time limit ends it, which is no end."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        return float(action), False, self.clock == 10


class Cliff(Course):
    """Right pays 1 at each of 8 steps, but two rights in a row fall: 4 is best."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        fallen = bool(action) and self.place == 1
        self.place = int(action)
        return (-5.0 if fallen else float(action)), fallen, self.clock == 8


class Gamble(Course):
    """Left pays 1, right pays 0 or 3 by chance: 1.5 on average."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        return (3.0 * float(self.np_random.random() < 0.5) if action else 1.0), True, False


class Noisy(Course):
    """The right of four arms pays 1, and every reward has noise of deviation 2."""

    action_space: Any = Discrete(4)

    def act(self, action: Any) -> tuple[float, bool, bool]:
        self.best = int(action == 2)
        return self.best + 2.0 * float(self.np_random.normal()), True, False


class Rich(Corridor):
    """A corridor that pays 100,000."""

    def act(self, action: Any) -> tuple[float, bool, bool]:
        reward, over, cut_off = super().act(action)
        return 1e5 * reward, over, cut_off


class Far(Course):
    """Which of two numbers about a million is larger."""

    observation_space: Any = Box(0, 2e6, (2,), numpy.float32)

    def begin(self) -> None:
        self.place = int(self.np_random.integers(2))

    def seen(self) -> Any:
        return numpy.array([1e6 + 500 * self.place, 1e6 - 500 * self.place], "f")

    def act(self, action: Any) -> tuple[float, bool, bool]:
        return float(action == self.place), True, False


class Remember(Course):
    """Shown in the first of four steps, asked in the last."""

    def begin(self) -> None:
        self.place = int(self.np_random.integers(2))

    def seen(self) -> Any:
        return numpy.array([(2 * self.place - 1) * (self.clock == 0), self.clock == 3], "f")

    def act(self, action: Any) -> tuple[float, bool, bool]:
        return float(self.clock == 4 and action == self.place), self.clock == 4, False


class Locked(Course):
    """Three switches of which the mask shows those that are off; all three in four steps earn 1."""

    observation_space: Any = Dict(seen=Box(0, 1, (3,), numpy.float32), action_mask=MultiBinary(3))
    action_space: Any = Discrete(3)

    def begin(self) -> None:
        self.on = numpy.zeros(3, "f")

    def seen(self) -> Any:
        return {"seen": self.on.copy(), "action_mask": (self.on == 0).astype(numpy.int8)}

    def act(self, action: Any) -> tuple[float, bool, bool]:
        # Switched in order only.
        right = action == int(self.on.sum())
        self.on[action] = 1
        done = bool(self.on.all())
        self.on[:] = self.on if not done else 0
        return float(right) / 3, done, False


class Aim(Course):
    """Every number earns the less the farther it is from half the number shown."""

    action_space: Any = Box(-1, 1, (1,), numpy.float32)

    def begin(self) -> None:
        self.shown = float(self.np_random.uniform(-1, 1))

    def seen(self) -> Any:
        return numpy.array([self.shown, 0], "f")

    def act(self, action: Any) -> tuple[float, bool, bool]:
        return 1 - (float(action[0]) - 0.5 * self.shown) ** 2, True, False


class Push(Course):
    """A mass that is pushed to the middle in 10 steps, by forces."""

    action_space: Any = Box(-1, 1, (1,), numpy.float32)

    def begin(self) -> None:
        self.at = float(self.np_random.uniform(-1, 1))

    def seen(self) -> Any:
        return numpy.array([self.at, 0], "f")

    def act(self, action: Any) -> tuple[float, bool, bool]:
        self.at += 0.5 * float(action[0])
        return -(self.at**2), False, self.clock == 10


@dataclass(frozen=True)
class Case:
    """An environment, its best greedy return, and how it is learned."""

    environment: Any
    best: float
    estimator: str = "ppo"
    steps: int = 320
    rate: float = 0.003
    task: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0


CRITIC = {"critic": "action_value", "activation": "relu", "games": 4}
DISCRETE = {"warmup_steps": 200, "batch_size": 64, "steps_per_update": 4, "epsilon_steps": 1500}
NUMBERS = {"warmup_steps": 200, "batch_size": 64, "steps_per_update": 4, "discount": 0.9}
EXPLORING = {"entropy_weight": 0.05}
# From x, half a unit is gone at once and the rest in the second step: the mean of (|x| - 1/2)^2 where that is positive.
# Without a push, ten steps cost 3.3.
BEST_PUSH = -1 / 24
CASES = {
    "a corridor": Case(Corridor, 1),
    "a corridor by a2c": Case(Corridor, 1, "a2c", 200, 0.01, settings=EXPLORING),
    "a corridor by vtrace": Case(Corridor, 1, "vtrace", 200, 0.01, settings=EXPLORING),
    "a corridor by rloo": Case(Corridor, 1, "rloo", 60, 0.01),
    "a corridor by dqn": Case(Corridor, 1, "dqn", 700, 1e-3, CRITIC, DISCRETE),
    "a corridor by dueling dqn of 3 steps": Case(
        Corridor, 1, "dqn", 700, 1e-3, {**CRITIC, "dueling": True}, {**DISCRETE, "n_step": 3}
    ),
    "a corridor that resets at once": Case(
        vectors(lambda i: Corridor(), AutoresetMode.SAME_STEP), 1
    ),
    "a corridor where each step costs": Case(Hurry, -3),
    "a small reward on the way to a larger one": Case(SmallFirst, 3),
    "a time limit": Case(Endless, 10),
    "a cliff": Case(Cliff, 4),
    "a gamble": Case(Gamble, 1.5, tolerance=0.4),
    "a corridor by evolution": Case(
        Corridor, 1, "evolution_strategies", 30, 0.05, {"games": 8}, {"samples": 8, "directions": 8}
    ),
    "noise larger than the reward": Case(Noisy, 1, steps=640, tolerance=0.8),
    "rewards of 100,000": Case(Rich, 1e5, task={"normalise_returns": True}),
    "numbers of a million": Case(Far, 1, task={"normalise_observations": True}),
    "what was seen at first, by a GRU": Case(Remember, 1, task={"memory": "gru"}),
    "what was seen at first, by an LSTM": Case(Remember, 1, task={"memory": "lstm"}),
    "switches with a mask": Case(Locked, 1),
    "a number, clipped": Case(Aim, 1, tolerance=0.02),
    "a number, by a Beta distribution": Case(Aim, 1, task={"continuous": "beta"}, tolerance=0.02),
    "a force by sac": Case(
        *(Push, BEST_PUSH, "sac", 1000, 1e-3),
        {**CRITIC, "continuous": "squashed", "state_dependent_std": True},
        {**NUMBERS, "temperature": 0.05},
        0.1,
    ),
    "a force by td3": Case(
        *(Push, BEST_PUSH, "td3", 1000, 1e-3),
        {**CRITIC, "continuous": "bounded", "log_std_init": -1.5},
        NUMBERS,
        0.1,
    ),
}
QUICK = ("resets at once", "a cliff", "switches")


def learned(case: Case, seed: int = 0) -> float:
    """The greedy return after a case's steps."""
    torch.manual_seed(seed)
    options = {"games": 32, "rollout_steps": 16, "hidden": [32], "evaluation_episodes": 50}
    game = Game(environment=case.environment, **{**options, **case.task})
    estimator = make_estimator(case.estimator, game.games)
    settings = {"entropy_weight": 0.01} if case.estimator == "ppo" else case.settings
    if settings:
        estimator = type(estimator)(**settings)
    program = game.program(estimator)
    optimizer = torch.optim.Adam(game.model.parameters(), lr=case.rate)
    for number, batch in zip(range(case.steps), game.batches(program, seed, 0), strict=False):
        optimizer.zero_grad()
        with seeded(number):
            estimator.backward(program, game.parameters, batch)
        optimizer.step()
    return game.evaluate(seed)["return_mean"]


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name",
    [
        name if any(q in name for q in QUICK) else pytest.param(name, marks=pytest.mark.slow)
        for name in CASES
    ],
)
def test_whatever_its_course_is_learned_to_its_best_return(name):
    case = CASES[name]
    assert learned(case) == pytest.approx(case.best, abs=case.tolerance + 1e-4)
