"""The pages: links resolve, and every module and folder of the framework is described."""

import re
from pathlib import Path

import pytest

from framework.plugin import ROOT
from tests.pages import PAGES
from tests.test_architecture import LAYERS, PUBLIC

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_module_and_folder_of_the_framework_is_described():
    for path in (ROOT / "framework").iterdir():
        if path.is_dir() and (path / "__init__.py").is_file():
            assert f"`framework/{path.name}/`" in ARCHITECTURE, path.name
        elif path.suffix == ".py":
            assert f"{path.name}`" in ARCHITECTURE, path.name
    for path in (ROOT / "framework" / "gradients").iterdir():
        if (path / "__init__.py").is_file():
            assert f"`{path.name}/`" in ARCHITECTURE, path.name


def test_every_layer_and_every_public_module_stands_among_the_walls():
    walls = ARCHITECTURE.partition("## The walls")[2].partition("\n## ")[0]
    for name in {name for layer in LAYERS for name in layer}:
        assert f"`{name}`" in walls, name
    for name in PUBLIC:
        own = name.removeprefix("framework.")
        assert f"`{own}`" in walls or f"`{name}`" in walls, name
