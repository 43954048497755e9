"""Small environments of every kind of space: each is learned to its optimum, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from framework.errors import UserError
from framework.gradients.registered import make_estimator
from framework.randomness import seeded
from plugins.games.environments.making import make_games
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.policies.bodies import Board, Impala, Multilayer, Nature, make_body
from plugins.games.policies.layout import decisions
from plugins.games.task import Game

BYTES = numpy.uint8


class Signal(gymnasium.Env[Any, Any]):
    """Shows 0 or 1; the action that means the same earns 1, and the episode is over."""

    def __init__(
        self, space: Any, show: Callable[[int], Any], actions: Any, means: Callable[[Any], Any]
    ) -> None:
        self.observation_space, self.show = space, show
        self.action_space, self.means = actions, means
        self.target = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.target = int(self.np_random.integers(2))
        return self.show(self.target), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        return self.show(self.target), float(self.means(action) == self.target), True, False, {}


def filled(shape: Any, dtype: Any = "f", high: int = 1) -> tuple[Any, Callable[[int], Any]]:
    return Box(0, high, shape, dtype), lambda target: numpy.full(shape, target * high, dtype)


TWO: tuple[Any, Callable[[Any], Any]] = (Discrete(2), lambda action: action)
ONE = filled((1,))
OBSERVATIONS: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "numbers": ONE,
    "a single number": filled(()),
    "numbers of two axes": filled((2, 3)),
    "whole numbers": filled((2,), numpy.int64, 5),
    "bytes": filled((4,), BYTES, 255),
    "few bytes of two axes": filled((3, 4), BYTES, 255),
    "a grey picture": filled((12, 10), BYTES, 255),
    "a colour picture": filled((12, 10, 3), BYTES, 255),
    "a stack of colour pictures": filled((2, 12, 10, 3), BYTES, 255),
    "a board of bytes from 0 to 1": filled((6, 6, 5), BYTES),
    "a picture of floats up to 255": filled((10, 10, 3), "f", 255),
    "a picture of two bytes a number": filled((10, 10, 1), numpy.uint16, 65535),
    "a choice": (Discrete(2, start=3), lambda target: target + 3),
    "bits": (MultiBinary(3), lambda target: numpy.full(3, target, numpy.int8)),
    "bits of two axes": (MultiBinary((2, 2)), lambda t: numpy.full((2, 2), t, numpy.int8)),
    "choices": (
        MultiDiscrete([3, 4], start=[1, -2]),
        lambda target: numpy.array([1 + target, -2 + target]),
    ),
    "names": (
        Dict(a=Box(0, 1, (1,)), b=Discrete(3)),
        lambda target: {"a": numpy.zeros(1, "f"), "b": target},
    ),
    "names in names": (
        Dict({"a.b": Dict(c=Box(0, 1, (1,)), d=Discrete(2))}),
        lambda target: {"a.b": {"c": numpy.full(1, target, "f"), "d": 0}},
    ),
    "a tuple": (Tuple((Discrete(2), MultiBinary(2))), lambda t: (0, numpy.full(2, t, numpy.int8))),
    "text beside numbers": (
        Dict(a=Box(0, 1, (1,)), mission=Text(9)),
        lambda target: {"a": numpy.full(1, target, "f"), "mission": "go"},
    ),
}
ACTIONS: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "a choice": TWO,
    "a choice from 3 on": (Discrete(2, start=3), lambda action: action - 3),
    "choices from 5 and -1 on": (
        MultiDiscrete([2, 2], start=[5, -1]),
        lambda action: action[0] - 5 if action[0] - 5 == action[1] + 1 else -1,
    ),
    "choices of two axes": (
        MultiDiscrete(numpy.full((2, 2), 2)),
        lambda action: action[1, 0],
    ),
    "bits": (MultiBinary(2), lambda action: action[0] if action[0] == action[1] else -1),
    "bits of two axes": (MultiBinary((1, 2)), lambda action: action[0, 1]),
    "whole numbers": (Box(-1, 0, (1,), numpy.int32), lambda action: action[0] + 1),
    "a number": (Box(-1, 1, (1,)), lambda action: int(action[0] > 0)),
}


def learned(make: Callable[[], Any], steps: int = 80, **options: Any) -> dict[str, float]:
    """Greedy and sampled returns after at most so many steps of REINFORCE over 64 games."""
    torch.manual_seed(0)
    game = Game(environment=make, games=64, hidden=[16], evaluation_episodes=20, **options)
    estimator = make_estimator("rloo", 64)
    program = game.program(estimator)
    optimizer = torch.optim.Adam(game.model.parameters(), lr=0.01)
    for _, batch in zip(range(steps), game.batches(program, 0, 0), strict=False):
        optimizer.zero_grad()
        with seeded(0):
            estimator.backward(program, game.parameters, batch)
        optimizer.step()
        assert batch is not None
        if float(batch.returns.mean()) > 0.95:
            break
    return game.evaluate(0)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_whatever_is_observed_is_learned_from(name):
    assert learned(lambda: Signal(*OBSERVATIONS[name], *TWO))["return_mean"] == 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ACTIONS)
def test_whatever_is_chosen_is_learned(name):
    assert learned(lambda: Signal(*ONE, *ACTIONS[name]))["return_mean"] == 1


def test_named_numbers_are_normalised_each_by_its_own_statistics():
    """Numbers about 10,000 apart by 1, which saturate every unit."""
    space = Dict(a=Box(0, 1e6, (1,)), b=Box(0, 1, (1,)))

    def show(target: int) -> Any:
        return {"a": numpy.full(1, 1e4 + target, "f"), "b": numpy.zeros(1, "f")}

    make = lambda: Signal(space, show, *TWO)  # noqa: E731
    assert learned(make, normalise_observations=True)["return_mean"] == 1
    assert learned(make)["return_mean"] < 1


class Masked(Signal):
    """Five arms; only that of the number shown is allowed, and earns 1."""

    where = "info"

    def __init__(self) -> None:
        super().__init__(Box(0, 1, (1,)), lambda t: numpy.zeros(1, "f"), Discrete(5), lambda a: a)

    def mask(self) -> Any:
        return numpy.arange(5) == self.target

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        seen, _ = super().reset(seed=seed)
        return seen, {"action_mask": self.mask()}


class MaskedByMethod(Masked):
    """The same, by the convention of sb3-contrib."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=seed)[0], {}

    def action_masks(self) -> Any:
        return list(self.mask())


