"""diffobj demo: a page on this machine to try the plugins on: diffobj demo

    diffobj demo [port=8765]

Prints an address of this machine; open it in a browser. Nobody else can reach the page, nothing is fetched from
elsewhere and no picture leaves the machine. Ctrl-C ends it. port=0 takes any free port.
In Python: `plugins.demo.server.Demo`.
"""

from __future__ import annotations

from collections.abc import Sequence

from framework.commands.main import keyed
from framework.errors import UserError

PORT = 8765


def run(arguments: Sequence[str]) -> int:
    """Serve the page until Ctrl-C."""
    from plugins.demo.server import Demo

    given = keyed(arguments, ("port",)).get("port", str(PORT))
    if not (given.isdecimal() and int(given) < 2**16):
        raise UserError(f"port = '{given}': expected a whole number from 0 to 65535")
    with Demo(int(given)) as demo:
        print(f"{demo.url}  (on this machine only; Ctrl-C ends it)", flush=True)
        demo.wait()
    return 0
