"""The games in torch: step by step what gymnasium's own do, and rules that hold on every board."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy
import pytest
import torch
from torch import Tensor

from framework.plugin import registry
from plugins.games.environments.games import Games
from plugins.games.environments.making import make_games
from plugins.games.environments.native.bricks import reflected

PEERS = {
    "cart_pole": ("CartPole-v1", ("seen",)),
    "acrobot": ("Acrobot-v1", ("first", "second", "first_spin", "second_spin")),
    "mountain_car": ("MountainCar-v0", ("x", "speed")),
    "pendulum": ("Pendulum-v1", ("angle", "spin")),
}
NATIVE = registry().names("games.environments")
BOARDS = ["key_door", "snake", "bricks", "gold_rush"]


def actions_for(games: Games, random: numpy.random.Generator) -> Any:
    """One random action for each game."""
    space = games.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return random.integers(int(space.n), size=games.count)
    assert isinstance(space, gymnasium.spaces.Box)
    return random.uniform(space.low, space.high, (games.count, *space.shape)).astype(numpy.float32)


def state_of(parts: tuple[str, ...], values: Any) -> dict[str, Tensor]:
    """A game's state from a peer's numbers `[numbers, N]`: one tensor of all, or one for each."""
    if parts == ("seen",):
        return {"seen": torch.tensor(values).T}
    return {part: torch.tensor(value) for part, value in zip(parts, values, strict=True)}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", list(PEERS))
def test_a_native_game_is_gymnasiums_step_by_step(name):
    """The same actions from the same states: observations, rewards and ends agree in every step."""
    environment, parts = PEERS[name]
    games = make_games(name, 1)
    peer: Any = gymnasium.make(environment).unwrapped
    random = numpy.random.default_rng(1)
    for episode in range(6):
        games.reset(0)
        peer.reset(seed=0)
        start = random.uniform(-0.1, 0.1, 4 if parts == ("seen",) else len(parts))
        peer.state = start
        games.state = state_of(parts, start.reshape(-1, 1))  # type: ignore[attr-defined]
        for step in range(60):
            action = actions_for(games, random)
            outcome = games.step(torch.as_tensor(action))
            seen, reward, terminated, _, _ = peer.step(action[0])
            found = outcome.observations
            assert isinstance(found, Tensor)
            torch.testing.assert_close(
                found[0].double(), torch.tensor(seen, dtype=torch.float64), atol=1e-5, rtol=0
            )
            assert float(outcome.rewards[0]) == pytest.approx(float(reward), abs=1e-5)
            assert bool(outcome.terminated[0]) == bool(terminated), (episode, step)
            if terminated:
                break
            held = [v.flatten() for v in games.state.values()]  # type: ignore[attr-defined]
            peer.state = torch.cat(held).numpy()  # errors of float32 must not add up


def test_cart_poles_trajectory_is_gymnasiums_without_correction():
    """In float64 whole episodes of identical actions agree to 1e-5."""
    games = make_games("cart_pole", 64)
    games.reset(0)
    vector: Any = gymnasium.make_vec("CartPole-v1", num_envs=64)
    vector.reset(seed=3)
    games.state = state_of(("seen",), vector.state)  # type: ignore[attr-defined]
    random = numpy.random.default_rng(0)
    alive = numpy.ones(64, dtype=bool)
    for _ in range(100):
        actions = random.integers(2, size=64)
        outcome = games.step(torch.as_tensor(actions))
        seen, rewards, terminated, truncated, _ = vector.step(actions)
        found = outcome.observations
        assert isinstance(found, Tensor)
        numpy.testing.assert_allclose(found.numpy()[alive], seen[alive], atol=1e-5)
        numpy.testing.assert_array_equal(outcome.rewards.numpy()[alive], rewards[alive])
        numpy.testing.assert_array_equal(outcome.terminated.numpy()[alive], terminated[alive])
        alive &= ~(terminated | truncated)
    assert not alive.any()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", NATIVE)
def test_every_native_game_keeps_its_contract(name):
    """Shapes, spaces, one row that is no step after every end, and never NaN."""
    games = make_games(name, 32)
    seen = games.reset(0)
    random = numpy.random.default_rng(0)
    ended = torch.zeros(32, dtype=torch.bool)
    for _ in range(220):
        assert isinstance(seen, Tensor)
        assert seen.shape == (32, *(games.observation_space.shape or ()))
        assert torch.isfinite(seen).all()
        outcome = games.step(torch.as_tensor(actions_for(games, random)))
        assert torch.equal(outcome.valid, ~ended)
        assert torch.equal(outcome.episode_start, ended)
        assert not (outcome.rewards[ended] != 0).any()
        assert not (outcome.terminated & outcome.truncated).any()
        ended = outcome.terminated | outcome.truncated
        assert not (ended & ~outcome.valid).any()
        seen = outcome.observations
    space = games.observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    assert isinstance(seen, Tensor)
    assert (seen.numpy() >= space.low - 1e-5).all()
    assert (seen.numpy() <= space.high + 1e-5).all()


@pytest.mark.parametrize("name", NATIVE)
def test_the_same_seed_gives_the_same_games_and_saved_games_go_on_alike(name):
    games, other = make_games(name, 8), make_games(name, 8)
    first, again = games.reset(5), other.reset(5)
    assert torch.equal(first, again)  # type: ignore[arg-type]
    random = numpy.random.default_rng(0)
    for _ in range(30):
        games.step(torch.as_tensor(actions_for(games, random)))
    other.load_state_dict(games.state_dict() or {})
    actions = torch.as_tensor(actions_for(games, random))
    torch.manual_seed(1)
    found = games.step(actions)
    torch.manual_seed(1)
    expected = other.step(actions)
    assert torch.equal(found.observations, expected.observations)  # type: ignore[arg-type]
    assert torch.equal(found.rewards, expected.rewards)


def test_a_time_limit_truncates_and_does_not_terminate():
    games = make_games("pendulum", 3)
    games.reset(0)
    for number in range(1, 201):
        outcome = games.step(torch.zeros(3, 1))
        assert not outcome.terminated.any()
        assert bool(outcome.truncated.all()) == (number == 200)


@pytest.mark.parametrize("name", ["pendulum", "cart_pole_smooth"])
def test_a_differentiable_games_derivative_is_its_difference_quotient(name):
    games = make_games(name, 4)
    assert games.differentiable

    def total(push: Tensor) -> Tensor:
        games.reset(0)
        earned = torch.zeros(())
        for _ in range(20):
            earned = earned + games.step((push * 0.1).expand(4, 1)).rewards.sum()
        return earned

    push = torch.tensor(0.3, requires_grad=True)
    (slope,) = torch.autograd.grad(total(push), push)
    with torch.no_grad():
        quotient = (total(push + 0.01) - total(push - 0.01)) / 0.02
    torch.testing.assert_close(slope, quotient, rtol=5e-3, atol=1e-3)


def test_key_and_door_is_won_by_fetching_the_key_first():
    """Walls and the closed door hold the player; with the key the door opens and the goal gives its reward."""
    games: Any = make_games("key_door", 1)
    games.reset(0)
    place = {"player": (0, 0), "key": (1, 0), "door": (0, 2), "goal": (0, 4)}
    for name, at in place.items():
        games.state[name] = torch.tensor([at])
    up, down, left, right = range(4)

    def go(direction: int) -> tuple[list[int], float]:
        outcome = games.step(torch.tensor([direction]))
        return games.state["player"][0].tolist(), float(outcome.rewards[0])

    assert go(right) == ([0, 1], 0)
    assert go(right) == ([0, 1], 0)  # the door is closed
    assert go(left) == ([0, 0], 0)
    assert go(down) == ([1, 0], 0)
    assert bool(games.state["carries"][0])
    assert go(right) == ([1, 1], 0)
    assert go(right) == ([1, 1], 0)  # the wall stays
    assert go(up) == ([0, 1], 0)
    assert go(right) == ([0, 2], 0)
    assert go(right) == ([0, 3], 0)
    where, reward = go(right)
    assert where == [0, 4]
    assert reward == pytest.approx(1 - 0.9 * 10 / 100)
    assert bool(games.ended[0])


def test_every_key_and_door_house_can_be_won():
    games: Any = make_games("key_door", 2000)
    games.reset(1)
    state = games.state
    wall = state["door"][:, 1]
    assert (state["player"][:, 1] < wall).all()
    assert (state["key"][:, 1] < wall).all()
    assert (state["goal"][:, 1] > wall).all()
    assert not (state["player"] == state["key"]).all(1).any()


def test_a_snake_grows_by_eating_and_dies_at_a_wall():
    games: Any = make_games("snake", 1)
    games.reset(0)
    body = torch.zeros(1, 10, 10, dtype=torch.int32)
    body[0, 5, 5], body[0, 6, 5], body[0, 7, 5] = 3, 2, 1
    games.state["body"], games.state["head"] = body, torch.tensor([[5, 5]])
    games.state["food"] = torch.tensor([[4, 5]])
    outcome = games.step(torch.tensor([0]))
    assert float(outcome.rewards[0]) == 1
    assert int((games.state["body"] > 0).sum()) == 4
    assert not (games.state["food"][0] == torch.tensor([4, 5])).all()
    games.state["food"] = torch.tensor([[9, 9]])
    for _ in range(4):
        outcome = games.step(torch.tensor([0]))
        assert int((games.state["body"] > 0).sum()) == 4
    assert not outcome.terminated.any()
    outcome = games.step(torch.tensor([0]))
    assert bool(outcome.terminated[0])
    assert float(outcome.rewards[0]) == 0


def test_a_snake_dies_by_biting_itself_and_food_is_never_under_it():
    games: Any = make_games("snake", 500)
    games.reset(0)
    backwards = games.step(torch.ones(500, dtype=torch.long))  # its neck is there
    assert backwards.terminated.all()
    games.step(torch.zeros(500, dtype=torch.long))
    n = torch.arange(500)
    food = games.state["food"]
    assert not (games.state["body"][n, food[:, 0], food[:, 1]] > 0).any()


def test_a_snake_starves_after_a_hundred_steps_without_a_bite_and_sees_its_hunger():
    games: Any = make_games("snake", 1)
    games.reset(0)
    body = torch.zeros(1, 10, 10, dtype=torch.int32)
    body[0, 5, 5], body[0, 6, 5], body[0, 7, 5] = 3, 2, 1
    games.state |= {
        "body": body,
        "head": torch.tensor([[5, 5]]),
        "food": torch.tensor([[0, 0]]),
    }
    # Round and round: left, down, right, up.
    for number in range(1, 101):
        outcome = games.step(torch.tensor([(2, 1, 3, 0)[(number - 1) % 4]]))
        assert bool(outcome.terminated[0]) == (number == 100), number
        seen = float(outcome.observations[0, 1, 0, 0])
        assert seen == pytest.approx(1 - number / 100, abs=1e-6)
        assert float(outcome.rewards[0]) == 0


def test_a_ball_starts_in_any_column_either_way_and_can_be_caught_after_one_step():
    """By the best that can be done: wait a step for the ball to show its way, then go where it lands."""
    games: Any = make_games("bricks", 500)
    games.reset(0)
    start = games.state["ball"][:, 1]
    assert set(start.tolist()) == set(range(10))
    assert set(games.state["flight"][:, 1].tolist()) == {-1, 1}
    assert set(games.state["paddle"].tolist()) == set(range(10))
    games.step(torch.ones(500, dtype=torch.long))
    ball, flight = games.state["ball"][:, 1], games.state["flight"][:, 1]
    landing = reflected(ball + 4 * flight)
    for _ in range(4):
        outcome = games.step((landing - games.state["paddle"]).sign() + 1)
    assert not outcome.terminated.any()
    assert torch.equal(games.state["ball"][:, 1], landing)


def test_a_ball_breaks_a_brick_turns_back_and_is_lost_without_the_paddle():
    games: Any = make_games("bricks", 1)
    games.reset(0)
    games.state |= {
        "ball": torch.tensor([[4, 3]]),
        "flight": torch.tensor([[-1, 1]]),
        "paddle": torch.tensor([0]),
    }
    outcome = games.step(torch.tensor([0]))
    assert float(outcome.rewards[0]) == 1
    assert not bool(games.state["bricks"][0, 3, 4])
    assert int(games.state["bricks"].sum()) == 29
    assert games.state["flight"].tolist() == [[1, 1]]
    for _ in range(4):
        outcome = games.step(torch.tensor([0]))
        assert not outcome.terminated.any()
    assert games.state["ball"].tolist() == [[8, 8]]
    assert bool(games.step(torch.tensor([0])).terminated[0])


def test_the_paddle_returns_the_ball():
    games: Any = make_games("bricks", 1)
    games.reset(0)
    games.state |= {
        "ball": torch.tensor([[8, 3]]),
        "flight": torch.tensor([[1, 1]]),
        "paddle": torch.tensor([3]),
    }
    outcome = games.step(torch.tensor([2]))
    assert not outcome.terminated.any()
    assert games.state["flight"].tolist() == [[-1, 1]]


@pytest.mark.parametrize(("kind", "reward", "ends"), [(True, 1.0, False), (False, 0.0, True)])
def test_gold_is_gathered_and_an_enemy_ends_the_game(kind, reward, ends):
    games: Any = make_games("gold_rush", 1)
    games.reset(0)
    there = torch.zeros(1, 8, dtype=torch.bool)
    there[0, 4] = True  # row 5, where the player stands
    games.state |= {
        "there": there,
        "gold": there & kind,
        "column": torch.full((1, 8), 6),
        "direction": torch.full((1, 8), 1),
    }
    outcome = games.step(torch.tensor([4]))
    assert float(outcome.rewards[0]) == reward
    assert bool(outcome.terminated[0]) == ends


@pytest.mark.parametrize("name", NATIVE)
def test_every_native_game_can_be_drawn(name):
    games = make_games(name, 2)
    games.reset(0)
    frame = games.render()
    assert frame is not None
    assert frame.dtype == numpy.uint8
    assert frame.shape[2] == 3
    assert len(numpy.unique(frame.reshape(-1, 3), axis=0)) > 1
