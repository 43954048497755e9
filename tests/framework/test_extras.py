"""A missing package is one line with a command that works here."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from framework import extras
from framework.errors import UserError

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
    }