@pytest.mark.parametrize("kind", [Masked, MaskedByMethod])
@pytest.mark.parametrize("processes", [False, True])
def test_a_mask_beside_the_observation_is_heeded_from_the_first_step_on(kind, processes):
    games = make_games(kind, 2, processes=processes)
    assert set(games.observation_space.spaces) == {"observation", "action_mask"}  # type: ignore[attr-defined]
    games.close()
    assert learned(kind, steps=1)["return_stochastic"] == 1


class Stuck(Masked):
    """Its mask allows nothing from the third step on."""

    clock = 0

    def mask(self) -> Any:
        return numpy.full(5, self.clock < 3)

    def step(self, action: Any) -> Any:
        self.clock += 1
        return self.show(0), 0.0, False, False, {"action_mask": self.mask()}


def test_a_mask_that_allows_nothing_ends_the_run_and_names_the_step():
    with pytest.raises(UserError) as error:
        learned(Stuck)
    assert str(error.value) == (
        "environment 'Stuck': after step 3 the action mask of game 0 allows no action"
    )


class Over(Masked):
    """Nothing is left to do where the episode is over."""

    def step(self, action: Any) -> Any:
        seen, reward, *_ = super().step(action)
        return seen, reward, True, False, {"action_mask": numpy.zeros(5)}


