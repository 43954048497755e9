"""Plugins: manifests, both ways of being found, and that a broken one breaks nothing but itself."""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import plugin as plugins
from framework.config.composition import config_folders
from framework.errors import UserError
from framework.plugin import ROOT, Component, Found, Plugin, register, registry
from tests.runs import Diffobj, forget_plugins, install, python, result

Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Install a package: `package("name", manifest, **{"file.py": text})`."""
    place = tmp_path / "packages"

    def write(name: str, manifest: str, point: str | None = None, **sources: str) -> None:
        home = place / name
        home.mkdir(parents=True)
        (home / "__init__.py").write_text(manifest)
        for file, text in sources.items():
            path = home / f"{file.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        install(place, name, name if point is None else point)
        forget_plugins()

    place.mkdir()
    monkeypatch.syspath_prepend(place)
    before = set(sys.modules)
    yield write
    for name in set(sys.modules) - before:
        if str(place) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    monkeypatch.undo()
    forget_plugins()


def manifest(name: str, **groups: dict[str, str]) -> str:
    return f"from framework.plugin import Plugin\nplugin = Plugin(name={name!r}, summary='S.', **{groups!r})\n"


# --- manifests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("task", "tasks"),
        ("taks", "tasks"),
        ("estimator", "estimators"),
        ("optimisers", "optimizers"),
    ],
)
def test_a_misspelt_group_of_the_cores_is_named_with_the_nearest(written, meant):
    groups: dict[str, Any] = {written: {"a": "b:c"}}
    with pytest.raises(
        UserError, match=rf"^plugin 'p': unknown group '{written}'; did you mean '{meant}'\?$"
    ):
        Plugin(name="p", summary="s", **groups)


def test_a_group_of_a_plugins_own_carries_its_name():
    groups: dict[str, Any] = {
        "tasks": {"a": "b:A"},
        "losses": {"l": "b:L"},
        "other.losses": {"m": "b:M"},
    }
    plugin = Plugin(name="p", summary="s", **groups)
    assert list(plugin.groups) == ["tasks", "p.losses", "other.losses"]


def test_a_plugin_extends_anothers_group_and_groups_of_one_name_are_kept_apart():
    first = Plugin(name="first", summary="", losses={"near": "one:Near"})
    second = Plugin(name="second", summary="", losses={"near": "two:Near"})
    extension: dict[str, Any] = {"first.losses": {"far": "three:Far"}}
    third = Plugin(name="third", summary="", **extension)
    found = register(
        tuple(Found(name=p.name, origin=p.name, plugin=p) for p in (first, second, third))
    )
    assert found.names("first.losses") == ["far", "near"]
    assert found.component("second.losses", "near").target == "two:Near"
    assert found.component("first.losses", "far").plugin == "third"
    with pytest.raises(UserError, match=r"^unknown loss 'fare'; did you mean 'far'\?$"):
        found.component("first.losses", "fare")


@pytest.mark.parametrize("target", ["module", "module:", ":attribute", "", ":", 3, None, object])
def test_a_target_that_is_no_import_string_is_named(target):
    with pytest.raises(
        UserError, match=r"^plugin 'p': tasks.a = .*; expected 'package.module:attribute'$"
    ):
        Plugin(name="p", summary="s", tasks={"a": target})


def test_a_manifest_cannot_be_changed():
    targets = {"a": "b:c"}
    plugin = Plugin(name="p", summary="s", tasks=targets)
    targets["d"] = "e:f"
    assert dict(plugin.groups["tasks"]) == {"a": "b:c"}
    with pytest.raises(TypeError):
        plugin.groups["tasks"]["d"] = "e:f"  # type: ignore[index]


# --- components -----------------------------------------------------------------------------------------------------


def component(target: str) -> Component:
    return Component(group="tasks", name="a", target=target, plugin="p")


def test_a_component_is_loaded_from_its_import_string():
    assert component("pathlib:Path").load() is Path


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("pathlib:Pat", "tasks 'a' of plugin 'p': 'pathlib' has no 'Pat'"),
        ("nowhere.task:A", "tasks 'a' of plugin 'p': there is no module 'nowhere'"),
        (
            "plugins.javelin.tusk:A",
            "tasks 'a' of plugin 'p': there is no module 'plugins.javelin.tusk'",
        ),
    ],
)
def test_a_component_that_is_not_there_is_told_in_one_line(target, said):
    with pytest.raises(UserError) as told:
        component(target).load()
    assert str(told.value) == said


def test_a_package_that_a_component_needs_is_named(package):
    package(
        "needy",
        manifest("needy", tasks={"needy": "needy.task:A"}),
        task="import not_there.at_all\n",
    )
    with pytest.raises(UserError, match=r"needs the package 'not_there', not installed"):
        registry().component("tasks", "needy").load()


def test_summaries_and_options_are_read_without_importing(package):
    source = (
        'class A:\n    """First line.\n\n    More."""\n    def __init__(self, x, *, b=1, c): ...\n'
    )
    source += "def f(y, *, d): ...\n"
    package(
        "quiet", manifest("quiet", tasks={"a": "quiet.task:A", "f": "quiet.task:f"}), task=source
    )
    found = registry()
    assert found.component("tasks", "a").summary() == "First line."
    assert found.component("tasks", "a").options() == ["b", "c"]
    assert found.component("tasks", "f").summary() == ""
    assert found.component("tasks", "f").options() == ["d"]
    assert "quiet.task" not in sys.modules


# --- two owners -----------------------------------------------------------------------------------------------------


def test_a_name_with_two_owners_is_refused_by_both_names_and_only_when_asked_for():
    first = Plugin(name="first", summary="", tasks={"a": "one:A", "b": "one:B"})
    second = Plugin(name="second", summary="", tasks={"a": "two:A"})
    both = register(tuple(Found(name=p.name, origin=p.name, plugin=p) for p in (first, second)))
    assert both.component("tasks", "b").target == "one:B"
    with pytest.raises(UserError) as told:
        both.component("tasks", "a")
    expected = (
        "tasks 'a' has two owners: plugin 'first' (one:A) and plugin 'second' (two:A); rename one"
    )
    assert str(told.value) == expected


def test_a_name_with_two_owners_is_listed_as_a_conflict(package, diffobj: Diffobj):
    package("other", manifest("other", tasks={"javelin": "other.task:A"}), task="class A: ...\n")
    outcome = diffobj("plugins")
    assert "CONFLICT: plugin 'javelin' and plugin 'other' both bring it" in outcome.out
    outcome = diffobj("train", "experiment=javelin")
    assert outcome.status == 2
    assert "plugin 'other' (other.task:A)" in outcome.err


# --- being found ----------------------------------------------------------------------------------------------------


def test_folders_beside_the_framework_are_found():
    found = {f.name: f for f in registry().found}
    assert found["javelin"].folder == ROOT / "plugins" / "javelin"
    assert found["javelin"].configs == ROOT / "plugins" / "javelin" / "configs"
    assert found["framework"].configs is None


def test_an_installed_package_is_found_with_its_components_configs_and_experiment(
    toy, tmp_path, diffobj: Diffobj
):
    outcome = diffobj("plugins")
    assert outcome.status == 0
    assert "A small regression that can be told to fail." in outcome.out
    assert "A regression of twelve steps." in outcome.out
    assert ROOT / "tests" / "framework" / "toy" / "configs" in config_folders()
    assert "toy" in diffobj("train", "--help").out
    folder = tmp_path / "run"
    assert diffobj("train", "experiment=toy", f"hydra.run.dir={folder}").status == 0
    assert result(folder)["experiment"] == "toy"


def test_an_entry_point_may_name_the_attribute(package):
    text = manifest("named", tasks={"n": "named.task:A"}).replace("plugin = ", "mine = ")
    package("named", text, "named:mine")
    assert registry().component("tasks", "n").plugin == "named"


def test_one_module_may_hold_two_plugins(package, tmp_path):
    text = manifest("one").replace("plugin = ", "one = ") + manifest("two").replace(
        "plugin = ", "two = "
    )
    package("pair", text, "pair:one")
    (tmp_path / "packages" / "pair-0.1.dist-info" / "entry_points.txt").write_text(
        "[framework.plugins]\none = pair:one\ntwo = pair:two\n"
    )
    forget_plugins()
    assert {"one", "two"} <= {f.name for f in registry().found}


BROKEN = {
    "raises": ("raise RuntimeError('not today')\n", None, "RuntimeError: not today"),
    "exits": ("import sys\nsys.exit('bye')\n", None, "SystemExit: bye"),
    "stops": ("raise BaseException('no more')\n", None, "BaseException: no more"),
    "sums": (
        "from framework.plugin import Plugin\nplugin = Plugin(name='sums', summary=5)\n",
        None,
        "UserError: plugin 'sums': expected a name and a summary in words",
    ),
    "misspelt": (
        "from framework.plugin import Plugin\nplugin = Plugin(\n",
        None,
        "SyntaxError: '(' was never closed",
    ),
    "lacks": ("x = 1\n", None, "UserError: 'lacks' has no `plugin = Plugin(...)`"),
    "summarises": (
        "from framework.plugin import Plugin\nplugin = Plugin(name='a')\n",
        None,
        "TypeError: ",
    ),
    "groups": (
        manifest("groups", taks={}),
        None,
        "UserError: plugin 'groups': unknown group 'taks'; did you mean 'tasks'?",
    ),
    "needs": ("import not_there\n", None, "ModuleNotFoundError: No module named 'not_there'"),
    "gone": ("", "nowhere.at_all", "ModuleNotFoundError: No module named 'nowhere'"),
    "odd": ("", "!!!", "entry point '!!!': expected 'package' or 'package:attribute'"),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_named_with_its_reason_and_the_others_still_work(
    package, diffobj: Diffobj, name
):
    text, point, reason = BROKEN[name]
    package(name, text, point)
    outcome = diffobj("plugins")
    assert outcome.status == 1
    said = " ".join(outcome.out.split())
    assert f"{name} BROKEN: {reason}" in said, said[said.find("BROKEN") - 20 :][:200]
    assert "The angle that throws a javelin farthest" in outcome.out
    outcome = diffobj("train", "experiment=javelin", "trainer.steps=-1")
    assert outcome.err.startswith("diffobj: trainer.steps = -1")
    outcome = diffobj("train", "task.name=mine")
    assert f"plugin '{name}' is broken: {reason}" in outcome.err


def test_what_a_manifest_prints_is_told_with_its_name_and_is_in_no_output(
    package, diffobj: Diffobj
):
    package("loud", "print('hello')\nprint('and more')\n" + manifest("loud"))
    outcome = diffobj("plugins")
    assert "hello" not in outcome.out
    assert outcome.err == "plugin 'loud' prints when it is found: hello\n"


def test_a_manifest_that_takes_long_is_named(package, diffobj: Diffobj, monkeypatch):
    # The manifest itself puts the clock on: no test waits for it.
    package(
        "late",
        "import types, framework.plugin as p\nnow = p.time.perf_counter()\n"
        "p.time = types.SimpleNamespace(perf_counter=lambda: now + 10)\n" + manifest("late"),
    )
    monkeypatch.setattr("framework.plugin.time", time)
    outcome = diffobj("plugins")
    assert outcome.err.startswith("plugin 'late' takes 10.")
    assert outcome.err.endswith("let its manifest name targets, not import them\n")
    assert outcome.status == 0


def test_a_component_with_a_syntax_error_spoils_no_listing(package, diffobj: Diffobj):
    package(
        "typo",
        manifest("typo", tasks={"typo": "typo.task:A", "deep": "typo.sub.task:A"}),
        task="class A(:\n",
    )
    outcome = diffobj("plugins")
    assert outcome.status == 0
    assert "typo (its source cannot be read)" in " ".join(outcome.out.split())


def test_a_folder_without_a_manifest_is_no_plugin(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    (tmp_path / "plugins" / "notes").mkdir(parents=True)
    (tmp_path / "plugins" / "__pycache__").mkdir()
    found = [f.name for f in plugins._search()]
    assert "notes" not in found
    assert "__pycache__" not in found


# --- shadows --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_users_own_folders_do_not_shadow_ours(tmp_path):
    for folder in (
        "plugins/javelin/configs/experiment",
        "configs/experiment",
        "experiments",
        "tests",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for module in ("plugins/__init__.py", "plugins/javelin/__init__.py", "plugins/javelin/task.py"):
        (tmp_path / module).write_text("raise RuntimeError('the wrong one')\n")
    for config in ("configs/train.yaml", "configs/experiment/javelin.yaml"):
        (tmp_path / config).write_text("seed: [wrong\n")
    options = ["trainer.steps=1", "monitor.tensorboard=false", "hydra.run.dir=run"]
    command = ["-m", "framework.commands.main", "train", "experiment=javelin", *options]
    process = python(*command, cwd=tmp_path)  # -m puts the working directory first on the path
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "wrong" not in out + err
    assert result(tmp_path / "run")["experiment"] == "javelin"


@pytest.mark.parametrize("form", ["package", "module", "namespace"])
@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_another_packages_plugins_does_not_break_ours(tmp_path, form, first):
    """Whatever it is, and whoever is imported first."""
    own = tmp_path / "plugins"
    if form == "module":
        own.with_suffix(".py").write_text("mine = 1\n")
    else:
        own.mkdir()
        (own / "theirs.py").write_text("mine = 1\n")
    if form == "package":
        (own / "__init__.py").write_text("mine = 1\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
if {first == "theirs"}:
    import plugins
from framework.plugin import ROOT, registry
assert registry().broken == (), registry().broken
assert registry().component("tasks", "javelin").options()
assert sys.modules["plugins.javelin"].__file__.startswith(str(ROOT)), sys.modules["plugins.javelin"]
if {first == "theirs"} and {form == "package"}:
    from plugins.theirs import mine
"""
    _, err = python("-c", code, cwd=tmp_path).communicate(timeout=300)
    assert err == ""


