"""diffobj play: a person against a trained agent: diffobj play run=RUN_FOLDER

    diffobj play run=RUN_FOLDER|latest [checkpoint=best|last] [seed=N] [port=N]

Board and card games are played in the terminal, a choice a line; the strategy game on a page of this machine. Then it
prints an address; nobody else can reach the page, and nothing is fetched from elsewhere. port=N is where the page is
served, 0 any free port. Ctrl-C ends it.
In Python: `plugins.league.terminal.play` and `plugins.league.play_page.server.PlayPage`.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.commands.run_arguments import load_run
from framework.errors import UserError

PORT = 8766


def run(arguments: Sequence[str]) -> int:
    """Play until the person has enough."""
    loaded = load_run("play", arguments, ("port",))
    from plugins.league.rules.strategy.game import Strategy
    from plugins.league.task import League

    task = loaded.run.task
    if not isinstance(task, League):
        name = loaded.run.settings.task.name
        raise UserError(f"run: its task is '{name}', and only two-player games are played: league")
    rules = task.rules(1)
    if isinstance(rules, Strategy):
        from plugins.league.play_page.server import PlayPage

        with PlayPage(rules, task.main_player(), page_port(loaded.options)) as page:
            print(f"{page.url}  (on this machine only; Ctrl-C ends it)", flush=True)
            page.wait()
        return 0
    if "port" in loaded.options:
        raise UserError(f"port = '{loaded.options['port']}': {task.name} is played in the terminal")
    from plugins.league.terminal import play

    play(rules, task.main_player(), loaded.seed, memory=task.memory_shape)
    return 0


def page_port(options: dict[str, str]) -> int:
    """The port of the page.

    Raises:
        UserError: it is none.
    """
    given = options.get("port", str(PORT))
    if not (given.isdecimal() and int(given) < 2**16):
        raise UserError(f"port = '{given}': expected a whole number from 0 to 65535")
    return int(given)
