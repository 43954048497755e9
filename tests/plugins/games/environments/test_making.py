"""The door: an environment of one's own, by name or as an object, with its options and wrappers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import framework
from framework.errors import UserError
from plugins.games.environments.making import make_games
from plugins.games.environments.native.snake import Snake
from plugins.games.environments.options import EnvironmentOptions
from plugins.games.task import Game
from tests.plugins.games.counter import Counter, vectors
from tests.runs import Diffobj

BANDIT = '''
import gymnasium, numpy
from gymnasium.spaces import Box, Discrete

class Bandit(gymnasium.Env):
    """Two arms, of which the second pays."""

    observation_space = Box(-1, 1, (1,), numpy.float32)
    action_space = Discrete(2)

    def __init__(self, prize: float = 1.0, arms: tuple[int, ...] = (1,), render_mode=None):
        self.prize, self.arms = prize, arms
        assert isinstance(arms, tuple)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return numpy.zeros(1, "f"), {}

    def step(self, action):
        return numpy.zeros(1, "f"), self.prize * (action in self.arms), True, False, {}

def make(prize: float = 2.0):
    return Bandit(prize)

broken = 3
gymnasium.register("Bandit-v0", f"{__name__}:Bandit")
'''


@pytest.fixture
def bandits(tmp_path, monkeypatch):
    """A module of the working directory."""
    (tmp_path / "bandits.py").write_text(BANDIT)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("bandits", None)
    gymnasium.registry.pop("Bandit-v0", None)


def options(environment: Any, **others: Any) -> EnvironmentOptions:
    return EnvironmentOptions(environment=environment, **others)


def earned(games: Any, steps: int = 1) -> list[float]:
    """The rewards of game 0, which always takes the second action."""
    games.reset(0)
    action = torch.ones(games.count, dtype=torch.long)
    return [float(games.step(action).rewards[0]) for _ in range(steps)]


@pytest.mark.parametrize(
    ("name", "prize"),
    [("bandits:Bandit", 1), ("bandits:make", 2), ("bandits:Bandit-v0", 1), ("bandits.py:make", 2)],
)
def test_ones_own_environment_is_played_by_name_after_an_opt_in(bandits, name, prize):
    with pytest.raises(UserError, match=r"imports code; task.trust=true permits it$"):
        make_games(name, 1)
    assert "bandits" not in sys.modules
    assert earned(make_games(options(name, trust=True), 3)) == [prize]


def test_ones_own_environment_is_trained_from_the_command_line(bandits, diffobj: Diffobj):
    outcome = diffobj(
        "train",
        "task=game",
        "estimator=rloo",
        "task.environment=bandits:Bandit-v0",
        "task.trust=true",
        "task.environment_options={prize: 3}",
        "task.games=16",
        "task.evaluation_episodes=2",
        "trainer.steps=25",
        "optimizer.learning_rate=0.2",
        "monitor.tensorboard=false",
        "hydra.run.dir=run",
    )
    assert outcome.status == 0, outcome.err
    run = framework.load("run", overrides=["task.trust=true"])
    assert run.metrics["return_mean"] == 3


def test_a_run_folder_cannot_grant_itself_trust(bandits, diffobj: Diffobj):
    small = ["task.games=2", "task.evaluation_episodes=2", "trainer.steps=2"]
    quiet = ["monitor.tensorboard=false", "hydra.run.dir=run", "trainer.checkpoint_every=1"]
    given = ["task=game", "estimator=rloo", "task.environment=bandits:make", "task.trust=true"]
    assert diffobj("train", *given, *small, *quiet).status == 0
    sys.modules.pop("bandits")
    gymnasium.registry.pop("Bandit-v0")
    for command in (["evaluate", "run=run"], ["train", "resume=run", "trainer.steps=3"]):
        outcome = diffobj(*command)
        assert outcome.status == 2
        assert outcome.err.endswith("imports code; task.trust=true permits it\n")
        assert "bandits" not in sys.modules
    assert diffobj("train", "resume=run", "trainer.steps=3", "task.trust=true").status == 0
    assert diffobj("evaluate", "run=run", "task.trust=true").status == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bandits:make_it", "there is no 'make_it'; did you mean 'make'?"),
        ("bandits:Bandits-v0", "registers no 'Bandits-v0'; nearest: Bandit-v0, "),
        ("bandits:broken", "task.environment = 3: expected a name such as CartPole-v1"),
        ("nowhere:make", "ModuleNotFoundError: No module named 'nowhere'"),
        ("nowhere.py:make", "FileNotFoundError"),
        (":make", "expected module:name"),
        ("bandits:", "expected module:name"),
        ("Lunar-v3", "unknown; nearest: LunarLander-v3, "),
    ],
)
def test_a_name_that_names_nothing_is_refused_in_one_short_line(bandits, name, message):
    with pytest.raises(UserError) as error:
        make_games(options(name, trust=True), 1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ("FrozenLake-v1", {"is_slipery": False}, "did you mean 'is_slippery'?"),
        (
            "CartPole-v1",
            {"gravity": 5},
            "unknown key 'task.environment_options.gravity'; choices: ",
        ),
        ("snake", {"size": 5}, "unknown key 'task.environment_options.size'; it has no options"),
        ("bandits:Bandit", {"prize": "much"}, "prize = 'much': input should be a valid number"),
        (Counter(), {"length": 3}, "unknown key 'task.environment_options.length'"),
    ],
)
def test_options_are_checked_against_the_constructor(bandits, environment, arguments, message):
    with pytest.raises(UserError) as error:
        make_games(options(environment, trust=True, arguments=arguments), 1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_options_reach_the_constructor_in_the_types_of_its_annotations(bandits):
    given = {"prize": 5, "arms": [0, 1]}
    assert earned(make_games(options("bandits:Bandit", trust=True, arguments=given), 1)) == [5.0]
    lake = make_games(options("FrozenLake-v1", arguments={"map_name": "8x8"}), 2)
    assert lake.observation_space == Discrete(64)


def test_an_option_of_the_vector_class_leaves_the_vector_class_in_use():
    games = make_games(options("CartPole-v1", arguments={"sutton_barto_reward": True}), 2)
    assert type(games.vector).__name__ == "CartPoleVectorEnv"  # type: ignore[attr-defined]
    assert earned(games) == [0.0]


class Tall(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Adds a hundred to what is observed."""

    def observation(self, observation: Any) -> Any:
        return observation + 100