def test_the_run_of_an_uninstalled_plugin_names_it(toy, tmp_path, diffobj: Diffobj):
    run = tmp_path / "run"
    quiet = ("monitor.tensorboard=false", "monitor.progress=none", "trainer.steps=2")
    assert diffobj("train", "experiment=toy", *quiet, f"hydra.run.dir={run}").status == 0
    shutil.rmtree(toy / "toy-0.1.dist-info")
    forget_plugins()
    said = f"diffobj: {run}: its task 'regression' came with plugin 'toy', which is not installed\n"
    for command in (
        ("evaluate", f"run={run}"),
        ("predict", f"run={run}"),
        ("train", f"resume={run}"),
    ):
        outcome = diffobj(*command)
        assert (outcome.status, outcome.err) == (2, said)
    # Without the line of its session the task has no origin.
    (run / "manifest.jsonl").unlink()
    outcome = diffobj("evaluate", f"run={run}")
    assert outcome.status == 2
    assert "unknown task 'regression'" in outcome.err


def test_a_plugin_cannot_take_a_command_of_the_cores(package, diffobj: Diffobj):
    package("thief", manifest("thief", commands={"train": "thief.train:run", "steal": "thief:run"}))
    (found,) = registry().broken
    assert (found.name, found.error) == ("thief", "UserError: command 'train' is the core's; rename it")  # fmt: skip
    assert registry().component("commands", "train").plugin == "framework"
    outcome = diffobj("plugins")
    assert outcome.status == 1
    assert "BROKEN: UserError: command 'train' is the core's; rename it" in outcome.out
