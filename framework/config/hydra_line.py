"""Hydra's own command line: its flags, in any order among the overrides, and running it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.config.composition import (
    CORE_CONFIGS,
    config_options,
    hydra_errors_as_user_errors,
    join_search_path,
    lenient_overrides,
    name_experiment,
    refuse_conflicts,
    without_hydra,
)
from framework.config.hydra_section import refuse_flags
from framework.config.schema import Settings
from framework.config.tuning import drop_foreign_options
from framework.config.validation import validate
from framework.errors import UserError, suggestion

FULL_ERROR = "HYDRA_FULL_ERROR"
SWEEPING = {"-m", "--multirun"}
COMPLETION = {"-sc", "--shell-completion"}
# Flags with which nothing is trained.
SHOWING = {"-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", *COMPLETION}
SWEEP_MODES = {"hydra.mode=MULTIRUN", "hydra.mode=RunMode.MULTIRUN"}


@dataclass(frozen=True)
class HydraLine:
    """A command line, taken apart.

    Attributes:
        flags: Hydra's flags, each followed by its value where it takes one.
        overrides: the rest, "group=option" and "key=value".
    """

    flags: list[str]
    overrides: list[str]

    @classmethod
    def parse(cls, arguments: Sequence[str]) -> HydraLine:
        """Take a command line apart.

        Raises:
            UserError: a flag that is none of Hydra's, or one without its value.
        """
        if not any(a.startswith("-") or a in SWEEP_MODES for a in arguments):
            return cls([], list(arguments))
        from hydra._internal.utils import get_args_parser

        known = {name: a for a in get_args_parser()._actions for name in a.option_strings}
        flags: list[str] = []
        overrides: list[str] = []
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if argument in SWEEP_MODES:
                flags.append("-m")
                continue
            if not argument.startswith("-"):
                overrides.append(argument)
                continue
            name, equals, _ = argument.partition("=")
            if name not in known:
                raise UserError(unknown_flag(argument, known))
            flags.append(argument)
            action = known[name]
            takes_next = action.nargs is None or (
                action.nargs == "?" and rest[:1] and rest[0] in (action.choices or ())
            )
            if takes_next and not equals:
                if not rest:
                    raise UserError(f"'{argument}': a value is expected after it")
                flags.append(rest.pop(0))
        return cls(flags, overrides)

    @property
    def own_folders(self) -> list[Path]:
        """The folders of options that `--config-dir` names."""
        pairs = zip(self.flags, [*self.flags[1:], ""], strict=False)
        named = [flag.partition("=")[2] or value for flag, value in pairs if is_config_dir(flag)]
        return [Path(name) for name in named]

    @property
    def sweeps(self) -> bool:
        """Whether it runs a sweep; it may also only show what one would be."""
        shown = [flag for flag in self.flags if flag.partition("=")[0] in SHOWING]
        return bool(SWEEPING.intersection(self.flags)) and not shown


def is_config_dir(flag: str) -> bool:
    return flag.partition("=")[0] in {"--config-dir", "-cd"}


def unknown_flag(argument: str, known: Any) -> str:
    """What to write in place of a flag that there is not."""
    name, equals, value = argument.partition("=")
    key = name.lstrip("-")
    if key in config_options() and not equals:
        return f"'{argument}': settings have no dashes; write {key}=NAME"
    if equals and ("." in key or key in {"seed", "input", *config_options()}):
        return f"'{argument}': settings have no dashes; write {key}={value}"
    return f"'{argument}': unknown; {suggestion(name, known)}"


def run_hydra(line: HydraLine, job: Callable[[Any], Any]) -> int:
    """Let Hydra act on a command line; returns the exit status.

    Raises:
        UserError: a mistake, in one line.
    """
    import hydra

    from framework.config.checked_loader import checked_loading

    refuse_flags(flag for flag in line.flags if flag.startswith("-"))
    join_search_path()
    # Shell completion has words of its own, such as install=bash.
    own = COMPLETION.intersection(line.flags)
    overrides = line.overrides if own else lenient_overrides(line.overrides)
    own_line = sys.argv
    # The shell completes the words of the program `diffobj`.
    sys.argv = ["diffobj" if own else "diffobj train", *line.flags, *overrides]
    # Otherwise Hydra prints its errors itself, in several lines.
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        with hydra_errors_as_user_errors(), checked_loading():
            hydra.main(config_path=str(CORE_CONFIGS), config_name="train", version_base="1.3")(
                job
            )()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = own_line
        os.environ.pop(FULL_ERROR)
        if before is not None:
            os.environ[FULL_ERROR] = before
    return 0


def settings_of_job(config: Any, hydra: Any) -> tuple[Any, Settings]:
    """The experiment's part of what Hydra has composed for a job, and its settings.

    Raises:
        UserError: a mistake in them.
    """
    choices = hydra.runtime.choices
    refuse_conflicts(choices)
    name_experiment(config, choices)
    plain = without_hydra(config)
    drop_foreign_options(plain, choices, hydra.overrides.task, config_options())
    return plain, validate(plain)
