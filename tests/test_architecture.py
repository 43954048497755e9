"""The walls: who may import whom, what is public, and what must start without torch."""

import ast
import importlib
import inspect
import json
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import cast

import pytest

import framework
from framework.plugin import ROOT, registry
from tests.runs import python

PLUGINS = sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "__init__.py").is_file())
ALLOWED = {
    # A face is an object.
    ("faces", "detection"),
    # A match is a game.
    ("league", "games"),
}

# The framework's layers from the top to the ground: a module imports its own layer or one below.
LAYERS = (
    ("commands",),
    ("tuning",),
    ("sweeping",),
    ("run",),
    ("training",),
    ("given_task",),
    ("task",),
    ("perturbation",),
    ("gradients",),
    ("program", "relaxed"),
    ("lint",),
    ("recording",),
    ("config", "capabilities"),
    (
        "atomic",
        "memory",
        "builtin",
        "capture",
        "curve",
        "data",
        "extras",
        "media",
        "eager_optimizer",
        "local_page",
        "optimizer_state",
        "outside_state",
        "batch",
        "parameters",
        "photographs",
        "plugin",
        "randomness",
        "ranks",
        "shards",
        "shared_memory",
        "kernel_cache",
        "waiting",
        "replay",
        "saved_state",
        "sharding",
        "tensor_files",
    ),
    ("launch",),
    ("arguments",),
    ("errors",),
)

# What a plugin may import besides the names in `framework.__all__`.
PUBLIC = (
    "framework.atomic",
    "framework.arguments",
    "framework.batch",
    "framework.capabilities",
    "framework.capture",
    "framework.config.schema",
    "framework.config.types",
    "framework.config.validation.check_options",
    "framework.curve",
    "framework.data",
    "framework.errors",
    "framework.extras",
    "framework.kernel_cache",
    "framework.local_page",
    "framework.media",
    "framework.parameters",
    "framework.photographs",
    "framework.plugin",
    "framework.program",
    "framework.randomness",
    "framework.ranks",
    "framework.relaxed",
    "framework.replay",
    "framework.saved_state",
    "framework.task",
    "framework.waiting",
    "framework.tensor_files",
)
# What a plugin's commands may import, too.
PUBLIC_TO_COMMANDS = ("framework.commands", "framework.run")
EXCEPTIONS = {
    "plugins/detection/models/initial.py": "framework.training.checkpoints.checkpoint",
    "plugins/sketching/stochastic.py": "framework.gradients.enumeration.exact.Exact",
}


@cache
def imports(file: Path) -> tuple[str, ...]:
    """Every module that a file imports, wherever in it, as an absolute name."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return tuple(name for node in ast.walk(tree) for name in imported(node, file))


def imported(node: ast.AST, file: Path) -> Iterator[str]:
    """What one statement imports: modules, and the names taken from them."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
        module = ".".join(part for part in (base, node.module or "") if part)
        yield module
        yield from (f"{module}.{name.name}" for name in node.names)


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def offences(folder: str, *forbidden: str) -> list[str]:
    """`file: module` for each forbidden import below a folder."""
    return [
        f"{file.relative_to(ROOT)}: {module}"
        for file in modules(folder)
        for module in imports(file)
        if any(within(module, package) for package in forbidden)
    ]


def test_the_walls_are_looked_at():
    found = set(imports(ROOT / "plugins" / "javelin" / "task.py"))
    assert {
        "torch",
        "framework",
        "plugins.javelin.plot",
        "plugins.javelin.plot.throws_and_path",
    } <= found
    assert offences("plugins/javelin", "framework.plugin")


def test_the_framework_imports_no_plugin_no_experiment_and_no_test():
    assert offences("framework", "plugins", "experiments", "tests") == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_no_other_plugin_and_no_test(plugin):
    others = [
        f"plugins.{other}"
        for other in PLUGINS
        if other != plugin and (plugin, other) not in ALLOWED
    ]
    assert offences(f"plugins/{plugin}", "tests", "experiments", *others) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_manifest_imports_nothing_but_the_manifests_class(plugin):
    found = set(imports(ROOT / "plugins" / plugin / "__init__.py"))
    assert found == {"framework.plugin", "framework.plugin.Plugin"}


