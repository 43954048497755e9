"""Shell completion of `diffobj`: the verbs are ours, what comes after `train` is Hydra's.

`eval "$(diffobj train -sc install=bash)"` (or zsh, with bashcompinit; `... install=fish | source`) has the shell call
`diffobj -sc query=SHELL` at each completion, with the line so far in COMP_LINE.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from framework.errors import UserError
from framework.plugin import registry

FLAGS = ("-sc", "--shell-completion")


def complete(arguments: Sequence[str]) -> int:
    """Print what the last word of COMP_LINE may become.

    Raises:
        UserError: it is asked for something else.
    """
    if [a.partition("=")[0] for a in arguments[1:]] != ["query"]:
        raise UserError('completion is installed by: eval "$(diffobj train -sc install=bash)"')
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    verb = words[1] if len(words) > 1 else ""
    if len(words) < 2 or (len(words) == 2 and not line[-1].isspace()):
        print("\n".join(v for v in registry().names("commands") if v.startswith(verb)))
    elif verb == "train":
        # Hydra knows of no verbs.
        os.environ["COMP_LINE"] = words[0] + line[line.index(verb) + len(verb) :]
        return int(registry().component("commands", verb).load()(list(arguments)))
    return 0
