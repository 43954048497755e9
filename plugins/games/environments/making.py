"""From a name in the configuration, or an object from Python, to games: in torch, Atari's or foreign ones."""

from __future__ import annotations

from typing import Any, cast

import torch

from framework.errors import UserError
from plugins.games.environments.arguments import checked_arguments
from plugins.games.environments.atari import AtariGames
from plugins.games.environments.foreign.games import ForeignGames
from plugins.games.environments.foreign.sources import source_of
from plugins.games.environments.foreign.vectors import VectorMaker
from plugins.games.environments.games import Games
from plugins.games.environments.naming import named
from plugins.games.environments.native.games import NativeGames
from plugins.games.environments.options import EnvironmentOptions


def make_games(
    environment: Any,
    count: int,
    device: torch.device | str = "cpu",
    *,
    rendered: bool = False,
    processes: bool = False,
    window: bool = False,
) -> Games:
    """`count` games.

    Args:
        environment: an environment and its options, or the environment alone as `EnvironmentOptions` describes it.
        rendered: frames of the first game can be rendered.
        processes: each of the games in a process of its own; foreign environments only.
        window: the single game shows itself in a window; foreign environments only.

    Raises:
        UserError: an unknown environment, one whose package is missing, or an option that it does not have.
    """
    options = environment
    if not isinstance(options, EnvironmentOptions):
        options = EnvironmentOptions(environment=environment)
    found = options.environment
    if isinstance(found, str):
        found = named(found, trust=options.trust)
    if isinstance(found, str):
        refuse_window_and_wrappers(options, window)
        return AtariGames(options, count, device, rendered=rendered)
    refuse_sticky_actions(options)
    if isinstance(found, type) and issubclass(found, Games):
        return in_torch(found, options, count, device, window=window)
    maker = VectorMaker(source_of(found, options.name), options, count, rendered, processes, window)
    return ForeignGames(
        options.name, maker, count, device, rendered=rendered, time_limit=maker.time_limit
    )


def is_in_torch(options: EnvironmentOptions) -> bool:
    """Whether the games are written in torch."""
    found = options.environment
    if isinstance(found, str):
        found = named(found, trust=options.trust)
    return isinstance(found, type) and issubclass(found, NativeGames)


def in_torch(
    kind: type[Games],
    options: EnvironmentOptions,
    count: int,
    device: torch.device | str,
    *,
    window: bool,
) -> Games:
    """Games of a class of their own, `kind(count, device, **arguments)`."""
    refuse_window_and_wrappers(options, window)
    arguments = checked_arguments(
        kind, options.arguments, "task.environment_options", reserved=("count", "device")
    )
    games = cast(Any, kind)(count, device, **arguments)
    games.time_limit = options.max_episode_steps or games.time_limit or options.longest_episode
    return cast(Games, games)


def refuse_window_and_wrappers(options: EnvironmentOptions, window: bool) -> None:
    """Refuse what only foreign environments have, one at a time.

    Raises:
        UserError: names the option.
    """
    if window:
        raise UserError(
            f"task.window = true: environment '{options.name}' has no window; without it, the agent is filmed"
        )
    if options.wrappers:
        raise UserError(
            f"task.wrappers = {list(options.wrappers)}: environment '{options.name}' is a vector, which takes none"
        )


def refuse_sticky_actions(options: EnvironmentOptions) -> None:
    """Refuse an option of Atari's.

    Raises:
        UserError: it was given.
    """
    if options.repeat_action_probability:
        raise UserError(
            f"task.repeat_action_probability = {options.repeat_action_probability:g}: environment '{options.name}' has "
            "no sticky actions, Atari's games have"
        )
