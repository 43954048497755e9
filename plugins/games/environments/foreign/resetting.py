"""How a gymnasium vector begins a game's next episode, and what the last step of the one before led to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from gymnasium.vector import AutoresetMode, VectorEnv

from framework.errors import UserError
from plugins.games.environments.foreign.reading import Reading


def final_observations(observations: Any, info: Mapping[str, Any], read: Reading) -> Any:
    """What each step led to: the final observation of games that were reset at once."""
    # One game's observation each; None for games that go on.
    finals = info.get("final_obs")
    if finals is None:
        return observations
    ended = numpy.flatnonzero(info["_final_obs"])
    finals = {i: read(finals[i]) for i in ended}
    if isinstance(observations, Mapping):
        return {
            name: replaced(part, {i: final[name] for i, final in finals.items()})
            for name, part in observations.items()
        }
    return replaced(observations, finals)


def replaced(values: Any, others: Mapping[Any, Any]) -> Any:
    """A copy with some rows replaced."""
    values = numpy.array(values)
    for i, other in others.items():
        values[i] = other
    return values


def autoreset_mode(vector: VectorEnv[Any, Any, Any], environment: str) -> AutoresetMode:
    """How the vector begins a game's next episode; gymnasium's default where it declares none.

    Raises:
        UserError: a mode that this code does not know.
    """
    mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
    if mode not in set(AutoresetMode):
        raise UserError(f"environment '{environment}': unknown autoreset mode {mode!r}")
    return AutoresetMode(mode)