def test_a_mask_after_the_end_may_allow_nothing():
    assert learned(Over, steps=1)["return_mean"] == 1


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (Box(0, 255, (36, 36), BYTES), Nature),
        (Box(0, 255, (4, 36, 36, 3), BYTES), Nature),
        (Box(0, 255, (20, 100, 3), BYTES), Impala),
        (Box(0, 255, (100, 20, 3), BYTES), Impala),
        (Box(0, 255, (210, 160, 3), BYTES), Nature),
        (Box(0, 255, (4, 84, 84), BYTES), Nature),
        (Box(0, 1, (10, 10, 6), BYTES), Board),
        (Box(0, 1, (3, 10, 10)), Board),
        (Box(0, 255, (128,), BYTES), Multilayer),
        (Box(-1, 1, (36, 36)), Multilayer),
        (Box(-1, 1, (2, 3, 4, 5)), Multilayer),
    ],
)
def test_meaning_goes_by_bounds_and_layout(space, kind):
    body = make_body(space, "auto", [64])
    assert type(body) is kind
    assert sum(p.numel() for p in body.parameters()) < 2_000_000
    seen = torch.as_tensor(numpy.stack([space.sample(), space.sample()]))
    assert body(seen).shape == (2, 64)
    assert body(seen.unsqueeze(0)).shape == (1, 2, 64)


def test_a_stack_of_frames_and_its_channels_are_the_same_picture():
    """[2, H, W, 3] is [6, H, W] with channel 3 f + c."""
    stack = torch.randint(256, (5, 2, 12, 10, 3), dtype=torch.uint8)
    channels = stack.permute(0, 1, 4, 2, 3).flatten(1, 2)
    torch.manual_seed(0)
    one = make_body(Box(0, 255, (2, 12, 10, 3), BYTES), "auto", [8])
    torch.manual_seed(0)
    other = make_body(Box(0, 255, (6, 12, 10), BYTES), "auto", [8])
    assert torch.equal(one(stack), other(channels))


def test_what_was_decided_is_said_and_can_be_said_otherwise(capsys):
    from framework.task import TrainingPlan

    def make() -> Any:
        space = Dict(camera=Box(0, 255, (36, 40), BYTES), mission=Text(9))
        return Signal(space, lambda t: space.sample(), *TWO)

    Game(environment=make, hidden=[4]).begin(TrainingPlan(seed=0, steps=1))
    assert capsys.readouterr().err.splitlines() == [
        "environment 'make': observation 'mission' is left out: no policy reads it",
        "environment 'make': observation 'camera' [36, 40] is read as a picture of 1 channel, 36 x 40; "
        "task.encoder=multilayer reads it as numbers",
    ]
    assert decisions(Box(0, 255, (4, 84, 84), BYTES)) == []
    body = make_body(Box(0, 255, (36, 40), BYTES), "multilayer", [4])
    assert type(body) is Multilayer
    white = torch.full((36, 40), 255, dtype=torch.uint8)
    torch.testing.assert_close(body(white), body.layers(torch.ones(36 * 40)))


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (Text(5), Discrete(2), "no policy reads the observations Text("),
        (Box(0, 1, (1,)), Text(5), "no policy serves the actions Text("),
        (Box(0, 1, (1,)), Box(0, 999, (1,), numpy.int64), "whole numbers have 256 values at most"),
        (Dict(a=Text(3)), Discrete(2), "no policy reads the observations"),
    ],
)
def test_what_no_policy_serves_is_refused_in_one_line(observations, actions, message):
    with pytest.raises(UserError, match=None) as error:
        Game(environment=lambda: Signal(observations, lambda t: "x", actions, lambda a: a))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrappers_of_gymnasiums_that_change_the_layout_are_played():
    wrappers = ["GrayscaleObservation", {"name": "FrameStackObservation", "stack_size": 3}]
    space = Box(0, 255, (40, 48, 3), BYTES)
    make = lambda: Signal(space, lambda t: numpy.full(space.shape, t, BYTES), *TWO)  # noqa: E731
    games = make_games(EnvironmentOptions(environment=make, wrappers=wrappers), 2)
    assert games.observation_space.shape == (3, 40, 48)
    assert type(make_body(games.observation_space, "auto", [4])) is Nature
