"""From `task.game` to rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from framework.config.validation import check_options
from framework.errors import UserError, suggestion
from framework.plugin import registry
from plugins.league.rules.contract import Rules


def make_rules(
    game: Any,
    boards: int,
    device: torch.device | str = "cpu",
    options: Mapping[str, Any] | None = None,
) -> Rules:
    """Rules of `boards` boards, by their registered name or of a class of rules.

    Raises:
        UserError: an unknown game, or an option that it does not have.
    """
    kind = game
    if not (isinstance(game, type) and issubclass(game, Rules)):
        known = registry().names("league.games")
        if game not in known:
            raise UserError(f"task.game = '{game}': unknown; {suggestion(str(game), known)}")
        kind = registry().component("league.games", game).load()
    checked = check_options(kind, options or {}, "task.game_options")
    return cast(Rules, kind(boards, device, **checked))
