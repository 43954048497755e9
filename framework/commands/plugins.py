"""diffobj plugins: list what is installed, a line each: plugins, what they bring by group, experiments"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.capabilities import declared_by
from framework.commands.main import keyed
from framework.config.composition import config_options
from framework.errors import UserError
from framework.plugin import Component, registry


def run(arguments: Sequence[str]) -> int:
    """Print the listing; returns 1 where a plugin is broken."""
    keyed(arguments, ())
    found = registry()
    print("plugins")
    for plugin in found.found:
        summary = plugin.plugin.summary if plugin.plugin else f"BROKEN: {plugin.error}"
        print(f"  {plugin.name:<24} {summary}")
    for group in found.groups:
        print(f"\n{group}")
        for name in found.names(group):
            owners = found.components[group, name]
            conflict = len(owners) > 1
            named = " and ".join(f"plugin '{owner.plugin}'" for owner in owners)
            text = f"CONFLICT: {named} both bring it" if conflict else owners[0].summary()
            print(f"  {name:<24} {text}")
    print("\nwhat estimators serve")
    for component in found.group("estimators"):
        print(f"  {component.name:<24} {serves(component)}")
    print("\nexperiments")
    for name, files in sorted(config_options().get("experiment", {}).items()):
        print(f"  {name:<24} {first_comment(files[0])}")
    return 1 if found.broken else 0


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
