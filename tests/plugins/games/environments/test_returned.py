"""What somebody's environment returns: whatever can be understood is, and what cannot is refused in one line."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from framework.errors import UserError
from plugins.games.commands.check_environment import check_environment
from plugins.games.environments.foreign.games import ForeignGames
from plugins.games.environments.making import make_games
from plugins.games.film import film
from plugins.games.task import Game
from tests.plugins.games.counter import Counter

PAIR = Box(-1, 1, (2,), numpy.float32)


def returns(kind: type[Counter] = Counter, **changed: Any) -> type[Counter]:
    """A counter of which one thing that a method returns is another: `step=lambda whole: whole[:4]`."""

    class Changed(kind):  # type: ignore[misc,valid-type]
        observation_space = changed.get("observation_space", Counter.observation_space)
        action_space = changed.get("action_space", Counter.action_space)
        metadata = changed.get("metadata", Counter.metadata)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            whole = super().reset(seed=seed, options=options)
            return changed.get("reset", lambda given: given)(whole)

        def step(self, action: Any) -> Any:
            whole = super().step(action)
            for place, name in enumerate(
                ("observation", "reward", "terminated", "truncated", "info")
            ):
                if name in changed:
                    whole = (*whole[:place], changed[name](whole[place]), *whole[place + 1 :])
            return changed.get("step", lambda given: given)(whole)

        def seen(self) -> Any:
            return changed.get("seen", lambda given: given)(super().seen())

    return Changed


def played(environment: Any, steps: int = 1) -> list[Any]:
    """The outcomes of some steps of two games."""
    games = make_games(environment, 2)
    games.reset(0)
    return [games.step(torch.zeros(2, dtype=torch.long)) for _ in range(steps)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an observation alone": (
        {"reset": lambda w: w[0]},
        r"reset returned ndarray of shape \[1\]; expected \(observation, info\)",
    ),
    "four values": (
        {"step": lambda w: w[:4]},
        "step returned 4 values; expected .observation, rew",
    ),
    "no reward": ({"reward": lambda r: None}, "step returned None as reward; expected a number"),
    "two rewards": ({"reward": lambda r: numpy.ones(2)}, r"ndarray of shape \[2\] as reward"),
    "no end": ({"truncated": lambda t: None}, "returned None as truncated; expected true or false"),
    "no info": ({"info": lambda i: None}, "returned None as info; expected a dict"),
    "a part missing": (
        {"observation_space": Dict(a=PAIR, b=PAIR), "seen": lambda o: {"a": numpy.zeros(2, "f")}},
        "as observation; expected one with 'b', as observation_space has it",
    ),
    "no space": ({"observation_space": None}, "observation_space is None; expected a space of gym"),
    "no metadata": ({"metadata": None}, "metadata is None; expected a dict"),
    "an end of the program": (
        {"step": lambda w: sys.exit(3)},
        r"step called sys\.exit\(3\), which",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_as_gymnasium_documents_it_ends_at_once(name, capsys):
    changed, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as error:
        played(returns(**changed), 3)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "name", [name for name in REFUSED if name not in ("no space", "no metadata")]
)
def test_so_it_does_where_gymnasium_makes_it_by_its_name(name, capsys):
    """gymnasium's own wrappers, which would take the outcome apart before, stand above."""
    changed, message = REFUSED[name]
    environment = f"Returned{len(name)}-v0"
    kind: Any = returns(**changed)
    gymnasium.register(environment, entry_point=kind, max_episode_steps=9)
    try:
        with pytest.raises(UserError, match=f"environment '{environment}': .*{message}"):
            played(environment, 3)
    finally:
        del gymnasium.registry[environment]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("space", "seen", "message"),
    [
        (PAIR, numpy.zeros((2, 1), "f"), r"ndarray of shape [2, 1] as observation; expected the shape [2]"),
        (Discrete(9), numpy.zeros(1, int), "ndarray of shape [1] as observation; expected a number"),
        (Tuple([PAIR]), (numpy.zeros(3, "f"),), "as observation '0'; expected the shape [2]"),
    ],
)  # fmt: skip
def test_an_observation_of_another_shape_is_named_with_both_shapes(space, seen, message):
    with pytest.raises(UserError) as error:
        played(returns(observation_space=space, seen=lambda o: seen))
    assert message in str(error.value)


def test_a_part_without_anything_in_it_is_nothing_to_read():
    space = Dict({"nothing": Dict({}), "a": PAIR})
    kind = returns(observation_space=space, seen=lambda o: {"nothing": {}, "a": numpy.ones(2)})
    games = make_games(kind, 2)
    assert list(games.observation_space.spaces) == ["a"]  # type: ignore[attr-defined]
    assert [f.fix for f in check_environment(kind) if f.fix] == []