def dotted(file: Path) -> str:
    """A file's name as a module."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int | None:
    """The number of a module's layer, counted from the top; None for the package `framework` itself."""
    part = module.split(".")[1] if module.startswith("framework.") else ""
    return next((number for number, layer in enumerate(LAYERS) if part in layer), None)


def test_every_module_of_the_framework_has_a_layer():
    homeless = [m for m in map(dotted, modules("framework")) if layer_of(m) is None]
    assert homeless == ["framework"]


def test_no_import_of_the_framework_points_upwards():
    upward = []
    for file in modules("framework"):
        here = layer_of(dotted(file))
        for module in imports(file):
            there = layer_of(module)
            if here is not None and there is not None and there < here:
                upward.append(f"{file.relative_to(ROOT)}: {module}")
    assert upward == []


def test_the_lower_floors_know_nothing_of_the_upper_ones():
    above = [f"framework.{name}" for name in ("training", "commands", "run", "task")]
    assert offences("framework/gradients", *above) == []
    assert offences("framework/config", *above, "framework.gradients") == []
    assert offences("framework/training", "framework.commands", "framework.run") == []


def at_import(statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported: not those in functions or for type checkers only."""
    for statement in statements:
        typing_only = isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(
            statement.test
        )
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or typing_only:
            continue
        yield statement
        for block in ("body", "orelse", "finalbody", "handlers"):
            yield from at_import(getattr(statement, block, []))


@cache
def import_graph() -> dict[str, set[str]]:
    """Each module of the framework and the plugins with those that it imports when it is imported."""
    files = {dotted(file): file for folder in ("framework", "plugins") for file in modules(folder)}
    graph = {}
    for module, file in files.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {name for node in at_import(tree.body) for name in imported(node, file)}
        graph[module] = names & files.keys() - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The modules that import each other: strongly connected components of more than one (Tarjan 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in graph[module]:
            if other not in order:
                visit(other)
            if other in stack:
                lowest[module] = min(lowest[module], lowest[other])
        if lowest[module] == order[module]:
            place = stack.index(module)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_a_circle_is_detected():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert circles(graph) == [["b", "c"]]


def test_no_modules_import_each_other():
    assert len(import_graph()) > 150
    assert circles(import_graph()) == []


def test_the_front_door_lists_its_names_and_every_one_resolves():
    assert set(framework.__all__) <= set(dir(framework))
    for name in framework.__all__:
        assert getattr(framework, name) is not None
    assert sorted(framework.__all__) == framework.__all__


def private_imports(file: Path) -> list[str]:
    """The modules of the framework that a plugin's file imports although they are not public."""
    name = file.relative_to(ROOT).as_posix()
    public = [*PUBLIC, *(PUBLIC_TO_COMMANDS if "/commands/" in name else ())]
    public += [EXCEPTIONS[name]] if name in EXCEPTIONS else []
    return [
        module
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for module in names_taken(node, file)
        if module.startswith("framework.")
        and not public_name(module)
        and not any(within(module, allowed) for allowed in public)
    ]


def public_name(module: str) -> bool:
    """Whether it is one of `framework.__all__`, taken from the package or from where it is defined."""
    home, _, name = module.rpartition(".")
    return name in framework.__all__ and home in {"framework", framework._HOMES.get(name)}


def names_taken(node: ast.AST, file: Path) -> list[str]:
    """What a statement imports, a name taken from a module without the module itself."""
    names = list(imported(node, file))
    return names[1:] if isinstance(node, ast.ImportFrom) else names


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_only_what_is_public(plugin):
    private = {str(f.relative_to(ROOT)): private_imports(f) for f in modules(f"plugins/{plugin}")}
    assert {file: names for file, names in private.items() if names} == {}


def test_each_exception_is_needed():
    for file, module in EXCEPTIONS.items():
        assert any(within(name, module) for name in imports(ROOT / file)), file


def test_every_public_module_exists():
    for name in PUBLIC:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute) or importlib.import_module(name)


