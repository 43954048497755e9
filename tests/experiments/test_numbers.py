"""The numbers of the pages: found where they are said to be, compared within their spread."""

import pytest

from experiments import numbers
from experiments.claims import CLAIMS, Claim, Table
from experiments.numbers import compare, compare_rows, last_digit, main, rows, stated
from framework.plugin import ROOT


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page of its own: what it says, as `stated` finds it."""
    monkeypatch.setattr(numbers, "ROOT", tmp_path)
    text = "It ends at 45.0 degrees,\nafter .25 s; rloo | 18.64 ± 0.06 | -3 K\n"
    (tmp_path / "page.md").write_text(text)
    return "page.md"


@pytest.mark.parametrize(
    "claim", [c for c in CLAIMS if isinstance(c, Claim)], ids=lambda claim: claim.says
)
def test_each_page_says_what_is_measured(claim):
    found = stated(claim.page, claim.says)
    assert found is not None
    assert len(found) == claim.says.count("{}") - claim.says.count("±")


def test_a_number_is_read_with_its_spread_or_its_last_digit(page):
    assert stated(page, "ends at {} degrees, after {} s") == [(45.0, 0.1), (0.25, 0.01)]
    assert stated(page, "rloo | {}±{} | {} K") == [(18.64, 0.06), (-3.0, 1.0)]
    assert stated(page, "ends at {} metres") is None


@pytest.mark.parametrize(("text", "unit"), [("80", 1), ("0.37", 0.01), (".633", 0.001)])
def test_the_last_digit_is_the_spread_where_none_is_given(text, unit):
    assert last_digit(text) == pytest.approx(unit, rel=1e-12)


@pytest.mark.parametrize(
    ("measured", "agrees"), [(18.64, True), (18.7, True), (18.58, True), (18.71, False)]
)
def test_a_measured_number_agrees_within_the_spread(page, measured, agrees):
    (compared,) = compare(Claim(page, "rloo | {}±{}", lambda: [measured]))
    assert compared.agrees is agrees


def test_the_command_fails_where_one_disagrees_or_the_page_is_silent(page, monkeypatch, capsys):
    right = Claim(page, "rloo | {}±{}", lambda: [18.6])
    monkeypatch.setattr(numbers, "CLAIMS", [right])
    assert main([]) == 0
    wrong = Claim(page, "after {} s", lambda: [0.5])
    silent = Claim(page, "after {} minutes", lambda: [0.25])
    slow = Claim(page, "after {} s", lambda: pytest.fail("it was measured"), "make tea")
    for claim, said in ((wrong, "DISAGREES  0.25      0.5 "), (silent, "no longer says")):
        monkeypatch.setattr(numbers, "CLAIMS", [right, claim, slow])
        capsys.readouterr()
        assert main([]) == 1
        printed = capsys.readouterr().out
        assert said in printed
        assert "page.md: make tea\n" in printed
        assert printed.endswith("1 disagree; 1 that take longer are measured with `all`\n")


def test_not_a_number_agrees_with_nothing(page):
    (compared,) = compare(Claim(page, "after {} s", lambda: [float("nan")]))
    assert not compared.agrees


@pytest.mark.parametrize(
    "table", [c for c in CLAIMS if isinstance(c, Table)], ids=lambda table: table.page
)
def test_each_table_of_a_study_has_the_columns_that_are_compared(table):
    found = rows((ROOT / table.page).read_text(encoding="utf-8"), table.columns)
    for column in table.columns:
        assert any(head.startswith(column) for _, head in found), column
    assert all(numbers for (_, head), numbers in found.items())


TABLE = "| a | AP | steps |\n|---|---|---|\n| x | 0.62 ± 0.01 (0.63, 0.61) | 5 |\n| y | .5 | 7 |\n"


def test_a_table_is_read_by_row_and_column():
    assert rows(TABLE, ["AP"]) == {
        ("x", "AP"): [(0.62, 0.01), (0.63, 0.01), (0.61, 0.01)],
        ("y", "AP"): [(0.5, 0.1)],
    }


@pytest.mark.parametrize(
    ("changed", "disagree"),
    [("0.629 ± 0.02 (0.63, 0.61)", 0), ("0.62 ± 0.01 (0.65, 0.61)", 1), ("0.62", 1), ("", 1)],
)
def test_a_printed_table_agrees_number_by_number(changed, disagree):
    table = Table("page.md", "nothing", ("AP",))
    printed = TABLE.replace("0.62 ± 0.01 (0.63, 0.61)", changed)
    found = list(compare_rows(table, rows(TABLE, ["AP"]), rows(printed, ["AP"])))
    assert sum(not each.agrees for each in found) == disagree
