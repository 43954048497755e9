"""README's table of the estimators, made from what each declares: python -m experiments.estimator_table

Rewrites the lines between the two markers. Estimators of installed packages appear too: run it where none but this
project's are installed.
"""

from __future__ import annotations

from experiments.command import given_arguments
from framework.capabilities import estimators
from framework.plugin import ROOT

README = ROOT / "README.md"
BEGIN = "<!-- estimators: python -m experiments.estimator_table -->"
END = "<!-- end of estimators -->"
HEAD = """\
| name | what it is | serves | biased | evaluations of the objective |
|---|---|---|---|---|
"""


def table() -> str:
    """A row for each registered estimator, in the registry's order."""
    rows = []
    for component, declared in estimators():
        cells = [
            f"`{component.name}`",
            component.summary().removesuffix("."),
            declared.description(),
            declared.bias_in_words(),
            declared.evaluations,
        ]
        rows.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n")
    return HEAD + "".join(rows)


def parts(text: str) -> tuple[str, str, str]:
    """What stands before, between and after the markers."""
    before, _, rest = text.partition(f"{BEGIN}\n")
    between, _, after = rest.partition(f"{END}\n")
    return before, between, after


def main() -> None:
    before, _, after = parts(README.read_text(encoding="utf-8"))
    README.write_text(f"{before}{BEGIN}\n{table()}{END}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    main()
