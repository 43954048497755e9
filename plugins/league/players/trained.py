"""The main agents of earlier runs, as players: `run:FOLDER`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from framework import UserError, load
from plugins.league.league.learners import frozen
from plugins.league.league.population import MAIN
from plugins.league.opponents import AgentPlayer, Opponent
from plugins.league.players.naming import named_player
from plugins.league.rules.contract import Rules

# Before the folder of a run whose main agent is meant.
RUN = "run:"


def players_by_name(
    names: list[str],
    rules: Rules,
    option: str,
    *,
    game: Any,
    memory: tuple[int, int] | None,
    taken: Collection[str] = (),
) -> dict[str, Opponent]:
    """Players by what the user calls them; the main agent of a run by its folder's name.

    Args:
        option: that names them.
        game, memory: of the league that they play in.
        taken: the names of its learners, by which their snapshots are called, too.

    Raises:
        UserError: an unknown name, one that another player has, or a run that does not fit.
    """
    found: dict[str, Opponent] = {}
    for name in names:
        called = name
        if name.startswith(RUN):
            folder = Path(name.removeprefix(RUN)).expanduser()
            called = folder.resolve().name
            player = trained(folder, option, game=game, memory=memory)
        else:
            player = named_player(name, rules, option)
        if called in found or called.partition("-")[0] in taken:
            raise UserError(
                f"{option}: '{name}' would be called '{called}' as another player is; expected names that differ, "
                "such as those of copied run folders"
            )
        found[called] = player
    return found


def trained(folder: Path, option: str, *, game: Any, memory: tuple[int, int] | None) -> Opponent:
    """The main agent of an earlier run, as it was at the end.

    Raises:
        UserError: the run is of another game, or of agents with another memory.
    """
    from plugins.league.task import League

    label = f"{option} = '{RUN}{folder}'"
    try:
        task = load(folder, checkpoint="last").task
    except UserError as error:
        raise UserError(f"{label}: {error}") from None
    if not isinstance(task, League) or task.game != game:
        name = game if isinstance(game, str) else game.__name__
        raise UserError(f"{label}: expected a run of the game '{name}'")
    if task.memory_shape != memory:
        raise UserError(f"{label}: expected agents with the same task.memory and task.memory_width")
    return AgentPlayer(frozen(task.agent(MAIN)))