def test_a_reset_without_seed_and_options_is_refused_by_its_signature():
    class Bare(Counter):
        def reset(self) -> Any:  # type: ignore[override]
            return super().reset()

    with pytest.raises(
        UserError, match=r"reset takes no seed and no options; expected reset\(self, \*, seed"
    ):
        make_games(Bare, 2)


@pytest.mark.parametrize(
    "reward", [1, True, numpy.float64(1), numpy.ones(1), numpy.ones(()), torch.ones(())]
)
def test_one_number_of_any_type_is_a_reward_and_an_end(reward):
    environment = returns(reward=lambda r: reward, terminated=lambda t: type(reward) is int)
    outcome = played(environment)[0]
    assert outcome.rewards.tolist() == [1, 1]
    assert outcome.terminated.tolist() == [type(reward) is int] * 2


def test_an_environments_own_info_is_its_own_affair():
    """Entries of changing shapes and types, and of names that the framework might use itself."""
    clock = iter(range(100))

    def info(_: Any) -> Any:
        t = next(clock)
        ragged = {"list": list(range(t)), "array": numpy.zeros(t), f"key{t}": None, "n": {"m": t}}
        return {
            **ragged,
            "failed": "no",
            "cut_off": True,
            "spoilt": 1,
            "final_obs": 2,
            "x": [None, 3][t % 2],
        }

    outcomes = played(returns(info=info), 7)
    assert [bool(o.valid.all()) for o in outcomes] == [True] * 5 + [False, True]
    assert all(not o.valid.any() or bool((o.rewards == 1).all()) for o in outcomes)


@pytest.mark.parametrize(
    ("space", "seen", "message"),
    [
        (Discrete(3), lambda o: int(o[0]), r"an observation of 3 to 3, declared Discrete\(3\)"),
        (MultiDiscrete([9, 2]), lambda o: numpy.array([0, int(o[0])]), "an observation of 0 to 2, declared Multi"),
        (Box(-1e308, 1e308, (1,), numpy.float64), lambda o: o + 1e300, "an observation that is not finite"),
        (Box(0, 9, (1,)), lambda o: o * numpy.nan, "an observation that is not finite"),
    ],
)  # fmt: skip
def test_what_no_policy_can_read_is_named_and_not_learned_from(space, seen, message):
    """A number out of its range would be taken for another one, or be infinite in single precision."""
    environment = returns(observation_space=space, seen=lambda o: seen(o.astype(float)))
    with pytest.raises(UserError, match=message):
        played(environment, 90)
    finding = next(f for f in check_environment(environment) if f.what == "observations")
    assert "declare in observation_space" in finding.fix


def test_parts_of_any_name_are_seen_each_as_itself():
    names = ("keys", "items", "training", "forward", "", "a.b", "a_b", "a/0", "ä b")
    parts = {name: Box(0, 99, (1,), numpy.float32) for name in names}
    nested = Tuple([Box(0, 99, (1,), numpy.float32)])

    class Named(Counter):
        observation_space = Dict({**parts, "a": nested})

        def seen(self) -> Any:
            each = {name: numpy.full(1, float(i), "f") for i, name in enumerate(names)}
            return {**each, "a": (numpy.full(1, 50.0, "f"),)}

    assert [f.fix for f in check_environment(Named) if f.fix] == []
    game = Game(environment=Named, games=2, hidden=[4])
    observations = make_games(game.environment, 1).reset(0)
    assert isinstance(observations, dict)
    assert sorted(float(value) for value in observations.values()) == [*range(len(names)), 50]
    assert game.act(Named().reset()[0]) in (0, 1)


def test_spaces_of_too_many_values_are_refused_before_memory_is_asked_for():
    for space, seen in ((Discrete(10**12), 5), (MultiDiscrete([10**9, 2]), numpy.zeros(2, int))):
        with pytest.raises(
            UserError, match="and 100,000 at most can have weights of their own; decl"
        ):
            Game(environment=returns(observation_space=space, seen=lambda o, seen=seen: seen))
    with pytest.raises(
        UserError, match="and 100,000 at most can have outputs of their own; declare"
    ):
        Game(environment=returns(action_space=Discrete(10**12)))


@pytest.mark.parametrize("largest", [1.0, numpy.finfo(numpy.float32).max])
def test_a_number_without_axes_is_an_action_and_the_largest_number_no_bound(largest):
    chosen = []

    class Push(Counter):
        action_space: Any = Box(-largest, largest, (), numpy.float32)

        def step(self, action: Any) -> Any:
            chosen.append(float(action))
            assert numpy.shape(action) == ()
            return super().step(action)

    game = Game(environment=Push, games=2, hidden=[4])
    game.evaluate(0)
    assert all(abs(action) <= 6 for action in chosen)
    assert numpy.shape(game.act(numpy.zeros(1, "f"))) == ()


