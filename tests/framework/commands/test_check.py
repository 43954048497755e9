"""diffobj check: a sound task passes, and each broken promise is found and named."""

import re

import pytest

from tests.runs import Diffobj

SGD = ("optimizer=sgd", "optimizer.learning_rate=1e-3")


def findings(out: str) -> dict[str, str]:
    """`ok` or `FAIL` for each check."""
    marks = re.findall(r"^(ok|FAIL) +(\w+)", out, flags=re.MULTILINE)
    return {what: mark for mark, what in marks}


@pytest.mark.parametrize(
    "estimator",
    [
        "rloo",
        pytest.param("reparameterisation", marks=pytest.mark.slow),
        pytest.param("spsa", marks=pytest.mark.slow),
    ],
)
def test_the_javelin_is_found_sound(diffobj: Diffobj, estimator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = diffobj("check", "experiment=javelin", f"estimator={estimator}")
    assert outcome.status == 0, outcome.out
    names = ["manifest", "objective", "evaluation", "show", "gradient", "resume", "speed"]
    assert findings(outcome.out) == dict.fromkeys(names, "ok")
    assert outcome.out.splitlines()[-1] == "javelin: all checks passed"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("task", "what", "said"),
    [
        ("detached", "gradient", "a draw detached"),
        ("unkeyed", "objective", "twice the same seed gives different values"),
        ("forgetful", "resume", "save what the objective remembers in state_dict"),
        ("infinite", "objective", "the objective or its gradient is not finite"),
        ("headless", "evaluation", "add the primary metric 'accuracy'"),
        ("still", "objective", "no parameter has a gradient"),
    ],
)
def test_a_broken_promise_is_found_and_named(toy, diffobj: Diffobj, task, what, said):
    estimator = "rloo" if task == "detached" else "reparameterisation"
    outcome = diffobj("check", f"task=toy_{task}", f"estimator={estimator}", *SGD)
    assert outcome.status == 1, outcome.out
    assert findings(outcome.out)[what] == "FAIL"
    assert said in outcome.out
    assert outcome.out.splitlines()[-1] == f"{task}: 1 to fix"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (
            "early",
            "no parameter has a gradient: cost 'cost' is charged before draw 'shot', the first that depends on a "
            "parameter",
        ),
        ("averaged", "cost 'cost' has no sample axis, though it depends on draw 'shot'"),
        (
            "lost",
            "neither a cost nor a draw ('shot') is made from a parameter: is one detached, or turned into a number",
        ),
        ("raising", "the task's objective: ZeroDivisionError: "),
    ],
)
def test_a_gradient_that_is_zero_or_missing_has_its_cause_in_one_line(
    toy, diffobj: Diffobj, task, said
):
    outcome = diffobj("check", f"task=toy_{task}", "estimator=rloo", *SGD)
    assert outcome.status == 1
    assert outcome.err == ""
    assert findings(outcome.out)["objective"] == "FAIL"
    # After the manifest's line and the objective's.
    (line,) = outcome.out.splitlines()[2:-1]
    assert line.strip().startswith(said)
    if task == "raising":
        assert line.endswith("(broken.py, line 116)")


@pytest.mark.slow
def test_a_task_with_data_workers_and_dropout_is_sound(toy, diffobj: Diffobj):
    outcome = diffobj("check", "experiment=toy", "task.workers=1", "task.layers=plain")
    assert outcome.status == 0, outcome.out
