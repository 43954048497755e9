"""diffobj script: print a training as one file of torch: diffobj script experiment=cartpole estimator=ppo > ppo.py

    diffobj script experiment=NAME estimator=NAME [key=value ...]

The file needs torch, NumPy and gymnasium at most, shows the mathematics in plain sight, and its optimiser steps leave
the same bits in the parameters as those of `diffobj train` with the same settings on a CPU. A setting that the file
does not have is refused. In Python: `framework.script`.

A plugin brings scripts as templates, `scripts/EXPERIMENT/ESTIMATOR.py.txt` in its folder. A template is the file to be
printed, with `${trainer.steps}` where a setting's value belongs and `$$` for a dollar sign. It honours the settings
that it names; all others are part of its text and must be as the experiment has them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from framework.config.schema import Settings
from framework.config.validation import COMPONENT_GROUPS, check_options
from framework.errors import UserError
from framework.plugin import registry
from framework.run import check_arguments, compose

# A script is read and run anywhere, so it is written for a CPU.
DEVICE = "trainer.device=cpu"


class Script(Template):
    """A template whose names are keys of the configuration, dots included."""

    braceidpattern = r"[a-z_][a-z0-9_.]*"


def run(arguments: Sequence[str]) -> int:
    """Print the script."""
    print(script(overrides=arguments), end="")
    return 0


def script(
    experiment: str | None = None, *, estimator: str | None = None, overrides: Sequence[str] = ()
) -> str:
    """The source of a script of torch that trains as the settings say.

    Args:
        experiment: an experiment's name; None: the default.
        estimator: by registered name; None: the experiment's.
        overrides: "key=value", as on the command line.

    Raises:
        UserError: there is no script of the experiment with the estimator, or it does not honour a setting.
    """
    check_arguments(overrides)
    chosen = {"experiment": experiment, "estimator": estimator}
    overrides = [
        *(f"{key}={value}" for key, value in chosen.items() if value is not None),
        *overrides,
    ]
    for override in overrides:
        if override.startswith(("-", "hydra.", "resume=")):
            raise UserError(
                f"'{override}': a script is one training without a run folder; only settings can be changed"
            )
    settings = compose(DEVICE, *overrides)
    experiment, estimator = settings.experiment, settings.estimator.name
    path = find_template(experiment, estimator)
    template = Script(path.read_text(encoding="utf-8"))
    honoured = sorted(template.get_identifiers())
    given = flat(settings)
    expected = flat(compose(DEVICE, f"experiment={experiment}", f"estimator={estimator}"))
    if changed := [key for key in given if given[key] != expected.get(key)]:
        refuse_other(changed, honoured, given, f"{experiment} with {estimator}")
    if unknown := [key for key in honoured if key not in given]:
        raise UserError(f"{path}: there is no setting '{unknown[0]}'")
    return template.substitute({key: literal(given[key]) for key in honoured})


def refuse_other(
    changed: Sequence[str], honoured: Sequence[str], given: Mapping[str, Any], pair: str
) -> None:
    """Refuse changed settings that a script does not honour.

    Raises:
        UserError: names them, and those that it honours.
    """
    if refused := [f"{key} = {literal(given[key])}" for key in changed if key not in honoured]:
        raise UserError(
            f"{', '.join(refused)}: not honoured by the script of {pair}, which honours {', '.join(honoured)}"
        )


def find_template(experiment: str, estimator: str) -> Path:
    """The template of an experiment with an estimator.

    Raises:
        UserError: no plugin brings it; names those that there are.
    """
    known = dict(templates())
    if (experiment, estimator) in known:
        return known[experiment, estimator]
    pairs = ", ".join(f"{name} with {other}" for name, other in sorted(known))
    raise UserError(f"there is no script of {experiment} with {estimator}; there is: {pairs}")


def templates() -> Iterator[tuple[tuple[str, str], Path]]:
    """The plugins' templates, by experiment and estimator."""
    for found in registry().found:
        for path in sorted(found.scripts.glob("*/*.py.txt")) if found.scripts else []:
            yield (path.parent.name, path.name.removesuffix(".py.txt")), path


def flat(settings: Settings) -> dict[str, Any]:
    """Every setting by its dotted key, a component's options checked and converted by its signature."""
    plain = settings.model_dump()
    for key, group in COMPONENT_GROUPS.items():
        choice = getattr(settings, key)
        factory = registry().component(group, choice.name).load()
        plain[key] |= check_options(factory, choice.options, key)
    return dict(leaves(plain))


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, each with its dotted key."""
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def literal(value: Any) -> str:
    """A setting as Python source."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
