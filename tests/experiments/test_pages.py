"""The estimators' pages: each family has a page with its figure, and the index names every estimator."""

from __future__ import annotations

import pytest

from experiments.estimators.figures import FIGURES, draw
from framework import UserError
from framework.plugin import ROOT, registry
from tests.pages import commands

FOLDER = ROOT / "experiments" / "estimators"
PAGES = sorted(FOLDER.glob("*.md"))


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


def test_an_unknown_figure_is_told_in_one_line():
    with pytest.raises(UserError, match="no figure 'couplings'; did you mean 'coupling'"):
        draw(["couplings"])
