"""The check of an objective says who serves it, who is right, who says that he is not, and who is wrong in silence."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal

import framework
from framework.errors import ProgramError, UserError
from framework.gradients.selection.objective_check import Slopes
from framework.plugin import registry

LOGITS = {"logits": torch.tensor([0.3, -0.8])}


def toss(context, parameters, batch):
    b = context.sample("b", Bernoulli(logits=parameters["logits"]))
    context.cost((b.sum(-1) - 0.45) ** 2)


def jump(context, parameters, batch):
    x = context.sample("x", Normal(parameters["mean"], 1.0))
    context.cost(x + 3 * (x > 0).float().detach())


@pytest.mark.slow
def test_every_estimator_has_a_row_and_those_that_serve_have_figures():
    found = framework.check(toss, LOGITS, seed=1)
    assert [row.estimator for row in found.rows] == registry().names("estimators")
    rows = {row.estimator: row for row in found.rows}
    assert found.ok
    assert found.reference == "exact"
    for name in ("exact", "rloo", "disarm", "measure_valued"):
        quality = rows[name].quality
        assert rows[name].verdict == "ok"
        assert quality is not None
        assert quality.bias_z < 4
        assert quality.bias_low < 0 < quality.bias_high
        assert rows[name].slope_z < 4
        assert rows[name].cpu_ms > 0
    assert rows["gumbel"].verdict == "biased, as it says"
    assert rows["reparameterisation"].refused == "draw 'b' ~ Bernoulli has no differentiable path"
    assert "reparameterisation: refused: draw 'b'" in str(found)


def test_the_objective_is_the_true_one():
    q = torch.tensor([0.3, -0.8]).sigmoid()
    truth = (q * (1 - q)).sum() + (q.sum() - 0.45) ** 2
    found = framework.check(toss, LOGITS, estimators=["exact"])
    assert found.value == pytest.approx(truth.item(), rel=1e-5)


def test_an_estimator_that_misses_a_jump_is_wrong_or_says_that_it_is_biased():
    found = framework.check(
        jump, {"mean": torch.tensor(0.2)}, estimators=["rloo", "reparameterisation"]
    )
    rloo, path = found.rows
    assert rloo.verdict == "ok"
    assert path.quality is not None
    assert path.quality.bias_z > 4
    assert path.slope_z > 4
    assert path.wrong or path.quality.biased
    assert found.ok is not bool(path.wrong)


def test_a_program_s_own_error_is_one_line_of_every_estimator():
    def broken(context, parameters, batch):
        context.cost([][0])

    found = framework.check(broken, LOGITS, estimators=["rloo", "spsa"])
    assert [row.wrong for row in found.rows] == ["IndexError: list index out of range"] * 2
    assert not found.ok


def test_a_cost_that_is_not_finite_is_reported():
    def endless(context, parameters, batch):
        context.cost(context.sample("b", Bernoulli(logits=parameters["logits"])).sum(-1) / 0)

    (row,) = framework.check(endless, LOGITS, estimators=["rloo"]).rows
    assert row.wrong == "its gradient or the objective is not finite"


def test_the_slopes_z_is_the_distance_in_standard_errors_and_the_steps():
    """Means 1 and 2 with standard errors 0.1 and 0.2, and 2 % of 2: 1 / sqrt(0.01 + 0.04 + 0.0016)."""
    spread = torch.tensor([-1.0, 1.0] * 50)
    spread = spread / spread.std() * math.sqrt(100)
    slopes = Slopes(torch.tensor([1.0]), (2 + 0.2 * spread).double())
    assert slopes.disagreement(1 + 0.1 * spread) == pytest.approx(1 / math.sqrt(0.0516), rel=1e-4)
    assert math.isnan(Slopes(torch.tensor([1.0]), torch.zeros(8)).disagreement(spread))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"estimators": ["rlo"]}, UserError, "unknown estimator 'rlo'; did you mean 'rloo'?"),
        ({"repeats": 2}, UserError, "repeats = 2: expected a whole number, 4 or more"),
        ({"parameters": {}}, ProgramError, "parameters: there are none"),
    ],
)
def test_a_mistake_is_one_line(changes, error, message):
    with pytest.raises(error) as refusal:
        framework.check(toss, **{"parameters": LOGITS, **changes})
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_objective_that_does_not_follow_its_draws_is_served_by_all():
    """The gradient is 0, and what is left of it the rounding of a cost of 3."""

    def constant(context, parameters, batch):
        z = context.sample("z", Bernoulli(logits=parameters["t"]))
        context.cost(3.0 + 0 * z)

    names = ["exact", "rloo", "measure_valued", "disarm"]
    found = framework.check(constant, {"t": torch.tensor([0.2, 0.1])}, estimators=names)
    assert [row.verdict for row in found.rows] == ["ok"] * 4
