"""The numbers that pages state, measured again: `python -m experiments.numbers [all] [PART_OF_A_PAGE'S_NAME ...]`

Each number is read from its page, measured by the command that the page gives (the run is kept in outputs/numbers/ and
not repeated), and printed beside it. Returns 1 where a measured number is farther from the stated one than the page's
own spread, or, where the page gives none, than one unit of the last digit that it prints; and where a page no longer
says what is looked for. What takes more than a minute is listed with its command, and measured with `all`. Times and
speeds are a machine's own and are printed by the studies and `experiments.benchmarks`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

from experiments.claims import CLAIMS, Claim, Table
from experiments.command import given_arguments
from framework.plugin import ROOT

NUMBER = r"(-?\d*\.?\d+)"


@dataclass(frozen=True)
class Compared:
    """A stated number beside the measured one."""

    page: str
    says: str
    stated: float
    measured: float
    spread: float

    @property
    def agrees(self) -> bool:
        # A hair more, for numbers that are not exact in binary.
        return abs(self.stated - self.measured) <= self.spread * (1 + 1e-9)

    def __str__(self) -> str:
        verdict = "ok" if self.agrees else "DISAGREES"
        numbers = f"{self.stated:<10.5g}{self.measured:<10.5g}{self.spread:<10.3g}"
        return f"{verdict:<11}{numbers}{self.page}: {self.says}"


def pattern(says: str) -> re.Pattern[str]:
    """A claim's words as a regular expression with a group for each number and each spread."""
    words = r"\s+".join(re.escape(word) for word in says.split())
    return re.compile(words.replace(r"\{\}", NUMBER).replace("±", r"\s*±\s*"))


def stated(page: str, says: str) -> list[tuple[float, float]] | None:
    """Each number of a claim and its spread, as the page has them; None where it says no such thing."""
    found = pattern(says).search((ROOT / page).read_text(encoding="utf-8"))
    if found is None:
        return None
    marks = re.findall(r"{}(?:±{})?", says)
    groups = iter(found.groups())
    numbers = []
    for mark in marks:
        text = next(groups)
        numbers.append((float(text), float(next(groups)) if "±" in mark else last_digit(text)))
    return numbers


def last_digit(text: str) -> float:
    """One unit of the last digit of a number as it is printed: 0.01 of "0.37", 1 of "80"."""
    return 10.0 ** -len(text.partition(".")[2])


def compare(claim: Claim | Table) -> Iterator[Compared]:
    """Each number of a claim; one that cannot agree where the page says no such thing."""
    if isinstance(claim, Table):
        yield from compare_rows(
            claim,
            rows((ROOT / claim.page).read_text(encoding="utf-8"), claim.columns),
            rows(claim.printed(), claim.columns),
        )
        return
    numbers = stated(claim.page, claim.says)
    if numbers is None:
        yield Compared(claim.page, f"no longer says '{claim.says}'", inf, 0.0, 0.0)
        return
    for (value, spread), measured in zip(numbers, claim.measure(), strict=True):
        yield Compared(claim.page, claim.says, value, measured, spread)


Rows = dict[tuple[str, str], list[tuple[float, float]]]


def rows(text: str, columns: Sequence[str]) -> Rows:
    """The numbers of a text's tables, by the row's first cell and the column's head, each with its spread.

    Args:
        columns: of these alone, by how their heads begin.
    """
    heads: list[str] = []
    found: Rows = {}
    lines = text.splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|") or set(line) <= set("|-: "):
            continue
        if below.startswith("|--"):
            heads = cells
            continue
        for head, cell in zip(heads[1:], cells[1:], strict=False):
            if head.startswith(tuple(columns)):
                found[cells[0], head] = numbers_of(cell)
    return found


def numbers_of(cell: str) -> list[tuple[float, float]]:
    """The numbers of a cell: with their last digit, or all with the spread of the first where it has one."""
    mean = re.match(rf"{NUMBER} ± {NUMBER}", cell)
    texts = re.findall(NUMBER, cell.replace(mean.group(0), mean.group(1)) if mean else cell)
    return [(float(t), float(mean.group(2)) if mean else last_digit(t)) for t in texts]


def compare_rows(claim: Table, stated: Rows, measured: Rows) -> Iterator[Compared]:
    """Each number of a page's table beside the one that its study prints."""
    for place, numbers in stated.items():
        says = f"{place[0]}: {place[1]}"
        printed = measured.get(place, [])
        if len(printed) != len(numbers):
            yield Compared(claim.page, f"{says}: {len(printed)} numbers measured", inf, 0.0, 0.0)
            continue
        for (value, spread), (found, _) in zip(numbers, printed, strict=True):
            yield Compared(claim.page, says, value, found, spread)


def main(arguments: Sequence[str]) -> int:
    """Print stated beside measured; returns 1 where one disagrees."""
    parts = [argument for argument in arguments if argument != "all"]
    print(f"{'':<11}{'stated':<10}{'measured':<10}{'spread':<10}page")
    wrong = left = 0
    for claim in CLAIMS:
        if parts and not any(part in claim.page for part in parts):
            continue
        if claim.command and "all" not in arguments:
            print(f"{'later':<41}{claim.page}: {claim.command}")
            left += 1
            continue
        for compared in compare(claim):
            wrong += not compared.agrees
            print(compared, flush=True)
    print(
        f"{wrong} disagree" + (f"; {left} that take longer are measured with `all`" if left else "")
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(given_arguments(__doc__)))
