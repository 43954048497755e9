"""The house's walls: who may import whom, and what must start without torch."""

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from framework.plugin import ROOT
from tests.runs import python

PLUGINS = sorted(p.name for p in (ROOT / "plugins").iterdir() if (p / "__init__.py").is_file())
ALLOWED = {("faces", "detection")}  # a face is an object


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, as an absolute name."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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


def test_estimators_know_nothing_of_training():
    above = ("trainer", "monitor", "commands", "checkpoint", "run", "task", "data", "optimization")
    assert offences("framework/gradients", *(f"framework.{module}" for module in above)) == []


def test_the_foundations_know_nothing_of_what_stands_on_them():
    lower = ("plugin", "capabilities", "errors", "randomness", "media", "program")
    files = [ROOT / "framework" / f"{low}.py" for low in lower]
    for file in [*files, *modules("framework/config")]:
        above = [
            m
            for m in imports(file)
            if m.startswith(("framework.training.trainer", "framework.commands"))
        ]
        assert above == [], file


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
    ["train", "-m", "seed=0,oops"],
    ["evaluate", "run=nowhere"],
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


def test_plugins_are_listed_within_two_seconds(tmp_path):
    began = os.times()
    process = python("-m", "framework.commands.main", "plugins", cwd=tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "javelin" in out
    ended = os.times()  # the processor's time: others may work on this machine
    before, after = (t.children_user + t.children_system for t in (began, ended))
    assert after - before < 2