class Filmed(Counter):
    """Renders what it is told to."""

    metadata: Any = {"render_modes": ["rgb_array"], "render_fps": "fast"}  # noqa: RUF012

    def __init__(self, frame: Any) -> None:
        super().__init__()
        self.frame, self.render_mode = frame, "rgb_array"

    def render(self) -> Any:
        return self.frame(self.clock)


@pytest.mark.parametrize(
    ("frame", "frames", "said"),
    [
        (lambda t: numpy.zeros((8, 6, 3), "u1"), 2, ""),
        (lambda t: numpy.zeros((8, 6), "u1"), 0, r"render gave uint8 of shape [8, 6], expected"),
        (lambda t: numpy.ones((8, 6, 3)), 0, "render gave float64 of shape"),
        (lambda t: [[1, 2]], 0, "render gave int64 of shape"),
        (lambda t: numpy.zeros((8 + t, 6, 3), "u1"), 1, "frames change from [9, 6, 3] to [11, 6, 3]"),
    ],
)  # fmt: skip
def test_a_film_is_of_pictures_and_nothing_is_lost_where_there_are_none(
    capsys, frame, frames, said
):
    game = Game(environment=Filmed(frame), games=1, hidden=[4])
    shown, rate = film(game.environment, game.model, 0, torch.device("cpu"), 6)
    assert len(shown) == frames
    assert rate in (25.0, 50.0)
    assert said in capsys.readouterr().err


def test_an_environment_that_cannot_be_closed_is_played_and_that_is_said(capsys):
    class Stuck(Counter):
        def close(self) -> None:
            raise OSError("cannot close")

    games = make_games(Stuck, 2)
    assert isinstance(games, ForeignGames)
    games.close()
    assert capsys.readouterr().err == (
        "environment 'Stuck' failed as it was closed: cannot close\n"
    )


@pytest.mark.parametrize("name", ["torch", "numpy", "random"])
def test_an_environment_that_draws_from_everybodys_generator_is_found(name):
    """The agent's exploration would be the same in every step, or another one each time."""
    import random

    draws = {
        "torch": lambda: torch.default_generator.manual_seed(0),
        "numpy": lambda: numpy.random.seed(0),
        "random": lambda: random.seed(0),
    }

    def seen(observation: Any) -> Any:
        draws[name]()
        return observation

    finding = next(f for f in check_environment(returns(seen=seen)) if f.what == "seeds")
    assert finding.detail == f"{name}'s global generator is drawn from or seeded"
    assert "self.np_random" in finding.fix


def test_whole_numbers_that_lose_digits_are_remarked_upon():
    space = Box(-(2**60), 2**60, (1,), numpy.int64)
    environment = returns(observation_space=space, seen=lambda o: o.astype(int) + 2**59)
    finding = next(f for f in check_environment(environment) if f.what == "observations")
    assert "whole numbers above 16,777,216 lose digits in single precision" in finding.detail
    assert isinstance(environment(), gymnasium.Env)


def test_a_mask_that_comes_only_after_steps_is_refused():
    """The first action of each episode would be chosen without one."""
    with pytest.raises(UserError, match="'Changed': info has 'action_mask' after a step and not"):
        played(returns(info=lambda i: {"action_mask": numpy.ones(2)}))


def test_a_tuple_of_masks_is_one_in_training_and_in_use():
    masks = (numpy.array([0, 1]), numpy.array([0, 0, 1]))
    kind = returns(
        action_space=MultiDiscrete([2, 3]),
        reset=lambda whole: (whole[0], {"action_mask": masks}),
        info=lambda info: {"action_mask": masks},
    )
    game = Game(environment=kind, games=2, hidden=[4])
    assert game.act(numpy.zeros(1, "f"), mask=masks).tolist() == [1, 2]


def test_a_box_of_truth_values_is_chosen_from():
    space: Any = Box(0, 1, (3,), numpy.bool_)
    game = Game(environment=returns(action_space=space), games=2, hidden=[4])
    game.evaluate(0)
    assert space.contains(game.act(numpy.zeros(1, "f"), deterministic=False))


@pytest.mark.parametrize("space", [MultiBinary(10**5), Box(-1, 1, (10**6,))])
def test_actions_of_too_many_parts_are_refused_before_memory_is_asked_for(space):
    with pytest.raises(UserError, match="and 100,000 at most can have outputs of their own"):
        Game(environment=returns(action_space=space))
