"""Two-player games: self-play, a league, and exact measures of how good it is."""

from framework.plugin import Plugin

plugin = Plugin(
    name="league",
    summary="Two-player zero-sum games learned by self-play and in a league, judged by exact measures.",
    tasks={
        "league": "plugins.league.task:League",
        "exact_league": "plugins.league.exact:ExactLeague",
    },
    commands={"play": "plugins.league.commands.play:run"},
    games={
        "kuhn": "plugins.league.rules.kuhn:Kuhn",
        "leduc": "plugins.league.rules.leduc:Leduc",
        "matrix": "plugins.league.rules.matrix:Matrix",
        "tic_tac_toe": "plugins.league.rules.tic_tac_toe:TicTacToe",
        "connect_four": "plugins.league.rules.connect_four:ConnectFour",
        "strategy": "plugins.league.rules.strategy.game:Strategy",
    },
    players={
        "rush": "plugins.league.rules.strategy.scripted:rush",
        "economy": "plugins.league.rules.strategy.scripted:economy",
    },
)
