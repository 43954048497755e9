"""From `task.game` to rules."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import torch

from framework.config.validation import check_options
from framework.errors import UserError, suggestion
from framework.plugin import registry
from plugins.league.rules.contract import Rules
from plugins.league.rules.trial import Trial

# Boards on which a user's own rules are tried.
TRIED = 4
# By what stands before the colon of a game's name.
LIBRARIES = {"openspiel": "OpenSpiel", "pettingzoo": "PettingZoo"}


def make_rules(
    game: Any,
    boards: int,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
) -> Rules:
    """Rules of `boards` boards, by their registered name, of another library's game, or of a class of rules.

    Raises:
        UserError: an unknown game, or an option that it does not have.
    """
    kind = game
    if isinstance(game, str) and ":" in game:
        return elsewhere(game, boards, device, options or {})
    if not (isinstance(game, type) and issubclass(game, Rules)):
        known = registry().names("league.games")
        if not isinstance(game, str):
            raise UserError(
                f"task.game: something of type {type(game).__name__} given; expected a name, or a class of Rules"
            )
        if game not in known:
            raise UserError(f"task.game = '{game}': unknown; {suggestion(game, known)}")
        kind = registry().component("league.games", game).load()
    checked = check_options(kind, options or {}, "task.game_options")
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise UserError(f"task.game = {kind.__name__}: its {', '.join(missing)} are not written")
    return cast(Rules, kind(boards, device, **checked))


def make_tried_rules(game: Any, options: Mapping[str, Any]) -> Rules:
    """Rules by which it is seen that they can be learned: those of the user's own are tried first.

    Raises:
        UserError: they are not as the contract says, or as `make_rules`.
    """
    if not isinstance(game, str):
        Trial(make_rules(game, TRIED, "cpu", options)).run()
    return make_rules(game, 1, "cpu", options)


def elsewhere(
    game: str, boards: int, device: torch.device | str, options: Mapping[str, Any]
) -> Rules:
    """Rules of a game that another library plays: `openspiel:tic_tac_toe`.

    Raises:
        UserError: another library, one that is not installed, or a game that cannot be learned here.
    """
    library, _, name = game.partition(":")
    if library not in LIBRARIES:
        near = suggestion(library, LIBRARIES)
        raise UserError(f"task.game = '{game}': of which library? {near}")
    kind = getattr(import_module(f"plugins.league.rules.{library}"), LIBRARIES[library])
    return cast(Rules, kind(boards, device, name, options))
