"""docs/: links resolve, folders and public names are all listed, numbers are counted."""

import re
from pathlib import Path

import pytest

import framework
from framework import Context, Estimator, Task
from framework.plugin import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def public(kind: type) -> set[str]:
    """The names that a class itself offers."""
    return {name for name in {*vars(kind), *kind.__annotations__} if not name.startswith("_")}


PUBLIC = {
    "framework": set(framework.__all__),
    "Task": public(Task),
    "Context": public(Context),
    "Estimator": public(Estimator),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_resolve(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("owner", PUBLIC)
def test_the_public_names_are_listed_and_counted(owner):
    row = re.search(rf"^\| `{owner}` \| \d+ \| (\d+) \| (.*) \|$", ARCHITECTURE, re.MULTILINE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[2])) == PUBLIC[owner]
    assert int(row[1]) == len(PUBLIC[owner])


def test_the_sum_of_the_public_names_is_right():
    total = re.search(
        r"^\| \*\*in all\*\* \| \*\*\d+\*\* \| \*\*(\d+)\*\* \| \|$", ARCHITECTURE, re.M
    )
    assert total is not None
    assert int(total[1]) == sum(map(len, PUBLIC.values()))


def test_every_module_and_folder_of_the_framework_is_described():
    for path in (ROOT / "framework").iterdir():
        if path.is_dir() and (path / "__init__.py").is_file():
            assert f"`framework/{path.name}/`" in ARCHITECTURE, path.name
        elif path.suffix == ".py":
            assert f"{path.name}`" in ARCHITECTURE, path.name
    for path in (ROOT / "framework" / "gradients").iterdir():
        if (path / "__init__.py").is_file():
            assert f"`{path.name}/`" in ARCHITECTURE, path.name
