"""Plugins: the manifest, where manifests are found, and the way from a (group, name) to a component.

A plugin is a package whose `__init__.py` holds `plugin = Plugin(name=..., summary=..., tasks={...})`. Names map to
import strings `"package.module:attribute"` that are imported only when a configuration names them, so listing is
fast and nothing registers by side effect. Plugins are found in the folder `plugins/` beside the framework and
through the entry-point group `framework.plugins`.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
import io
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from framework.errors import UserError, suggestion

CORE_GROUPS = ("commands", "tasks", "estimators", "rules", "optimizers", "schedulers")
ENTRY_POINTS = "framework.plugins"
# Seconds of importing a manifest from which on its plugin is named: each command waits for all manifests.
SLOW = 3.0
ROOT = Path(__file__).resolve().parent.parent


class Plugin:
    """A plugin's manifest.

    Args:
        name: the plugin's name, equal to its folder's.
        summary: one line for `diffobj plugins`.
        renamed: options that were called otherwise before, by component: `{"tasks.javelin": {"old": "new"}}`; an option
            of a section is written with dots. Configurations with an old name are refused in one line with the new one.
        needs: the packages of optional extras that a component cannot do without, by component: `{"tasks.javelin":
            "plugins.javelin.needs:needs"}`, a function of the component's options that yields `framework.extras.Need`.
            It is asked before anything heavy is imported, and imports nothing heavy itself.
        groups: for each group what the plugin brings: `tasks={"javelin": "plugins.javelin.task:Javelin"}`. A group
            that is not one of `CORE_GROUPS` is the plugin's own and carries its name: `losses` of plugin `faces` is
            "faces.losses" in the registry; another plugin extends it by `**{"faces.losses": {...}}`. A command is a
            function of the arguments after its name, which returns the exit status.

    Raises:
        UserError: a misspelt group of the core's, or a target that is not `"package.module:attribute"`.
    """

    def __init__(
        self,
        *,
        name: str,
        summary: str,
        renamed: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        needs: Mapping[str, str] = MappingProxyType({}),
        **groups: Mapping[str, str],
    ) -> None:
        if not (isinstance(name, str) and isinstance(summary, str)):
            raise UserError(f"plugin {name!r}: expected a name and a summary in words")
        for group, targets in groups.items():
            refuse_misspelt(name, group)
            for component, target in targets.items():
                module, _, attribute = (
                    target.partition(":") if isinstance(target, str) else ("",) * 3
                )
                if not (module and attribute and isinstance(component, str)):
                    raise UserError(
                        f"plugin '{name}': {group}.{component} = {target!r}; expected 'package.module:attribute'"
                    )
        self.name = name
        self.summary = summary
        self.renamed = renamed
        self.needs = needs
        self.groups: Mapping[str, Mapping[str, str]] = MappingProxyType(
            {
                scoped(name, group): MappingProxyType(dict(targets))
                for group, targets in groups.items()
            }
        )

    def __repr__(self) -> str:
        return f"Plugin(name={self.name!r})"


def scoped(plugin: str, group: str) -> str:
    """A group's name in the registry: the core's have no scope, others that of the plugin that brings them."""
    return group if group in CORE_GROUPS or "." in group else f"{plugin}.{group}"


def refuse_misspelt(plugin: str, group: str) -> None:
    """Refuse a group that is nearly one of the core's; `PLUGIN.GROUP` is not looked at.

    Raises:
        UserError: names the group that was meant.
    """
    if group not in CORE_GROUPS and difflib.get_close_matches(group, CORE_GROUPS, cutoff=0.8):
        raise UserError(
            f"plugin '{plugin}': unknown group '{group}'; {suggestion(group, CORE_GROUPS)}"
        )


@dataclass(frozen=True, kw_only=True)
class Component:
    """One registered thing: what it is called, where its code is and who brought it."""

    group: str
    name: str
    target: str
    plugin: str

    def load(self) -> Any:
        """Import the component's module and return the class or function.

        Raises:
            UserError: the module or a package it needs is missing, or it has no such attribute.
        """
        module_name, _, attribute = self.target.partition(":")
        label = f"{self.group} '{self.name}' of plugin '{self.plugin}'"
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if f"{module_name}.".startswith(f"{error.name}."):
                raise UserError(f"{label}: there is no module '{error.name}'") from None
            raise UserError(f"{label} needs the package '{error.name}', not installed") from error
        if not hasattr(module, attribute):
            raise UserError(f"{label}: '{module_name}' has no '{attribute}'")
        return getattr(module, attribute)

    def documentation(self) -> str:
        """The component's docstring, a command's being its module's, read from the source without importing it."""
        documented = self._source() if self.group == "commands" else self._definition()
        if documented is None:
            return "(its source cannot be read)"
        return ast.get_docstring(documented) or ""

    def summary(self) -> str:
        """One line of documentation, without the name that a command's begins with."""
        line = self.documentation().partition("\n")[0]
        return line.removeprefix(f"diffobj {self.name}: ") if self.group == "commands" else line

    def options(self) -> list[str] | None:
        """The names of the component's keyword-only arguments, read likewise; None where they are not to be seen."""
        definition = self._definition()
        if isinstance(definition, ast.ClassDef):
            inits = [n for n in definition.body if isinstance(n, ast.FunctionDef)]
            definition = next((n for n in inits if n.name == "__init__"), None)
        return [a.arg for a in definition.args.kwonlyargs] if definition else None

    def decoration(self, name: str) -> dict[str, Any] | None:
        """The keyword arguments of the component's decorator `@name(...)`, read likewise; None where it has none.

        Raises:
            UserError: an argument that is not a literal.
        """
        definition = self._definition()
        for decorator in definition.decorator_list if definition else []:
            if isinstance(decorator, ast.Call) and called(decorator) == name:
                try:
                    return {k.arg or "**": ast.literal_eval(k.value) for k in decorator.keywords}
                except ValueError:
                    label = f"{singular(self.group)} '{self.name}'"
                    raise UserError(f"{label}: @{name}(...) takes literals only") from None
        return None

    def _definition(self) -> ast.ClassDef | ast.FunctionDef | None:
        tree, attribute = self._source(), self.target.partition(":")[2]
        for node in tree.body if tree else []:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == attribute:
                return node
        return None

    def _source(self) -> ast.Module | None:
        try:
            spec = importlib.util.find_spec(self.target.partition(":")[0])
            if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
                return None
            return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
        except Exception:
            # A plugin's mistake, which loading the component reports.
            return None


