"""The table of truth: what it calls right, wrong, refused and raw is just that, and its problems' truths are true."""

from __future__ import annotations

import json
import math
import warnings

import pytest
import torch

from experiments.gradient_table import __main__ as table
from experiments.gradient_table import cell
from experiments.gradient_table.cell import judge
from experiments.problems import PROBLEMS
from framework.errors import UserError
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.registered import make_estimator
from framework.plugin import registry
from framework.randomness import seeded
from framework.recording.rule import Plain

# One of each kind that has no trap.
SOUND = (
    "coin_for_each_datum",
    "gaussian_quadratic",
    "masked_choice",
    "recorded_coins_with_predictions",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("rebar_toy", "two_layers", "bernoulli_elbo")
    ),
)


class Scaled(Estimator):
    """The leave-one-out score function, changed."""

    def __init__(self, gradient: float = 1.0, value: float = 0.0, *, biased: bool = False) -> None:
        self.gradient, self.value, self.biased = gradient, value, biased

    def backward(self, program, parameters, batch=None, *, scale=1.0) -> Estimate:
        found = make_estimator("rloo", 32).backward(program, parameters, batch, scale=self.gradient)
        return Estimate(objective=found.objective + self.value, evaluations=32, biased=self.biased)


class Raising(Scaled):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def backward(self, program, parameters, batch=None, *, scale=1.0) -> Estimate:
        raise self.error


@pytest.fixture
def broken(monkeypatch):
    """Puts an estimator in the place of every other."""

    def put(estimator: Estimator) -> None:
        for module in ("framework.gradients.estimate", "experiments.gradient_table.cell"):
            monkeypatch.setattr(f"{module}.make_estimator", lambda *arguments: estimator)

    return put


@pytest.mark.parametrize(
    ("estimator", "verdict", "detail"),
    [
        (Scaled(), "holds", ""),
        (Scaled(1.5), "wrong", "gradient element "),
        (Scaled(0.0), "wrong", "gradient element 0 0, true 0.3308"),
        (Scaled(value=0.5), "wrong", "value 0.39"),
        (Scaled(1.5, biased=True), "declared", ""),
        (Scaled(math.nan), "declared", "not finite: the gradient of 'logits'"),
        (Raising(UserError("no draw will do")), "refused", "no draw will do"),
        (Raising(UserError("two\nlines")), "error", "two\nlines"),
        (Raising(IndexError("out of range")), "error", "IndexError: out of range"),
    ],
)
def test_a_verdict_says_what_an_estimator_did(broken, estimator, verdict, detail):
    broken(estimator)
    found = judge(PROBLEMS["categorical"], "broken")
    assert found.verdict == verdict
    assert detail in found.detail
    assert bool(found.detail) == bool(detail)


def test_chance_alone_is_not_called_wrong(monkeypatch):
    """At a threshold that every second estimate passes, the second measurement still clears it."""
    monkeypatch.setattr(cell, "SUSPICIOUS_Z", 2.0)
    verdicts = [judge(PROBLEMS["categorical"], "rloo", seed=seed).verdict for seed in range(20)]
    assert verdicts.count("wrong") <= 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", SOUND)
def test_no_estimator_is_silently_wrong_or_raises_a_raw_error_on_a_sound_problem(name):
    for estimator in registry().names("estimators"):
        found = judge(PROBLEMS[name], estimator, repeats=16)
        assert found.verdict not in {"wrong", "error"}, f"{estimator}: {found.detail}"
        assert "\n" not in found.detail


def test_the_figures_are_those_of_the_estimates():
    """Two tosses, leave-one-out: half the difference of the costs where they differ, else 0."""
    problem = PROBLEMS["rebar_toy"]
    p = problem.parameters["theta"].sigmoid().item()
    difference, unequal = (1 - 0.499) ** 2 - 0.499**2, 2 * p * (1 - p)
    variance = (difference / 2) ** 2 * unequal * (1 - unequal)
    found = judge(problem, "rloo", samples=2, repeats=2000)
    assert found.verdict == "holds"
    assert found.variance == pytest.approx(variance, rel=0.05)
    assert found.cpu_ms > 0
    assert judge(problem, "exact").variance == pytest.approx(0.0, abs=1e-12)


def test_there_are_at_least_60_problems_of_every_kind_of_difficulty():
    assert len(PROBLEMS) >= 60
    assert {p.kind for p in PROBLEMS.values()} == {"finite", "discrete", "smooth", "kinked"}
    groups = {p.group for p in PROBLEMS.values()}
    assert groups >= {"axes", "masks", "in_place", "lost_paths", "jumps", "supports", "reports"}
    for problem in PROBLEMS.values():
        assert all(g.isfinite().all() for g in problem.gradients().values()), problem.name


# Their traps are set for the framework's own reading of a run.
READ_WRONG = {"in_place", "axes", "recorded"}
BOUNDS = {"bound_of_three_samples", "bound_with_a_cost_and_a_penalty"}


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "name", [n for n, p in PROBLEMS.items() if p.group not in READ_WRONG and n not in BOUNDS]
)
def test_the_true_objective_is_what_many_runs_cost_on_average(name):
    problem = PROBLEMS[name]
    loop = problem.program.one_sample_at_a_time
    with seeded(0), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traces = problem.fresh_program().run(
            lambda site: Plain(),
            problem.parameters,
            problem.next_batch(),
            samples=300 if loop else 40_000,
        )
        costs = torch.cat(
            [trace.total_cost().reshape(len(trace.total_cost()), -1).mean(1) for trace in traces]
        )
    error = costs.std() / math.sqrt(len(costs))
    difference = abs(float(costs.mean()) - problem.value())
    assert difference < 1e-3 or difference < 4 * error


def test_the_table_is_written_and_its_status_says_whether_all_is_well(tmp_path, broken, capsys):
    arguments = ["--problems", "rebar_toy", "--estimators", "rloo", "arm", "--workers", "1"]
    assert table.main([*arguments, "--folder", str(tmp_path)]) == 0
    cells = json.loads((tmp_path / "gradient_table.json").read_text())
    assert [(c["problem"], c["estimator"], c["verdict"]) for c in cells] == [
        ("rebar_toy", "rloo", "holds"),
        ("rebar_toy", "arm", "holds"),
    ]
    page = (tmp_path / "gradient_table.md").read_text()
    assert "| problem | rloo | arm |" in page
    assert "| rebar toy | ✓ | ✓ |" in page
    assert (tmp_path / "gradient_table.png").stat().st_size > 1000
    broken(Scaled(3.0))
    assert table.main(["--problems", "categorical", "--estimators", "rloo", "--workers", "1"]) == 1
    assert "categorical, rloo: SILENTLY WRONG: gradient element" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--problems", "rebar_toi"], "no problem 'rebar_toi'; did you mean 'rebar_toy'?"),
        (["--estimators", "rlo"], "unknown estimator 'rlo'; did you mean 'rloo'?"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert table.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
