"""diffobj plugins: list what is installed, a line each: plugins, what they bring by group, experiments

In Python: `framework.plugins`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.capabilities import declared_by
from framework.commands.main import keyed
from framework.config.composition import config_options
from framework.errors import UserError
from framework.plugin import Component, registry


@dataclass(frozen=True)
class Installed:
    """What is installed, by name with a line each; printed, it is what `diffobj plugins` prints.

    Attributes:
        plugins: the core and every plugin; a broken one says why.
        components: by group: `components["tasks"]["javelin"]`.
        serves: what each estimator can serve, at which bias and price.
        experiments: what `experiment=` takes.
        broken: the names of the plugins that could not be read.
    """

    plugins: Mapping[str, str]
    components: Mapping[str, Mapping[str, str]]
    serves: Mapping[str, str]
    experiments: Mapping[str, str]
    broken: tuple[str, ...] = ()

    def __str__(self) -> str:
        groups = {"plugins": self.plugins, **self.components}
        groups |= {"what estimators serve": self.serves, "experiments": self.experiments}
        return "\n\n".join(
            "\n".join([title, *(f"  {name:<24} {line}" for name, line in lines.items())])
            for title, lines in groups.items()
        )


def run(arguments: Sequence[str]) -> int:
    """Print the listing; returns 1 where a plugin is broken."""
    keyed(arguments, ())
    found = plugins()
    print(found)
    return 1 if found.broken else 0


def plugins() -> Installed:
    """The plugins that are installed, what they bring, and the experiments; no component is imported."""
    found = registry()
    experiments = sorted(config_options().get("experiment", {}).items())
    return Installed(
        {f.name: f.plugin.summary if f.plugin else f"BROKEN: {f.error}" for f in found.found},
        {
            group: {name: summary(found.components[group, name]) for name in found.names(group)}
            for group in found.groups
        },
        {component.name: serves(component) for component in found.group("estimators")},
        {name: first_comment(files[0]) for name, files in experiments},
        tuple(f.name for f in found.broken),
    )


def summary(owners: Sequence[Component]) -> str:
    """A component's line, or who else brings it."""
    if len(owners) == 1:
        return owners[0].summary()
    named = " and ".join(f"plugin '{owner.plugin}'" for owner in owners)
    return f"CONFLICT: {named} both bring it"


def serves(component: Component) -> str:
    """What an estimator declares: what it serves, at which bias and price."""
    try:
        declared = declared_by(component)
    except UserError as error:
        return f"BROKEN: {error}"
    if declared is None:
        return "(declares no capabilities)"
    return f"{declared.description()}; biased: {declared.bias_in_words()}; {declared.evaluations}"


def first_comment(file: Path) -> str:
    """The first comment of a YAML file that is no directive: the option's one-line description."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line[2:]
    return ""
