"""A probability of 0 or 1 that a parameter moves: its derivative, or one line; one that a softmax rounded is right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Geometric,
    Independent,
    NegativeBinomial,
    OneHotCategorical,
    Poisson,
)

import framework
from framework import Context, ProgramError, UserError
from framework.parameters import Parameters

# A distribution at the end of its parameter's range, the cost of a draw, and the derivative of its mean.
ENDS: dict[str, tuple[Callable[[Tensor], Distribution], float | list[float], Tensor]] = {
    "Bernoulli at 0": (lambda t: Bernoulli(probs=t), 0.0, torch.tensor(0.4)),
    "Bernoulli at 1": (lambda t: Bernoulli(probs=t), 1.0, torch.tensor(0.4)),
    "Bernoulli beside 0": (lambda t: Bernoulli(probs=t), 1e-9, torch.tensor(0.4)),
    "Bernoulli vector": (
        lambda t: Independent(Bernoulli(probs=t), 1),
        [0.3, 0.0],
        torch.tensor([0.4, 0.4]),
    ),
    "Binomial at 0": (lambda t: Binomial(3, probs=t), 0.0, torch.tensor(1.2)),
    "Geometric at 1": (lambda t: Geometric(probs=t), 1.0, torch.tensor(-0.4)),
    "Poisson at 0": (lambda t: Poisson(t), 0.0, torch.tensor(0.4)),
    "OneHotCategorical": (
        lambda t: OneHotCategorical(probs=t),
        [0.5, 0.5, 0.0],
        # A one-hot vector costs 0.09 for each 0 and 0.49 for its 1, whichever it is.
        torch.zeros(3),
    ),
    "Categorical": (
        lambda t: Categorical(probs=t),
        [0.5, 0.5, 0.0],
        # (k - 0.3)^2 less its mean.
        torch.tensor([0.09, 0.49, 2.89]) - 0.29,
    ),
}
ESTIMATORS = (
    "exact", "reinforce", "rloo", "arm", "disarm", "measure_valued", "rebar", "relax", "gumbel", "straight_through",
    "straight_through_gumbel", "gumbel_rao", "reinmax",
)  # fmt: skip


def drawing(make: Callable[[Tensor], Distribution]) -> Callable[..., None]:
    def program(context: Context, p: Parameters, batch: None) -> None:
        cost = (context.sample("x", make(p["t"])).float() - 0.3).square()
        context.cost(cost.reshape(context.samples, -1).sum(-1))

    return program


@pytest.mark.one_in(4)
@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_end_of_a_range_is_right_or_refused_in_one_line(estimator: str, name: str):
    make, t, truth = ENDS[name]

    def found() -> Tensor:
        return framework.estimate(
            drawing(make), {"t": torch.tensor(t)}, estimator=estimator, samples=20_000, seed=0
        ).gradients["t"]

    if estimator == "measure_valued":
        torch.testing.assert_close(found(), truth, atol=0.02, rtol=0.02)
        return
    with pytest.raises(ProgramError, match=r"draw 'x' ~ ") as error:
        found()
    assert "measure_valued" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("estimator", ["exact", "rloo", "disarm", "rebar", "gumbel"])
@pytest.mark.parametrize(
    "probability",
    [
        lambda t: torch.sigmoid(t * 100),
        lambda t: torch.stack([t * 300, torch.zeros_like(t)], -1).softmax(-1)[..., 0],
        lambda t: torch.sigmoid(t) * torch.zeros_like(t),
        lambda t: t.clamp(0, 1),
        lambda t: (t * 0.0).exp() - 1 + torch.tensor(0.0),
    ],
)
def test_a_probability_that_does_not_move_away_from_0_is_served(
    estimator: str, probability: Callable[[Tensor], Tensor]
):
    """Rounded by a sigmoid, masked, or cut off: its own derivative is 0."""
    found = framework.estimate(
        drawing(lambda t: Bernoulli(probs=probability(t))),
        {"t": torch.tensor(-3.0)},
        estimator=estimator,
        seed=0,
    )
    assert found.gradients["t"] == 0
    assert found.value == pytest.approx(0.09)


@pytest.mark.parametrize("estimator", ["reinforce", "rloo"])
def test_other_families_by_probabilities_are_refused_by_the_score_function(estimator: str):
    for make in (
        lambda t: NegativeBinomial(3, probs=t),
        lambda t: ContinuousBernoulli(probs=t),
    ):
        with pytest.raises(UserError, match="a probability of 0 or 1 that a parameter moves"):
            framework.estimate(
                drawing(make), {"t": torch.tensor(1e-9)}, estimator=estimator, seed=0
            )


def test_a_continuous_draw_that_torch_clamps_is_refused_along_its_path_too():
    with pytest.raises(ProgramError, match="a probability of 0 or 1 that a parameter moves"):
        framework.estimate(
            drawing(lambda t: ContinuousBernoulli(probs=t)),
            {"t": torch.tensor(1e-9)},
            estimator="reparameterisation",
        )


def test_constant_probabilities_of_0_are_served():
    def program(context: Context, p: Parameters, batch: None) -> None:
        x = context.sample("x", Categorical(probs=torch.tensor([0.5, 0.5, 0.0])))
        context.cost(context.sample("y", Bernoulli(logits=p["t"])) * x)

    found = framework.estimate(program, {"t": torch.tensor(0.0)}, estimator="exact")
    torch.testing.assert_close(found.gradients["t"], torch.tensor(0.125))


def test_looking_takes_nothing_from_the_random_stream():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with pytest.raises(ProgramError):
        framework.estimate(
            drawing(lambda t: Bernoulli(probs=t)), {"t": torch.tensor(0.0)}, estimator="rloo"
        )
    assert torch.equal(torch.rand(3), expected)
