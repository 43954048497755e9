"""A hook of mkdocs: the site has the repository's own tree, so that a page's links work in both."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("plugins", "experiments")
AT_ROOT = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE")
SUFFIXES = {".md", ".png", ".gif", ".svg", ".jpg"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The pages of docs/ under that name, and every page and picture of the repository beside them."""
    own = [file for file in files if file.src_uri.startswith(("assets/", "stylesheets/"))]
    site = Files(own)
    for path in pages():
        uri = path.relative_to(ROOT).as_posix()
        site.append(File.generated(config, uri, abs_src_path=str(path)))
    return site


def pages() -> list[Path]:
    """The files that the site shows."""
    found = [ROOT / name for name in AT_ROOT if name.endswith(".md")]
    for folder in ("docs", *FOLDERS):
        found += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    return [path for path in found if "__pycache__" not in path.parts]


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Links to what the site does not show, such as a source file or a folder, become the page's own words."""
    here = PurePosixPath(page.file.src_uri).parent

    def link(match: re.Match[str]) -> str:
        picture, text, target, _ = match.groups()
        if picture or "://" in target or target.startswith("mailto:"):
            return match.group(0)
        path = (ROOT / here / target).resolve()
        if path.is_dir() and (path / "README.md").exists():
            return match.group(0).replace(target, f"{target.rstrip('/')}/README.md")
        shown = path.suffix in SUFFIXES or not path.exists()
        return match.group(0) if shown else text

    return LINK.sub(link, markdown)
