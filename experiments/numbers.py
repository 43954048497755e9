"""The numbers that pages state, measured again: `python -m experiments.numbers [all] [PART_OF_A_PAGE'S_NAME ...]`

Each number is read from its page, measured by the command that the page gives (the run is kept in outputs/numbers/ and
not repeated), and printed beside it. Returns 1 where a measured number is farther from the stated one than the page's
own spread, or, where the page gives none, than one unit of the last digit that it prints; and where a page no longer
says what is looked for. Numbers of trainings that take minutes are measured with `all`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from math import inf

from experiments import runs
from experiments.command import given_arguments
from framework.plugin import ROOT

FOLDER = ROOT / "outputs" / "numbers"
NUMBER = r"(-?\d*\.?\d+)"


@dataclass(frozen=True)
class Claim:
    """Numbers of a page.

    Attributes:
        page: its path.
        says: what stands there, `{}` for each number, `{}±{}` for one with its spread; line breaks count as spaces.
        measure: returns them, in the page's order and units.
        slow: it trains for minutes.
    """

    page: str
    says: str
    measure: Callable[[], Sequence[float]]
    slow: bool = False


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


def compare(claim: Claim) -> Iterator[Compared]:
    """Each number of a claim; one that cannot agree where the page says no such thing."""
    numbers = stated(claim.page, claim.says)
    if numbers is None:
        yield Compared(claim.page, f"no longer says '{claim.says}'", inf, 0.0, 0.0)
        return
    for (value, spread), measured in zip(numbers, claim.measure(), strict=True):
        yield Compared(claim.page, claim.says, value, measured, spread)


@cache
def metrics(name: str, *options: str) -> dict[str, float]:
    """The final metrics of a training, which is done once."""
    place = FOLDER / "_".join([name, *options]).replace("/", "_")
    place = runs.trained(place, f"experiment={name}", "monitor.tensorboard=false", *options)
    found: dict[str, float] = runs.result(place)["metrics"]
    return found


def trained(names: str, experiment: str, *options: str) -> list[float]:
    """Some final metrics of a training."""
    found = metrics(experiment, *options)
    return [found[name] for name in names.split()]


def millions(experiment: str, *models: str) -> list[float]:
    """The parameters of an experiment's models, in millions."""
    import framework
    from framework.config.validation import build

    chosen = [[f"task.model={model}"] for model in models] or [[]]
    tasks = [
        build("task", framework.compose(f"experiment={experiment}", *one).task) for one in chosen
    ]
    return [sum(p.numel() for p in task.parameters.values()) / 1e6 for task in tasks]


DETECTION = "plugins/detection/README.md"
TEACHING = "plugins/teaching/README.md"
CLAIMS = (
    Claim(
        "plugins/javelin/README.md",
        "80 sin 2a metres: {} degrees, {} metres.",
        partial(trained, "angle_degrees range_metres", "javelin"),
    ),
    Claim(
        "README.md",
        "diffobj train experiment=javelin # {} degrees, {} metres",
        partial(trained, "angle_degrees range_metres", "javelin"),
    ),
    Claim(
        TEACHING,
        "ends at p = {}, q = {}, cost {}",
        partial(trained, "bite cook objective", "branch_and_loop"),
    ),
    Claim(
        TEACHING,
        "known in closed form, {}; training ends at {}.",
        partial(trained, "best_rate rate", "meta_gradient"),
    ),
    Claim(DETECTION, "3,200 steps of `nano` ({} M parameters)", partial(millions, "detection")),
    Claim(
        DETECTION,
        "and the four sides in each cell | {} M, {} M, {} M |",
        partial(millions, "detection", "nano", "tiny", "small"),
    ),
    Claim(
        DETECTION,
        "Hungarian matching, no non-maximum suppression | {} M, {} M |",
        partial(millions, "detection_set", "set_nano", "set_tiny"),
    ),
    Claim(
        DETECTION,
        "| `experiment=detection task.workers=0` (`nano`) | {} | {} | {} |",
        partial(trained, "AP AP50 AP75", "detection", "task.workers=0"),
        slow=True,
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Print stated beside measured; returns 1 where one disagrees."""
    parts = [argument for argument in arguments if argument != "all"]
    print(f"{'':<11}{'stated':<10}{'measured':<10}{'spread':<10}page")
    wrong = left = 0
    for claim in CLAIMS:
        if parts and not any(part in claim.page for part in parts):
            continue
        if claim.slow and "all" not in arguments:
            left += 1
            continue
        for compared in compare(claim):
            wrong += not compared.agrees
            print(compared, flush=True)
    print(f"{wrong} disagree" + (f"; {left} slow ones are measured with `all`" if left else ""))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(given_arguments(__doc__)))
