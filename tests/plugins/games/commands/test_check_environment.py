"""diffobj check environment=ID: a sound environment passes, and each fault is named with its remedy."""

from __future__ import annotations

import random
from typing import Any

import gymnasium
import numpy
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from gymnasium.vector import AutoresetMode

from framework.commands.check import Finding
from plugins.games.commands.check_environment import check_environment
from tests.plugins.games.counter import Counter, vectors
from tests.runs import Diffobj

ORDER = [
    "made",
    "spaces",
    "observations",
    "rewards",
    "episodes",
    "seeds",
    "replay",
    "masks",
    "autoreset",
    "cost",
]


def found(environment: Any, **options: Any) -> dict[str, Finding]:
    return {finding.what: finding for finding in check_environment(environment, **options)}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "environment", ["CartPole-v1", "snake", "FrozenLake-v1", lambda: Counter(30), "MountainCar-v0"]
)
def test_a_sound_environment_passes(environment):
    findings = check_environment(environment)
    assert [finding.what for finding in findings] == ORDER
    assert [finding for finding in findings if finding.fix] == []


def test_the_command_prints_a_line_for_each_and_takes_the_tasks_options(diffobj: Diffobj):
    outcome = diffobj("check", "environment=FrozenLake-v1", "environment_options={map_name:8x8}")
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[1] for line in lines[:-1]] == ORDER
    assert "Discrete(64) seen by OneHot, Discrete(4) chosen" in lines[1]
    assert lines[-1] == "FrozenLake-v1: all checks passed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["environment=FrozenLake-v9"], "unknown; nearest: FrozenLake-v1"),
        (["environment=bandits:make"], "imports code; task.trust=true permits it"),
    ],
)
def test_what_cannot_be_made_is_a_finding(diffobj: Diffobj, arguments, message):
    outcome = diffobj("check", *arguments)
    assert outcome.status == 1
    assert message in outcome.out


def test_an_unknown_option_is_refused_in_one_line(diffobj: Diffobj):
    outcome = diffobj("check", "environment=CartPole-v1", "truts=true")
    assert outcome.status == 2
    assert "unknown key 'task.truts'; did you mean 'trust'?" in outcome.err


class Faulty(Counter):
    """A counter to 6 with a fault."""

    def __init__(self, fault: str) -> None:
        super().__init__(10**6 if fault == "endless" else 6, terminates=fault == "masked")
        self.fault = fault
        if fault == "masked":
            self.observation_space = Dict(
                count=Counter.observation_space, action_mask=MultiBinary(2)
            )
        if fault == "bounds":
            self.observation_space = Box(0, 2, (1,), numpy.float32)
        if fault == "vast":
            self.observation_space = Box(0, 1000, (1,), numpy.float32)

    def step(self, action: Any) -> Any:
        seen, reward, *rest = super().step(action)
        if self.fault == "raises" and self.clock == 4:
            raise RuntimeError("lost\nits way")
        if self.fault == "zero":
            reward = 0.0
        if self.fault == "large":
            reward = 5000.0
        if self.fault == "nan" and self.clock == 3:
            reward = float("nan")
        return seen, reward, *rest

    def seen(self) -> Any:
        count = super().seen()
        if self.fault == "unseeded":
            return count + numpy.float32(random.random())
        if self.fault == "forgetful" and self.clock == 2:
            return count + numpy.float32(random.random())
        if self.fault == "infinite" and self.clock == 2:
            return count + numpy.inf
        if self.fault == "vast":
            return 100 * count
        if self.fault == "masked":
            return {"count": count, "action_mask": numpy.array([0, self.clock != 2], numpy.int8)}
        return count


@pytest.mark.parametrize(
    ("fault", "what", "detail", "fix"),
    [
        ("raises", "steps", "lost: ", "must play 500 random actions"),
        ("nan", "rewards", "nan to nan", "finite number"),
        ("infinite", "observations", "is not finite", "declare"),
        ("bounds", "observations", "leaves its bounds 0 to 2", "declare in observation_space"),
        ("unseeded", "seeds", "two resets with one seed differ", "super().reset(seed=seed)"),
        ("forgetful", "replay", "step 2 differs", "draw from self.np_random only"),
        ("masked", "masks", "observations allow no action", "end the episode"),
    ],
)
def test_a_fault_is_named_with_its_remedy(fault, what, detail, fix):
    finding = found(lambda: Faulty(fault))[what]
    assert detail in finding.detail
    assert fix in finding.fix


@pytest.mark.parametrize(
    ("fault", "what", "detail"),
    [
        ("zero", "rewards", "all 2,000 were 0"),
        ("large", "rewards", "task.reward_scale=0.0002"),
        ("vast", "observations", "0 to 600; large: task.normalise_observations=true"),
        ("endless", "episodes", "none ended in 500 steps, at most 1,000 steps an episode"),
    ],
)
def test_what_may_be_meant_is_remarked_upon(fault, what, detail):
    finding = found(lambda: Faulty(fault))[what]
    assert detail in finding.detail
    assert finding.fix == ""


def test_a_vector_that_does_not_reset_as_it_says_is_found():
    """It resets at once and says that it does so in the next step."""

    def counters(num_envs: int) -> Any:
        vector = vectors(lambda i: Counter(5), AutoresetMode.SAME_STEP)(num_envs)
        vector.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        return vector

    finding = found(counters)["autoreset"]
    assert finding.detail == "NextStep: the step after an end plays"
    assert "metadata['autoreset_mode']" in finding.fix


class Unreadable(gymnasium.Env[Any, Any]):
    """Shows text."""

    observation_space: Any = gymnasium.spaces.Text(5)
    action_space: Any = Discrete(2)


def test_spaces_that_no_policy_reads_are_found():
    assert list(found(Unreadable)) == ["made"]
    assert found(Unreadable)["made"].fix.startswith("no policy reads the observations Text(")
