"""The Python of README.md, of docs/ and of the front door's docstrings runs as it is written."""

import ast
import inspect
import re
from pathlib import Path
from textwrap import dedent

import pytest

import framework
import framework.run
from framework.config.composition import compose
from framework.plugin import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Shorter trainings, with the same code.
QUICKER = {"trainer.steps=200": "trainer.steps=2", "steps=1000": "steps=2"}


def snippets(page: Path) -> list[str]:
    """A page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


def indented(documented: str) -> str:
    """The indented lines of a docstring."""
    lines = [line for line in documented.splitlines() if line.startswith("    ")]
    return dedent("\n".join(lines))


def execute(code: str, names: dict[str, object]) -> None:
    """Run a snippet, with shorter trainings."""
    for written, quicker in QUICKER.items():
        code = code.replace(written, quicker)
    exec(compile(code, "snippet", "exec"), names)


# A page may show what a path leaves out, which the estimate warns of.
@pytest.mark.filterwarnings("ignore:a cost jumps in draw")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in snippets(page):
        execute(code, names)


def test_the_architecture_shows_an_estimator_and_a_task():
    architecture = "\n".join(snippets(ROOT / "docs" / "architecture.md"))
    assert "class Antithetic(Estimator)" in architecture
    assert "class Aim(Task)" in architecture


def test_the_estimator_of_the_architecture_is_right():
    names: dict[str, object] = {}
    code = snippets(ROOT / "docs" / "architecture.md")[0]
    execute(code.replace("samples=64", "samples=20_000"), names)
    mean, estimate = names["mean"], names["estimate"]
    # E z^2 = mean^2 + 1, with slope 4 at 2; the estimate is the slope times the squared perturbation.
    assert isinstance(estimate, framework.Estimate)
    assert estimate.value == pytest.approx(5, abs=0.5)
    assert mean.grad > 0  # type: ignore[attr-defined]


def test_the_front_doors_first_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    first, second, third = indented(framework.run.__doc__ or "").strip().splitlines()
    names: dict[str, object] = {"framework": framework}
    execute(first, names)
    execute(second.replace("outputs/cartpole/<time>", str(names["run"].folder)), names)  # type: ignore[attr-defined]
    execute(third, names)


def test_calls_in_the_front_doors_docstrings_are_valid():
    """Such as `compose("experiment=javelin", "seed=1")`: the functions exist, and the settings compose."""
    tree = ast.parse(inspect.getsource(framework.run))
    documented = [
        ast.get_docstring(n) or "" for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
    ]
    calls = re.findall(r"`(\w+)\((\".*?\")\)`", "\n".join(documented))
    assert calls
    for name, arguments in calls:
        assert name in framework.__all__
        compose(ast.literal_eval(f"[{arguments}]"))