LIGHT = [
    ["--help"],
    ["plugins"],
    ["train", "--help"],
    ["evaluate", "--help"],
    ["tain"],
    ["train", "experimnt=javelin"],
    ["train", "experiment=javelyn"],
    ["train", "estimator=spsb"],
    ["train", "trainer.lr=oops"],
    ["train", "trainer.steps=-5"],
    ["train", "optimizer.learning_rate=.inf"],
    ["train", "optimizer.momentum=0.5"],
    ["train", "task.gamez=5"],
    ["train", "task._target_=os.system"],
    ["train", "not an override"],
    ["train", "resume=nowhere"],
    ["train", "hydra.run.dir=/proc/self/run"],
    ["train", "-m", "seed=0,oops"],
    ["evaluate", "run=nowhere"],
    ["tune", "--help"],
    ["tune", "experiment=javelin", "seed=3"],
    ["tune", "trails=3", "seed=0,1"],
    ["tune", "optimizer.learning_rate=interval(2,1)"],
    ["new-plugin", "javelin"],
]


def test_help_listings_and_mistakes_in_the_cores_keys_come_without_torch(tmp_path):
    """All in one process: once torch is loaded it stays, and the first command that loads it is named."""
    code = """
import contextlib, io, json, sys, time
from framework.commands.main import main

for arguments in json.loads(sys.argv[1]):
    out, err, began = io.StringIO(), io.StringIO(), time.process_time()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as exit:
        status = exit.code or 0
    heavy = sorted({"torch", "gymnasium", "matplotlib"} & set(sys.modules))
    print(json.dumps([arguments, status, heavy, err.getvalue(), time.process_time() - began]))
"""
    process = python("-c", code, json.dumps(LIGHT), cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    told = [json.loads(line) for line in out.splitlines()]
    assert [arguments for arguments, *_ in told] == LIGHT
    for arguments, status, heavy, printed, seconds in told:
        assert heavy == [], f"{arguments} imports {heavy}"
        fine = "--help" in arguments or arguments == ["plugins"]
        assert status == (0 if fine else 2), (arguments, printed)
        assert printed.count("\n") == (0 if fine else 1), (arguments, printed)
        assert seconds < 3, (arguments, seconds)
    assert list(tmp_path.iterdir()) == []


def test_the_framework_is_imported_at_once_and_without_torch(tmp_path):
    code = """
import sys, time
began = time.process_time()
import framework
assert not {"torch", "numpy", "hydra", "pydantic"} & set(sys.modules)
print(time.process_time() - began)
"""
    out, err = python("-c", code, cwd=tmp_path).communicate(timeout=300)
    assert err == ""
    assert float(out) < 0.2


def test_plugins_are_listed_within_two_seconds(tmp_path):
    began = os.times()
    process = python("-m", "framework.commands.main", "plugins", cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "javelin" in out
    ended = os.times()  # the processor's time: others may work on this machine
    before, after = (t.children_user + t.children_system for t in (began, ended))
    assert after - before < 2


@pytest.mark.parametrize("name", registry().names("tasks"))
def test_a_task_sets_no_attribute_that_hides_a_hook(name):
    """Such as `self.opened = ...`, which the framework would call."""
    task = registry().component("tasks", name).load()
    hooks = {key for key, value in vars(framework.Task).items() if inspect.isfunction(value)}
    sources = [cast(type, c) for c in task.__mro__ if c.__module__.startswith("plugins.")]
    assigned = {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(dedent(inspect.getsource(source))))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    assert sources
    assert assigned & hooks == set()
