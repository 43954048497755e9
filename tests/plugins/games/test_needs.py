"""Which package an environment needs is known by its name, as gymnasium's own table has it."""

import gymnasium
import pytest

from plugins.games.needs import BOX2D, MUJOCO, needs


@pytest.mark.parametrize(("place", "names"), [("box2d", BOX2D), ("mujoco", MUJOCO)])
def test_the_names_are_gymnasiums(place, names):
    there = {
        name.rpartition("-v")[0]
        for name, spec in gymnasium.registry.items()
        if str(spec.entry_point).startswith(f"gymnasium.envs.{place}")
    }
    assert set(names) == there


@pytest.mark.parametrize(
    "environment", ["cart_pole", "CartPole-v1", "Acrobot-v1", print, "x.py:make"]
)
def test_others_need_nothing(environment):
    assert list(needs({"environment": environment})) == []
