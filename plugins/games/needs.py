"""The packages of extras that an environment needs, by its name; asked before torch is imported."""

from collections.abc import Iterator, Mapping
from typing import Any

from framework.extras import Need

# Gymnasium's environments by what they import, without their versions; a test keeps them in step with its own table.
BOX2D = (
    "BipedalWalker",
    "BipedalWalkerHardcore",
    "CarRacing",
    "LunarLander",
    "LunarLanderContinuous",
)
MUJOCO = (
    *("Ant", "HalfCheetah", "Hopper", "Humanoid", "HumanoidStandup", "InvertedDoublePendulum"),
    *("InvertedPendulum", "Pusher", "Reacher", "Swimmer", "Walker2d"),
)


def needs(options: Mapping[str, Any]) -> Iterator[Need]:
    """Box2D, MuJoCo or ale-py, for an environment by gymnasium's name."""
    name = str(options.get("environment"))
    kind = name.rpartition("-v")[0]
    if name.startswith("ALE/"):
        yield Need("ale_py", "atari", f"environment '{name}' needs ale-py")
    if kind in BOX2D:
        yield Need("Box2D", "box2d", f"environment '{name}' needs Box2D")
    # Earlier versions are refused whatever is installed.
    if kind in MUJOCO and not name.endswith(("-v2", "-v3")):
        yield Need("mujoco", "mujoco", f"environment '{name}' needs MuJoCo")
