"""What environments return and no agent can learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy
from gymnasium import Space
from gymnasium.spaces import Dict, Discrete, MultiDiscrete


def overwrite_spoilt(observations: Any, rewards: Any, failed: Any) -> tuple[Any, str]:
    """Put zeros in place of what is not finite.

    Args:
        failed: `[N]`, games that have failed anyway.

    Returns:
        which of the other games were spoilt, `[N]`, and what was not finite.
    """
    spoilt, why = numpy.zeros_like(failed), ""
    parts = observations.values() if isinstance(observations, Mapping) else (observations,)
    for what, values in (("reward", rewards), *(("observation", part) for part in parts)):
        if values.dtype.kind != "f" or numpy.isfinite(values).all():
            continue
        rows = ~numpy.isfinite(values).reshape(len(failed), -1).all(-1)
        values[rows] = 0
        spoilt, why = spoilt | (rows & ~failed), f"{article(what)} that is not finite"
    return spoilt, why


def check_one_each(count: int, rewards: Any, ended: Any) -> None:
    """Refuse rewards or ends of which there is not one for each of `count` games.

    Raises:
        ValueError: names the shape.
    """
    for what, values in (("rewards", rewards), ("ends of episodes", ended)):
        if values.shape != (count,):
            raise ValueError(f"{what} of shape {list(values.shape)}, expected {[count]}")


def check_playable(space: Space[Any], count: int, observations: Any, rewards: Any = ()) -> None:
    """Refuse what no agent can learn from.

    Raises:
        ValueError: a number that is not finite, or another shape than the space's.
    """
    named = isinstance(observations, Mapping)
    parts = observations if named else {"": observations}
    spaces = space.spaces if isinstance(space, Dict) else {"": space}
    for name, values in parts.items():
        declared = (count, *(spaces[name].shape or ()))
        if values.shape != declared:
            raise ValueError(
                f"observations of shape {list(values.shape)}, declared {list(declared)}"
            )
        first, last = whole_numbers(spaces[name])
        if first is not None and ((values < first) | (values > last)).any():
            lowest, highest = values.min(), values.max()
            raise ValueError(
                f"an observation of {lowest:g} to {highest:g}, declared {spaces[name]}"
            )
    checked = [("observation", part) for part in parts.values()]
    for what, values in (("reward", numpy.asarray(rewards)), *checked):
        if values.dtype.kind == "f" and not numpy.isfinite(values).all():
            raise ValueError(f"{article(what)} that is not finite")


def whole_numbers(space: Space[Any]) -> tuple[Any, Any]:
    """The lowest and the highest of whole numbers that are read one by one; None for other spaces."""
    if isinstance(space, Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return None, None


def article(what: str) -> str:
    return f"{'an' if what[0] == 'o' else 'a'} {what}"
