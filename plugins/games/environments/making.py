"""From a name in the configuration to games: the house's own by their registered name, else gymnasium's."""

from __future__ import annotations

from typing import cast

import torch

from framework.errors import UserError, suggestion
from framework.plugin import registry
from plugins.games.environments.games import Games
from plugins.games.environments.gymnasium_games import GymnasiumGames


def make_games(
    environment: str, count: int, device: torch.device | str = "cpu", *, drawn: bool = False
) -> Games:
    """`count` games.

    Args:
        environment: a registered name such as `cart_pole`, or gymnasium's such as `CartPole-v1`.
        drawn: they are to be filmed.

    Raises:
        UserError: an unknown environment, or one whose package is missing.
    """
    own = registry().names("environments")
    if environment in own:
        return cast(Games, registry().component("environments", environment).load()(count, device))
    if environment.isidentifier() and environment.islower():
        raise UserError(
            f"task.environment = '{environment}': unknown; {suggestion(environment, own)}"
        )
    return GymnasiumGames(environment, count, device, drawn)