def test_wrappers_are_applied_by_name_from_the_inside_to_the_outside():
    given = [Tall, {"name": "FrameStackObservation", "stack_size": 3}, "FlattenObservation"]
    games = make_games(options(Counter, wrappers=given), 2)
    assert games.observation_space.shape == (3,)
    games.reset(0)
    seen = games.step(torch.zeros(2, dtype=torch.long)).observations
    assert isinstance(seen, torch.Tensor)
    assert seen.tolist() == [[100, 100, 101]] * 2


@pytest.mark.parametrize(
    ("environment", "given", "message"),
    [
        (
            Counter,
            ["FlatenObservation"],
            "task.wrappers: unknown 'FlatenObservation'; nearest: Fla",
        ),
        (
            Counter,
            [{"name": "TimeLimit", "steps": 3}],
            "unknown key 'task.wrappers.TimeLimit.steps'",
        ),
        (Counter, [3], "task.wrappers: 3; expected a name such as"),
        (Counter, ["os:remove"], "imports code; task.trust=true"),
        ("snake", ["FlattenObservation"], "environment 'snake' is a vector, which takes none"),
        (vectors(lambda i: Counter()), ["TimeLimit"], "is a vector, which has none"),
    ],
)
def test_a_wrapper_that_does_not_fit_is_refused_in_one_line(environment, given, message):
    with pytest.raises(UserError) as error:
        make_games(options(environment, wrappers=given), 1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "environment",
    ["CartPole-v1", "cart_pole", "MountainCar-v0", lambda: Counter(100), Counter(100)],
)
def test_a_time_limit_of_ones_own_truncates(environment):
    games = make_games(options(environment, max_episode_steps=3), 2)
    games.reset(0)
    action = torch.zeros(2, dtype=torch.long)
    assert [bool(games.step(action).truncated.all()) for _ in range(3)] == [False, False, True]
    assert games.time_limit == 3