def called(call: ast.Call) -> str:
    """The last name of what is called: `B` of `a.B(...)`."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def singular(group: str) -> str:
    """What one thing of a group is called: `loss` of "faces.losses"."""
    word = group.rpartition(".")[2]
    for ending, one in (("ies", "y"), ("sses", "ss"), ("s", "")):
        if word.endswith(ending):
            return word.removesuffix(ending) + one
    return word


@dataclass(frozen=True, kw_only=True)
class Found:
    """A plugin that was found: its manifest, or why it could not be read."""

    name: str
    origin: str
    folder: Path | None = None
    plugin: Plugin | None = None
    error: str = ""

    @property
    def configs(self) -> Path | None:
        """The folder of YAML that joins Hydra's search path, where the plugin has one."""
        return self._subfolder("configs")

    @property
    def scripts(self) -> Path | None:
        """The folder of templates for `diffobj script`, where the plugin has one."""
        return self._subfolder("scripts")

    def _subfolder(self, name: str) -> Path | None:
        folder = self.folder / name if self.folder else None
        return folder if folder and folder.is_dir() else None


@dataclass(frozen=True)
class Registry:
    """Everything that is installed: the plugins that were found and the components they bring."""

    found: tuple[Found, ...]
    components: Mapping[tuple[str, str], tuple[Component, ...]] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[Found, ...]:
        return tuple(found for found in self.found if found.error)

    @property
    def groups(self) -> list[str]:
        """The groups that hold anything, the core's first."""
        held = dict.fromkeys(group for group, _ in self.components)
        return [*(g for g in CORE_GROUPS if g in held), *(g for g in held if g not in CORE_GROUPS)]

    def group(self, group: str) -> list[Component]:
        """The components of a group in the order of the manifests; those with two owners are left out."""
        owned = [owners for (of, _), owners in self.components.items() if of == group]
        return [owners[0] for owners in owned if len(owners) == 1]

    def names(self, group: str) -> list[str]:
        return sorted(name for owner, name in self.components if owner == group)

    def renamed(self, component: Component) -> Mapping[str, str]:
        """The options of a component that were called otherwise before: {old name: name now}."""
        renamed: dict[str, str] = {}
        for found in self.found:
            if found.plugin is not None and found.name == component.plugin:
                renamed |= found.plugin.renamed.get(f"{component.group}.{component.name}", {})
        return renamed

    def needs(self, component: Component) -> Component | None:
        """What says which packages a component needs, by its plugin's manifest; None where nothing does."""
        for found in self.found:
            plugin = found.plugin if found.name == component.plugin else None
            target = plugin and plugin.needs.get(f"{component.group}.{component.name}")
            if target:
                return replace(component, target=target)
        return None

    def component(self, group: str, name: str) -> Component:
        """The one component called `name` in `group`.

        Raises:
            UserError: no plugin has it (the nearest name is given), or two plugins do (both are named).
        """
        if not isinstance(name, str):
            raise UserError(f"{singular(group)} = {name!r}: expected a name as text")
        owners = self.components.get((group, name), ())
        if len(owners) == 1:
            return owners[0]
        if owners:
            named = " and ".join(f"plugin '{c.plugin}' ({c.target})" for c in owners)
            raise UserError(f"{group} '{name}' has two owners: {named}; rename one")
        broken = "".join(f"; plugin '{b.name}' is broken: {b.error}" for b in self.broken)
        hint = suggestion(name, self.names(group))
        raise UserError(f"unknown {singular(group)} '{name}'; {hint}{broken}")


