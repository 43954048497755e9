"""The main agents of earlier runs, as players: `run:FOLDER`."""

from __future__ import annotations

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
    names: list[str], rules: Rules, option: str, *, game: Any, memory: tuple[int, int] | None
) -> dict[str, Opponent]:
    """Players by what the user calls them; the main agent of a run by its folder's name.

    Args:
        option: that names them.
        game, memory: of the league that they play in.

    Raises:
        UserError: an unknown name, or a run that does not fit.
    """
    found: dict[str, Opponent] = {}
    for name in names:
        if name.startswith(RUN):
            folder = Path(name.removeprefix(RUN)).expanduser()
            found[folder.resolve().name] = trained(folder, option, game=game, memory=memory)
        else:
            found[name] = named_player(name, rules, option)
    return found


def trained(folder: Path, option: str, *, game: Any, memory: tuple[int, int] | None) -> Opponent:
    """The main agent of an earlier run, as it was at the end.

    Raises:
        UserError: the run is of another game, or of agents with another memory.
    """
    from plugins.league.task import League

    task = load(folder, checkpoint="last").task
    label = f"{option} = '{RUN}{folder}'"
    if not isinstance(task, League) or task.game != game:
        name = game if isinstance(game, str) else game.__name__
        raise UserError(f"{label}: expected a run of the game '{name}'")
    if task.memory_shape != memory:
        raise UserError(f"{label}: expected agents with the same task.memory and task.memory_width")
    return AgentPlayer(frozen(task.agent(MAIN)))
