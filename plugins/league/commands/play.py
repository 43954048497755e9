"""diffobj play: play against a trained agent: diffobj play run=RUN_FOLDER

    diffobj play run=RUN_FOLDER [side=first|second] [seed=N] [checkpoint=best|last] [port=8766]

Board games, poker and matrix games are played in the terminal: type a move, or q to leave; without seed=N
each match is dealt again. The strategy game is played
on a page of this machine, whose address is printed (port=0 takes any free one); Ctrl-C ends it.
In Python: `plugins.league.terminal.play`, with the rules and the player of the task that `framework.load` returns.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from framework.commands.run_arguments import load_run
from framework.errors import UserError

PORT = 8766


def run(arguments: Sequence[str]) -> int:
    """Play one match."""
    loaded, seed, options = load_run("play", arguments, known=("side", "port"))
    from plugins.league.rules.strategy.game import Strategy
    from plugins.league.task import League

    task = loaded.task
    if not isinstance(task, League):
        raise UserError(f"run '{loaded.folder}': it plays no game of two players")
    side = options.get("side", "first")
    if side not in ("first", "second"):
        raise UserError(f"side = '{side}': expected first or second")
    port = options.get("port", str(PORT))
    if not (port.isdecimal() and int(port) < 2**16):
        raise UserError(f"port = '{port}': expected a whole number from 0 to 65535")
    if not any(argument.startswith("seed=") for argument in arguments):
        # Other cards each time.
        seed = secrets.randbelow(2**31)
    rules, player = task.rules(1), task.sitting_down(seed)
    if isinstance(rules, Strategy):
        from plugins.league.play_page.server import PlayPage

        with PlayPage(rules, player, int(port)) as page:
            print(f"{page.url}  (on this machine only; Ctrl-C ends it)", flush=True)
            page.wait()
        return 0
    if "port" in options:
        raise UserError(f"port = '{port}': this game is played in the terminal and takes none")
    from plugins.league.terminal import play

    play(rules, player, ("first", "second").index(side), seed, memory=task.memory_shape)
    return 0