def test_an_object_a_function_a_class_and_a_vector_are_the_same_games():
    kinds = [
        Counter(4),
        lambda: Counter(4),
        type("Four", (Counter,), {"__init__": lambda self: Counter.__init__(self, 4)}),
        vectors(lambda i: Counter(4)),
        lambda num_envs: SyncVectorEnv([lambda: Counter(4)] * num_envs),
    ]
    rows = []
    for kind in kinds:
        games = make_games(kind, 3)
        games.reset(1)
        action = torch.zeros(3, dtype=torch.long)
        rows.append([games.step(action).observations.tolist() for _ in range(7)])  # type: ignore[union-attr]
    assert rows == [rows[0]] * len(kinds)


def test_a_class_of_games_in_torch_is_played_as_a_registered_one_is():
    assert make_games(Snake, 4).time_limit == 1000


def test_copies_of_an_object_do_not_share_its_state():
    walk = gymnasium.make("MountainCar-v0")
    walk.unwrapped.gravity = 0.01  # type: ignore[attr-defined]
    games = make_games(walk, 2)
    games.reset(0)
    one = games.step(torch.tensor([0, 2])).observations
    assert isinstance(one, torch.Tensor)
    assert one[0, 1] != one[1, 1]
    envs = games.vector.envs  # type: ignore[attr-defined]
    assert [env.unwrapped.gravity for env in envs] == [0.01, 0.01]
    assert len({id(env.unwrapped) for env in (*envs, walk)}) == 3


class Open(Counter):
    """Holds what cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.file = open(__file__)  # noqa: SIM115


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (5, "task.environment = 5: expected a name such as CartPole-v1 or module:name"),
        (lambda: 5, "made <class 'int'>, expected a gymnasium.Env"),
        (lambda: vectors(lambda i: Counter())(2), "made a vector: name the parameter num_envs"),
        (lambda num_envs: Counter(), "made Counter, expected a gymnasium.vector.VectorEnv"),
        (lambda num_envs: vectors(lambda i: Counter())(3), "made 3 games, expected num_envs = 1"),
        (vectors(lambda i: Counter())(2), "is a vector of 2: training and evaluation need several"),
        (Open(), "cannot be copied (TypeError); give a function that makes one"),
        (lambda: 1 / 0, "task.environment = '<lambda>': division by zero"),
    ],
)
def test_what_is_no_environment_is_refused_in_one_line(environment, message):
    with pytest.raises(UserError) as error:
        make_games(environment, 1)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_game_of_ones_own_is_trained_from_python_and_loaded_again(tmp_path: Path):
    def make() -> Any:
        return TimeLimit(Aim(), 10)

    small: dict[str, Any] = {
        "hidden": [8],
        "games": 16,
        "evaluation_episodes": 4,
        "rollout_steps": 8,
    }
    run = framework.train(
        Game(environment=make, **small),
        estimator="ppo",
        steps=150,
        learning_rate=0.02,
        overrides=["monitor.tensorboard=false"],
        folder=tmp_path / "run",
    )
    assert run.metrics["return_mean"] == 10
    again = framework.load(tmp_path / "run", task=Game(environment=make, **small))
    assert again.evaluate() == run.metrics


class Aim(gymnasium.Env[Any, Any]):
    """Pays 1 for the action that is observed."""

    observation_space: Any = Box(0, 1, (1,), numpy.float32)
    action_space: Any = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.seen(), {}

    def seen(self) -> Any:
        self.target = int(self.np_random.integers(2))
        return numpy.array([self.target], dtype=numpy.float32)

    def step(self, action: Any) -> Any:
        reward = float(action == self.target)
        return self.seen(), reward, False, False, {}
