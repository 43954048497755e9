"""A missing package is one line with a command that works here."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

import framework
from framework import extras
from framework.errors import UserError
from tests.runs import python

PROJECT = tomllib.loads((extras.CHECKOUT / "pyproject.toml").read_text())["project"]


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError) as error:
        extras.import_extra("scipy.optimize", "detection", "matching needs scipy")
    assert str(error.value) == "matching needs scipy: make install EXTRAS=detection"


def test_outside_a_checkout_pip_is_given_the_packages_because_no_index_has_the_project(
    monkeypatch, tmp_path
):
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    assert extras.command("detection") == "pip install 'faster-coco-eval>=1.7' 'scipy>=1.11'"


def test_a_mistake_inside_an_installed_module_is_not_taken_for_a_missing_package(
    monkeypatch, tmp_path
):
    (tmp_path / "halfway.py").write_text("import surely_absent_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="surely_absent_package"):
        extras.import_extra("halfway", "detection", "it")


def test_every_extra_that_a_message_or_a_page_names_exists():
    declared = set(PROJECT["optional-dependencies"])
    named = set()
    for folder in ("framework", "plugins", "experiments", "docs"):
        for path in (extras.CHECKOUT / folder).rglob("*"):
            if path.suffix in {".py", ".md"}:
                text = path.read_text()
                named.update(re.findall(r"EXTRAS=([a-z0-9]+)", text))
                named.update(
                    re.findall(
                        r"(?:import_extra|missing)\(\s*(?:\"[\w.]+\", )?\"([a-z0-9]+)\",", text
                    )
                )
                assert "diffobj[" not in text, f"{path}: no index has the project"
    assert named
    assert named <= declared


def test_all_holds_every_extra_that_a_plugin_can_use():
    (own,) = PROJECT["optional-dependencies"]["all"]
    inside = set(re.search(r"\[(.*)\]", own).group(1).split(","))  # type: ignore[union-attr]
    assert inside == set(PROJECT["optional-dependencies"]) - {
        "all",
        "dev",
        "docs",
        "benchmarks",
        "demo",
        "selfplay",
        "wandb",
        "mlflow",
        "joblib",
        "submitit",
        "ray",
    }


# What each training needs, and the extra that it comes with.
NEEDED = [
    (["experiment=detection"], "faster_coco_eval", "detection"),
    (["experiment=detection_set"], "scipy", "detection"),
    (["experiment=faces"], "faster_coco_eval", "faces"),
    (["experiment=digits_bernoulli"], "sklearn", "teaching"),
    (["experiment=sketch_digits"], "sklearn", "sketching"),
    (["experiment=lunar_lander"], "Box2D", "box2d"),
    (["task=game", "task.environment=HalfCheetah-v5", "estimator=ppo"], "mujoco", "mujoco"),
    (["task=game", "task.environment=ALE/Pong-v5", "estimator=ppo"], "ale_py", "atari"),
    (["experiment=javelin", "monitor.loggers=[wandb]"], "wandb", "wandb"),
    (["experiment=javelin", "monitor.loggers=[mlflow]"], "mlflow", "mlflow"),
]


@pytest.mark.parametrize(("told", "package", "extra"), NEEDED, ids=lambda value: str(value))
def test_a_missing_extra_is_named_in_one_line(told, package, extra, diffobj, tmp_path, monkeypatch):
    """And nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    for place in ("framework.extras.find_spec", "framework.training.loggers.find_spec"):
        monkeypatch.setattr(place, lambda name: None if name == package else name)
    outcome = diffobj("train", *told)
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert outcome.err.endswith(f": make install EXTRAS={extra}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_extra_is_named_without_torch(tmp_path):
    code = (
        "import sys, framework.extras, framework.commands.main as command\n"
        "framework.extras.find_spec = lambda name: None\n"
        "for told in (['experiment=detection'], ['experiment=lunar_lander'], ['experiment=faces']):\n"
        "    try:\n"
        "        command.main(['train', *told])\n"
        "    except SystemExit as end:\n"
        "        print(end.code)\n"
        "print('torch' in sys.modules)\n"
    )
    out, err = python("-c", code, cwd=tmp_path).communicate()
    assert [line for line in out.splitlines() if len(line) < 6] == ["2", "2", "2", "False"]
    assert [line.rpartition("=")[2] for line in err.splitlines()] == ["detection", "box2d", "faces"]


def test_the_same_needs_are_met_before_a_run_is_loaded(tmp_path, monkeypatch):
    options = ["monitor.tensorboard=false", "trainer.steps=1", "task.latents=2"]
    run = framework.train("digits_bernoulli", overrides=options, folder=tmp_path / "run")
    monkeypatch.setattr("framework.extras.find_spec", lambda name: None)
    with pytest.raises(UserError, match="make install EXTRAS=teaching"):
        framework.load(run.folder)
