"""What a study searches, from Hydra's words."""

import json
from typing import Any

import pytest

from framework.errors import UserError
from framework.tuning.space import Dimension, between, ends, parsed
from tests.runs import Diffobj


class Middle:
    """A trial of Optuna's whose every suggestion is a lower end, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def suggest_int(
        self, key: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        self.asked.append(("int", low, high, step, log))
        return low + step if not log else low

    def suggest_float(
        self, key: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked.append(("float", low, high, step, log))
        return low + (step or 0.0)

    def suggest_categorical(self, key: str, choices: tuple[str, ...]) -> str:
        self.asked.append(choices)
        return choices[-1]


@pytest.mark.parametrize(
    ("written", "asked", "text"),
    [
        ("interval(1e-4,1e-1)", ("float", 1e-4, 0.1, None, True), "0.0001"),
        ("interval(0.5,0.99)", ("float", 0.5, 0.99, None, False), "0.5"),
        ("interval(0,5)", ("float", 0.0, 5.0, None, False), "0.0"),
        ("interval(1,10)", ("float", 1.0, 10.0, None, True), "1.0"),
        ("tag(linear, interval(1,10))", ("float", 1.0, 10.0, None, False), "1.0"),
        ("tag(log, interval(1,2))", ("float", 1.0, 2.0, None, True), "1.0"),
        ("int(interval(1,64))", ("int", 1, 64, 1, True), "1"),
        ("int(interval(2,8))", ("int", 2, 8, 1, False), "3"),
        ("choice(rloo,spsa)", ("rloo", "spsa"), "spsa"),
        ("rloo,spsa", ("rloo", "spsa"), "spsa"),
        ("choice([1,2],'a b')", ("[1,2]", "a\\ b"), "a\\ b"),
        ("range(8,33,8)", ("int", 8, 32, 8, False), "16"),
        ("range(5,0,-2)", ("int", 1, 5, 2, False), "3"),
        ("range(0.1,1,0.2)", ("float", 0.1, 0.9, 0.2, False), "0.30000000000000004"),
    ],
)  # fmt: skip
def test_what_optuna_is_asked_and_what_the_trial_is_told(written, asked, text):
    (found,), fixed = parsed([f"task.key={written}"])
    trial = Middle()
    assert found.suggest(trial) == text
    assert (trial.asked, fixed) == ([asked], [])
    assert Dimension.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_a_glob_is_a_choice_and_what_is_not_searched_is_fixed():
    told = ["experiment=javelin", "estimator=glob(rl*)", "input=a b,c.jpg", "seed=1,2"]
    space, fixed = parsed(told)
    assert [each.choices for each in space] == [("rloo",), ("1", "2")]
    assert fixed == ["experiment=javelin", "input=a b,c.jpg"]


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            ["k=interval(2,1)"],
            "'k=interval(2,1)': it is empty; expected a lower end, then a higher",
        ),
        (["k=interval(1,1)"], "'k=interval(1,1)': it is empty; "),
        (["k=interval(0,inf)"], "'k=interval(0,inf)': expected two finite ends"),
        (["k=interval(nan,1)"], "'k=interval(nan,1)': expected two finite ends"),
        (["k=tag(log,interval(0,1))"], "'k=tag(log,interval(0,1))': expected positive ends"),
        (["k=tag(lag,interval(0,1))"], "unknown tag 'lag'; expected log or linear"),
        (["k=range(1,1)"], "'k=range(1,1)': it is empty; expected at least one value"),
        (["k=range(0,20000)"], "more than 10,000 values; search an interval(a,b)"),
        (["k=choice()"], "'k=choice()': expected key=value, key=interval(a,b)"),
        (["k"], "'k': expected key=value, key=interval(a,b)"),
        (["estimator=glob(x*)"], "it matches no estimator; choices: "),
        (["seed=3"], "there is nothing to search: write key=interval(a,b)"),
        (["seed=choice(3)"], "there is nothing to search"),
        ([], "there is nothing to search"),
        (["seed=1,2", "seed=3"], "'seed' is given twice"),
        (["seed=1,2", "+seed=3,4"], "'seed' is given twice"),
        (["~seed=1,2"], "a key is removed or searched"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(told, line):
    with pytest.raises(UserError) as error:
        parsed(told)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_checked_before_the_first_trial():
    space, _ = parsed(
        ["a=interval(1,3)", "b=interval(0.5,2)", "c=int(interval(1,4))", "d=x,y,z", "e=range(0,9)"]
    )
    assert list(map(ends, space)) == [
        ["1.0", "3.0"],
        ["0.5", "2.0"],
        ["1", "4"],
        ["x", "y", "z"],
        ["0", "8"],
    ]
    assert [between(each) for each in space] == ["a=1.5", None, None, None, None]


def test_without_optuna_the_extra_is_named(diffobj: Diffobj, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("framework.extras.find_spec", lambda name: None)
    outcome = diffobj("tune", "experiment=javelin", "seed=0,1")
    line = "diffobj: diffobj tune needs Optuna: make install EXTRAS=tune\n"
    assert (outcome.status, outcome.err) == (2, line)
    assert list(tmp_path.iterdir()) == []
