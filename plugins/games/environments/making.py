"""From a name in the configuration to games: registered ones, Atari's, else gymnasium's."""

from __future__ import annotations

from typing import cast

import torch

from framework.errors import UserError, suggestion
from framework.plugin import registry
from plugins.games.environments import atari
from plugins.games.environments.games import Games
from plugins.games.environments.gymnasium_games import GymnasiumGames


def make_games(
    environment: str,
    count: int,
    device: torch.device | str = "cpu",
    *,
    rendered: bool = False,
    processes: bool = False,
    window: bool = False,
    repeat_action_probability: float = 0.0,
) -> Games:
    """`count` games.

    Args:
        environment: a registered name such as `cart_pole`, or gymnasium's such as `CartPole-v1` or `ALE/Pong-v5`.
        rendered: frames of the first game can be rendered.
        processes: each of gymnasium's games in a process of its own.
        window: the single game shows itself in a window; gymnasium's games only.
        repeat_action_probability: how likely a frame repeats the last action instead; Atari's games only.

    Raises:
        UserError: an unknown environment, one whose package is missing, or an option that it does not have.
    """
    registered = registry().names("games.environments")
    if repeat_action_probability and not environment.startswith(atari.PREFIX):
        raise UserError(
            f"task.repeat_action_probability = {repeat_action_probability:g}: environment '{environment}' has no sticky"
            " actions, Atari's games have"
        )
    if environment in registered:
        refuse_window(environment, window)
        return cast(
            Games, registry().component("games.environments", environment).load()(count, device)
        )
    if environment.isidentifier() and environment.islower():
        raise UserError(
            f"task.environment = '{environment}': unknown; {suggestion(environment, registered)}"
        )
    if environment.startswith(atari.PREFIX):
        refuse_window(environment, window)
        return atari.AtariGames(
            environment,
            count,
            device,
            rendered=rendered,
            repeat_action_probability=repeat_action_probability,
        )
    return GymnasiumGames(
        environment, count, device, rendered=rendered, processes=processes, window=window
    )


def refuse_window(environment: str, window: bool) -> None:
    if window:
        raise UserError(
            f"task.window = true: environment '{environment}' has no window; without it, the agent is filmed"
        )
