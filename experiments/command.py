"""What all commands of this folder have in common: `--help` prints their page, and what they do not take is refused."""

from __future__ import annotations

import sys


def given_arguments(page: str | None, *, most: int | None = None) -> list[str]:
    """The arguments that the command was given.

    Args:
        page: the module's docstring.
        most: how many it takes; None: any number.

    Raises:
        SystemExit: after `--help`; with a line that names what is not taken.
    """
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print((page or "").strip())
        sys.exit(0)
    unknown = [argument for argument in given if argument.startswith("-")]
    if most is not None:
        unknown += given[most:]
    if unknown:
        takes = {None: "names", 0: "none", 1: "one at most"}.get(most, f"{most} at most")
        sys.exit(
            f"'{unknown[0]}': not an argument of this command, which takes {takes}; see --help"
        )
    return given