@cache
def registry() -> Registry:
    """All plugins of this installation, found once per process."""
    core = _read("framework", "framework.builtin", "plugin")
    searched = {(f.origin, f.name): f for f in _search()}  # installed twice, a plugin is found once
    found = (core, *sorted(searched.values(), key=lambda f: f.name))
    return register(tuple(f if f is core else without_core_commands(f, core) for f in found))


def without_core_commands(found: Found, core: Found) -> Found:
    """A plugin as it was found; as broken, where it brings a command of the core's: that one must go on working."""
    if found.plugin is None or core.plugin is None:
        return found
    own = core.plugin.groups.get("commands", {})
    taken = [name for name in found.plugin.groups.get("commands", {}) if name in own]
    if not taken:
        return found
    error = f"UserError: command '{taken[0]}' is the core's; rename it"
    return Found(name=found.name, origin=found.origin, error=error)


def register(found: tuple[Found, ...]) -> Registry:
    """The registry of the given plugins; a name with several owners keeps them all, to be named when asked for."""
    components: dict[tuple[str, str], tuple[Component, ...]] = {}
    for plugin in (f.plugin for f in found if f.plugin):
        for group, targets in plugin.groups.items():
            for name, target in targets.items():
                component = Component(group=group, name=name, target=target, plugin=plugin.name)
                components[group, name] = (*components.get((group, name), ()), component)
    return Registry(found, components)


def _search() -> Iterator[Found]:
    folder = ROOT / "plugins"
    for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (entry / "__init__.py").is_file():
            yield _read(entry.name, f"plugins.{entry.name}", "plugin")
    for point in entry_points(group=ENTRY_POINTS):
        yield _read_entry_point(point)


def _read_entry_point(point: EntryPoint) -> Found:
    if not EntryPoint.pattern.match(point.value):
        error = f"entry point {point.value!r}: expected 'package' or 'package:attribute'"
        return Found(name=point.name, origin=point.value, error=error)
    return _read(point.name, point.module, point.attr or "plugin")


def _read(name: str, module_name: str, attribute: str) -> Found:
    """Import one manifest. Whatever is wrong with it stays with it: the others still work.

    What it prints would be part of every command's output: its first line goes to stderr, with the plugin's name.
    """
    printed = io.StringIO()
    began = time.perf_counter()
    try:
        if module_name.startswith("plugins."):
            _own_plugins_package()
        with redirect_stdout(printed):
            module = importlib.import_module(module_name)
        plugin = getattr(module, attribute, None)
        if not isinstance(plugin, Plugin):
            raise UserError(f"'{module_name}' has no `{attribute} = Plugin(...)`")
    except KeyboardInterrupt:
        raise
    # SystemExit, too, and whatever else is no Exception.
    except BaseException as error:
        reason = str(error).partition("\n")[0]
        return Found(name=name, origin=module_name, error=f"{type(error).__name__}: {reason}")
    finally:
        if text := printed.getvalue().strip():
            line = text.partition("\n")[0]
            print(f"plugin '{name}' prints when it is found: {line}", file=sys.stderr)
        if (seconds := time.perf_counter() - began) > SLOW:
            slow = f"plugin '{name}' takes {seconds:.1f} s to be found, with every command"
            print(f"{slow}: let its manifest name targets, not import them", file=sys.stderr)
    return Found(name=plugin.name, origin=module_name, folder=_folder(module), plugin=plugin)


def _folder(module: ModuleType) -> Path | None:
    return Path(module.__file__).parent if module.__file__ else None


def _own_plugins_package() -> None:
    """Let `plugins.NAME` be found in the folder beside the framework, whoever else has a package `plugins`.

    No `plugins/__init__.py` is run: the one on the path may be another package's, or may have gone with it.
    """
    own = ROOT / "plugins"
    package = sys.modules.get("plugins")
    if package is None:
        package = sys.modules["plugins"] = ModuleType("plugins")
        package.__spec__ = ModuleSpec("plugins", None, is_package=True)
        package.__path__ = [str(own)]
        return
    # Another's, imported before: its own modules are still found.
    places = [str(place) for place in getattr(package, "__path__", ())]
    if own not in map(Path, places):
        package.__path__ = [str(own), *places]
