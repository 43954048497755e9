"""diffobj plugins: list what is installed: plugins, tasks, estimators and experiments, a line each"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.commands.main import keyed
from framework.config.composition import config_options
from framework.plugin import GROUPS, registry


def run(arguments: Sequence[str]) -> int:
    """Print the listing; returns 1 where a plugin is broken."""
    keyed(arguments, ())
    found = registry()
    print("plugins")
    for plugin in found.found:
        summary = plugin.plugin.summary if plugin.plugin else f"BROKEN: {plugin.error}"
        print(f"  {plugin.name:<24} {summary}")
    for group in GROUPS:
        if names := found.names(group):
            print(f"\n{group}")
        for name in names:
            owners = found.components[group, name]
            conflict = len(owners) > 1
            named = " and ".join(f"plugin '{owner.plugin}'" for owner in owners)
            text = f"CONFLICT: {named} both bring it" if conflict else owners[0].summary()
            print(f"  {name:<24} {text}")
    print("\nexperiments")
    for name, files in sorted(config_options().get("experiment", {}).items()):
        print(f"  {name:<24} {first_comment(files[0])}")
    return 1 if found.broken else 0


def first_comment(file: Path) -> str:
    """The first comment of a YAML file that is no directive: the option's one-line description."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# ") and not line.startswith("# @package"):
            return line[2:]
    return ""
