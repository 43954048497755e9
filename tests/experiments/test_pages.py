"""The estimators' pages: every command on them composes, and every figure is there and small."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from experiments.estimators.figures import FIGURES, draw
from framework import UserError
from framework.config.composition import compose
from framework.config.validation import check_components, validate
from framework.plugin import ROOT, registry

FOLDER = ROOT / "experiments" / "estimators"
PAGES = sorted(FOLDER.glob("*.md"))
DOCUMENTS = [
    *PAGES,
    ROOT / "experiments" / "digits_estimators" / "README.md",
    ROOT / "experiments" / "game_results" / "README.md",
    ROOT / "experiments" / "differentiable_simulator" / "README.md",
    ROOT / "experiments" / "detection_reward" / "README.md",
    ROOT / "plugins" / "teaching" / "README.md",
    ROOT / "plugins" / "games" / "README.md",
    ROOT / "docs" / "quick_start.md",
    *sorted((ROOT / "docs" / "course").glob("*.md")),
]


def commands(page: Path) -> list[list[str]]:
    """The commands of a page, in indented lines, without their comments."""
    lines = re.findall(
        r"^    (?:diffobj|python) .*$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    return [shlex.split(line, comments=True) for line in lines]


def trainings() -> list[list[str]]:
    """What every `diffobj train` and `diffobj compare` on the pages is told."""
    found = []
    for page in DOCUMENTS:
        for command in commands(page):
            if command[:2] == ["diffobj", "train"]:
                found.append(command[2:])
            if command[:2] == ["diffobj", "compare"]:
                names = command[3].partition("=")[2].strip("[]").split(",")
                found += [[command[2], f"estimator={name}"] for name in names]
    return found


@pytest.mark.parametrize("told", trainings(), ids=" ".join)
def test_a_command_composes(told):
    check_components(validate(compose(told).config))


@pytest.mark.parametrize("name", list(FIGURES))
def test_a_family_has_a_page_with_its_figure_and_the_figures_command(name):
    page = FOLDER / f"{name}.md"
    assert f"(pictures/{name}.png)" in page.read_text(encoding="utf-8")
    assert ["python", "-m", "experiments.estimators.figures", name] in commands(page)
    assert (FOLDER / "pictures" / f"{name}.png").stat().st_size < 100_000


def test_the_index_links_every_page_and_names_every_estimator():
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index
    for estimator in registry().names("estimators"):
        assert f"`{estimator}`" in index


def test_links_and_pictures_of_the_documents_exist():
    for page in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_modules_named_in_commands_exist():
    for page in DOCUMENTS:
        for command in commands(page):
            if command[0] == "python":
                assert (ROOT / (command[2].replace(".", "/") + ".py")).exists()


def test_an_unknown_figure_is_told_in_one_line():
    with pytest.raises(UserError, match="no figure 'couplings'; did you mean 'coupling'"):
        draw(["couplings"])
