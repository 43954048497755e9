"""The command `diffobj`: finds the verb, the core's or a plugin's, hands it the rest, reports a mistake in one line."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

from framework.commands.completion import FLAGS, complete
from framework.errors import UserError, suggestion
from framework.launch import MISTAKE, NeedsProcesses, launched, start, tell
from framework.plugin import Component, registry


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `diffobj VERB ...` and exit: 0 for done, 2 for a mistake the user can fix, 128+n for signal n."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in {"-h", "--help", "help"}:
        print(usage())
        sys.exit(0)
    try:
        if given[0] in FLAGS:
            sys.exit(complete(given))
        verb, rest = given[0], given[1:]
        command = registry().component("commands", verb)
        if verb != "train" and rest and rest[0] in {"-h", "--help"}:
            print(command.documentation())
            sys.exit(0)
        say_what_starts(verb, rest)
        sys.exit(command.load()(rest))
    except NeedsProcesses as error:
        start(error, given)
    except UserError as error:
        tell(error)
        sys.exit(MISTAKE)
    except KeyboardInterrupt as error:
        # A second signal while training, which knows its number; or Ctrl-C before or after it.
        sys.exit(128 + getattr(error, "number", signal.SIGINT))
    except BrokenPipeError:
        # The reader of our lines has gone: `diffobj plugins | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        tell(UserError(f"{error.filename or 'disk'}: {error.strerror}"))
        sys.exit(MISTAKE)


def say_what_starts(verb: str, rest: Sequence[str]) -> None:
    """A line at once from a training whose first one would otherwise come seconds later, with torch."""
    shows = any(a.startswith("-") and a not in {"-m", "--multirun"} for a in rest)
    silent = "monitor.progress=none" in rest or launched()
    if verb != "train" or shows or silent or "torch" in sys.modules:
        return
    chosen = [a for a in rest if a.startswith(("experiment=", "task=", "resume="))]
    named = " ".join(["diffobj train", *chosen])
    print(f"{named}: reading the configuration, loading torch", flush=True)


def usage() -> str:
    """Every command with a line: the core's in its own order, then the plugins'."""
    lines = [
        "diffobj: differentiate your objective, by whichever gradient estimator you name.",
        "",
        "Usage: diffobj VERB [key=value ...]",
        "",
    ]
    for owners in commands():
        lines.append(f"  {owners[0].name:<12} {owners[0].summary()}")
    lines += ["", "diffobj VERB --help explains a command."]
    return "\n".join(lines)


def commands() -> list[tuple[Component, ...]]:
    """The owners of each command, in the order of the manifests."""
    return [owners for (group, _), owners in registry().components.items() if group == "commands"]


def keyed(arguments: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """`key=value` arguments as a mapping.

    Raises:
        UserError: something else, or a key that the verb does not know.
    """
    values = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            keys = f"expected key=value with a key of {', '.join(known)}"
            raise UserError(f"'{argument}': {keys if known else 'no argument is expected'}")
        if key not in known:
            raise UserError(f"unknown key '{key}'; {suggestion(key, known)}")
        values[key] = value
    return values


if __name__ == "__main__":
    main()
