"""Players by name: `random`, `minimax_2`, `tree_search_100`, and what plugins register as `league.players`."""

from __future__ import annotations

import re

from framework.errors import UserError, suggestion
from framework.plugin import registry
from plugins.league.opponents import Opponent, RandomPlayer
from plugins.league.players.minimax import Minimax, refuse_hidden
from plugins.league.players.tree_search import TreeSearch
from plugins.league.rules.contract import Rules

SEARCHES = {"minimax": Minimax, "tree_search": TreeSearch}
# A depth and simulations; more would take hours.
MOST = {"minimax": 8, "tree_search": 10_000}


def named_player(name: str, rules: Rules, option: str) -> Opponent:
    """The player that a name stands for.

    Raises:
        UserError: an unknown name, a number that is out of range, or a search where it cannot see the board.
    """
    if name == "random":
        return RandomPlayer()
    kind, _, number = name.rpartition("_")
    if kind in SEARCHES and re.fullmatch(r"\d+", number):
        if not 1 <= int(number) <= MOST[kind]:
            raise UserError(f"{option} = '{name}': expected {kind}_1 to {kind}_{MOST[kind]}")
        refuse_hidden(rules, name)
        search: Opponent = SEARCHES[kind](int(number))
        return search
    own = registry().names("league.players")
    if name in own:
        return registered(name, rules)
    served = [one for one in own if serves(one, rules)]
    searches = ["minimax_2", "tree_search_100"] if rules.perfect_information else []
    known = ["random", *searches, *served]
    raise UserError(f"{option} = '{name}': unknown; {suggestion(name, known)}")


def registered(name: str, rules: Rules) -> Opponent:
    """A player that a plugin brings.

    Raises:
        UserError: it plays another game.
    """
    player = registry().component("league.players", name).load()(rules)
    assert isinstance(player, Opponent)
    return player


def serves(name: str, rules: Rules) -> bool:
    """Whether a player that a plugin brings plays this game."""
    try:
        registered(name, rules)
    except UserError:
        return False
    return True
