"""The documentation site builds without a warning, and every link and picture in it leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from framework.plugin import ROOT

pytest.importorskip("mkdocs")


class Links(HTMLParser):
    """What a page points to, and the names that can be pointed to."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        wanted = given.get("href") if tag == "a" else given.get("src") if tag == "img" else None
        if wanted:
            self.targets.append(wanted)
        if given.get("id"):
            self.names.add(given["id"] or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Links]:
    found = {}
    for path in site.rglob("*.html"):
        if path.name != "404.html":
            found[path] = Links()
            found[path].feed(path.read_text(encoding="utf-8"))
    return found


def test_every_link_and_picture_leads_somewhere(pages: dict[Path, Links]):
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme in {"http", "https", "mailto"}:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file() or (
                parts.fragment and there in pages and parts.fragment not in pages[there].names
            ):
                broken.append(f"{path.name}: {target}")
    assert len(pages) > 30
    assert broken == []


def test_the_site_fetches_nothing_from_elsewhere(site: Path):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "fonts.googleapis" not in text
        assert "google-analytics" not in text
        # The theme would fetch the program that draws it.
        assert 'class="mermaid"' not in text
        assert not re.search(
            r"""<(?:script|link|img)[^>]+(?:src|href)=["']?(?:https?:)?//""", text
        ), path


def test_every_public_name_is_on_the_page_of_the_python_interface():
    import framework

    written = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name in framework.__all__:
        assert f"::: framework.{name}\n" in written + "\n", name
