"""The pages of the project, and what stands on them to be run: Python, and commands."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent

from framework.plugin import ROOT

PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "plugins").rglob("*.md"),
        *(ROOT / "experiments").rglob("*.md"),
    }
    - {ROOT / "CHANGELOG.md"}
)
# What a line of a shell may begin with. Of those that are not ours only the name is looked at.
OURS = ("diffobj", "make", "python")
OTHERS = ("", "eval", "pip", "tensorboard", "git", "cd", "pre-commit")
# A script of Slurm, which has a test of its own; a tree of folders; a diagram.
SHOWN = ("#!/bin/bash", "framework/ ", "flowchart ")
# What is to be run says one of these.
RUNNABLE = re.compile(r"\b(diffobj|make|python|framework\.\w+|import) ")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INLINE = re.compile(r"`((?:diffobj|make|python -m) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A block on a page: `kind` is "python", "shell", "shown" (a formula) or "", where it is to be run, but how?"""

    page: Path
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.strip().partition(chr(10))[0]}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """All blocks of a page, fenced ones first."""
    text = page.read_text(encoding="utf-8")
    found = [Block(page, kind_of(body, language), body) for language, body in FENCED.findall(text)]
    found += [Block(page, kind_of(body, ""), body) for body in indented(FENCED.sub("", text))]
    return tuple(found)


def indented(text: str) -> Iterator[str]:
    """Blocks by four spaces; such lines below the item of a list belong to the item."""
    for match in re.finditer(r"(?:^(.*)\n)?\n((?: {4}.*\n|\n(?= {4}))+)", text, re.M):
        before, body = match.group(1) or "", match.group(2)
        if not re.match(r"\s*([-*]|\d+\.) ", before):
            yield dedent(body)


def kind_of(body: str, language: str) -> str:
    if body.startswith(SHOWN):
        return "shown"
    if language == "python":
        return language
    if language == "yaml":
        return "shown"
    if all(Path(line.split(" ")[0]).name in (*OURS, *OTHERS) for line in shell_lines(body)):
        return "shell"
    try:
        ast.parse(body)
    except SyntaxError:
        return "" if RUNNABLE.search(body) else "shown"
    return "python"


def shell_lines(body: str) -> list[str]:
    """The lines of a shell, joined where they go on, without variables that are set for one."""
    lines = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", body.replace("\\\n", " "), flags=re.M).splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def snippets(page: Path) -> list[str]:
    """A page's Python, in its order within each way of writing blocks."""
    return [block.text for block in blocks(page) if block.kind == "python"]


def commands(page: Path) -> list[list[str]]:
    """A page's commands of this project, in blocks and inside its text, each as words without comments."""
    lines = [line for b in blocks(page) if b.kind == "shell" for line in shell_lines(b.text)]
    lines += INLINE.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    found = [shlex.split(line.replace("\n", " "), comments=True) for line in lines]
    return [words for words in found if words[0] in OURS]
