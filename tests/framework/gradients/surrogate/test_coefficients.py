"""A cost that holds its own draw's log-probability: right in expectation, with less variance."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

import framework
from framework import Context, Program, ProgramError
from framework.gradients.registered import make_estimator
from framework.gradients.surrogate.coefficients import without_others

LOGITS = torch.tensor([-0.8, 0.3, 1.1])
FIT = torch.tensor([0.4, -0.2, 1.0])


def bound(context: Context, p: Any, batch: Any) -> None:
    """An evidence lower bound of independent latents."""
    z = context.sample("z", Bernoulli(logits=p["logits"]))
    context.cost(context.log_prob("z") - z * FIT)


def bound_by_hand(context: Context, p: Any, batch: Any) -> None:
    guide = Bernoulli(logits=p["logits"])
    z = context.sample("z", guide)
    context.cost(guide.log_prob(z) - z * FIT)


def slope_of_bound() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    guide = Bernoulli(logits=logits)
    (-guide.entropy() - guide.probs * FIT).sum().backward()
    assert logits.grad is not None
    return logits.grad


def gradients(function: Any, estimator: str, repeats: int, **parameters: Tensor) -> Tensor:
    """Repeated estimates by 16 samples, `[repeats, P]`."""
    chosen, program = make_estimator(estimator, 16), Program(function)
    leaves = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    rows = []
    torch.manual_seed(0)
    for _ in range(repeats):
        for leaf in leaves.values():
            leaf.grad = None
        chosen.backward(program, leaves)
        rows.append(torch.cat([leaf.grad.reshape(-1) for leaf in leaves.values()]))  # type: ignore[union-attr]
    return torch.stack(rows)


def z_of(found: Tensor, right: Tensor) -> float:
    error = found.std(0) / len(found) ** 0.5
    return float(((found.mean(0) - right) / error.clamp(min=1e-7)).abs().max())


@pytest.mark.one_in(2)
@pytest.mark.parametrize("estimator", ["rloo", "reinforce", "disarm", "measure_valued", "exact"])
def test_the_gradient_is_that_of_the_bound(estimator: str) -> None:
    found = gradients(bound, estimator, 400, logits=LOGITS)
    assert z_of(found, slope_of_bound()) < 4


@pytest.mark.parametrize("estimator", ["rloo", "reinforce"])
def test_its_variance_is_well_below_that_of_a_log_probability_taken_by_hand(estimator: str) -> None:
    taken, by_hand = (gradients(f, estimator, 400, logits=LOGITS) for f in (bound, bound_by_hand))
    assert z_of(by_hand, slope_of_bound()) < 4
    assert taken.var(0).sum() < 0.4 * by_hand.var(0).sum()


def test_a_coefficient_that_depends_on_the_draw_stays_unbiased() -> None:
    def function(context: Context, p: Any, batch: Any) -> None:
        context.sample("z", Bernoulli(logits=p["logits"]))
        context.cost(context.log_prob("z") ** 2)

    logits = torch.tensor(0.7, requires_grad=True)
    p, logs = logits.sigmoid(), (logits.sigmoid().log(), (-logits).sigmoid().log())
    (p * logs[0] ** 2 + (1 - p) * logs[1] ** 2).backward()
    found = gradients(function, "rloo", 2000, logits=logits.detach())
    assert logits.grad is not None
    assert z_of(found, logits.grad.reshape(1)) < 4


@pytest.mark.slow
def test_a_log_probability_that_a_later_draw_reads_stays_unbiased() -> None:
    def function(context: Context, p: Any, batch: Any) -> None:
        context.sample("a", Bernoulli(logits=p["logits"]))
        b = context.sample("b", Bernoulli(logits=context.log_prob("a")))
        context.cost((b - 0.2) ** 2)

    logits = torch.tensor(0.7, requires_grad=True)
    p = logits.sigmoid()
    heads = p * p.log().sigmoid() + (1 - p) * (1 - p).log().sigmoid()
    (heads * 0.64 + (1 - heads) * 0.04).backward()
    found = gradients(function, "rloo", 4000, logits=logits.detach())
    assert logits.grad is not None
    assert z_of(found, logits.grad.reshape(1)) < 4


def test_second_derivatives_are_right() -> None:
    def function(context: Context, p: Any, batch: Any) -> None:
        z = context.sample("z", Bernoulli(logits=p["logits"]))
        context.cost(context.log_prob("z") - 0.4 * z)

    logits = torch.tensor(0.7, requires_grad=True)
    guide = Bernoulli(logits=logits)
    (slope,) = torch.autograd.grad(-guide.entropy() - 0.4 * guide.probs, logits, create_graph=True)
    (right,) = torch.autograd.grad(slope, logits)
    loss = framework.surrogate(
        function, {"logits": logits}, estimator="rloo", samples=400_000, seed=0
    )
    (slope,) = torch.autograd.grad(loss, logits, create_graph=True)
    (found,) = torch.autograd.grad(slope, logits)
    assert float(found) == pytest.approx(float(right), abs=0.01)


def test_it_is_what_the_distribution_gives_for_paths_too() -> None:
    def function(context: Context, p: Any, batch: Any) -> None:
        x = context.sample("x", Normal(p["mean"], 1.0))
        context.cost(context.log_prob("x") + (x - p["mean"]) ** 2 / 2 + x)

    found = framework.estimate(
        function, {"mean": torch.tensor(0.3)}, estimator="reparameterisation", samples=4, seed=0
    )
    assert float(found.gradients["mean"]) == pytest.approx(1.0, abs=1e-6)


def test_each_coefficient_is_compared_with_those_of_the_other_samples() -> None:
    coefficients = torch.tensor([[1.0, 2.0], [4.0, 2.0], [7.0, 2.0]])
    with torch.no_grad():
        assert without_others(coefficients).tolist() == [[-4.5, 0.0], [0.0, 0.0], [4.5, 0.0]]


def test_a_draw_that_was_not_made_is_named() -> None:
    def function(context: Context, p: Any, batch: Any) -> None:
        context.sample("z", Bernoulli(logits=p["logits"]))
        context.cost(context.log_prob("x"))

    with pytest.raises(ProgramError, match=r"no draw 'x' was made before.*z"):
        framework.estimate(function, {"logits": LOGITS}, estimator="rloo")
