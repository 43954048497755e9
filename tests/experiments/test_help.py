"""Every command of experiments/ prints its page when it is asked for help, and runs nothing."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import pytest

from experiments.command import given_arguments
from framework.plugin import ROOT


def named(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__main__" else parts)


COMMANDS = {
    named(file): file
    for file in sorted((ROOT / "experiments").rglob("*.py"))
    if file.name == "__main__.py" or '__name__ == "__main__"' in file.read_text(encoding="utf-8")
}


def test_there_are_commands():
    assert len(COMMANDS) > 20
    assert "experiments.benchmarks.games" in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_prints_the_commands_page_and_runs_nothing(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["command", "--help"])
    try:
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(name, run_name="__main__", alter_sys=False)
    except ModuleNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed")
    assert not ended.value.code
    printed = capsys.readouterr().out
    if name == "experiments.gradient_table":
        assert printed.startswith("usage:")
        return
    page = ast.get_docstring(ast.parse(COMMANDS[name].read_text(encoding="utf-8")), clean=False)
    assert page is not None
    assert printed == page.strip() + "\n"


@pytest.mark.parametrize(
    ("argv", "most", "refusal"),
    [
        (["--steps=3"], None, "'--steps=3': not an argument of this command, which takes names"),
        (["3"], 0, "'3': not an argument of this command, which takes none"),
        (["a", "b"], 1, "'b': not an argument of this command, which takes one at most"),
        (["a", "b", "c"], 2, "'c': not an argument of this command, which takes 2 at most"),
    ],
)
def test_what_a_command_does_not_take_is_refused_in_one_line(monkeypatch, argv, most, refusal):
    monkeypatch.setattr(sys, "argv", ["command", *argv])
    with pytest.raises(SystemExit, match=f"{refusal}; see --help"):
        given_arguments("page", most=most)


def test_what_it_takes_is_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["command", "a", "seeds=3"])
    assert given_arguments("page") == ["a", "seeds=3"]
    assert given_arguments("page", most=2) == ["a", "seeds=3"]
