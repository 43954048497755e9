"""Costs of one datum, or of one sample, that depend on the draws of others are named, by whichever call they come."""

import warnings

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.nn.functional import batch_norm

import framework
from framework.errors import ProgramError
from framework.program import Program

DATA = torch.tensor([-1.0, 0.3, 0.8, -0.2, 1.5])
PARAMETERS = {"m": torch.tensor(0.5)}
SCORED = ["rloo", "reinforce", "disarm", "measure_valued", "rebar"]
# [n, data] -> [n, data], each datum's from those of others.
MIXING = {
    "roll": lambda x: x * x.roll(1, 1),
    "flip": lambda x: x * x.flip(1),
    "mean": lambda x: (x - x.mean(1, keepdim=True)) ** 2,
    "softmax": lambda x: torch.softmax(x, -1) * DATA,
    "pairs": lambda x: (x.unsqueeze(1) * x.unsqueeze(2)).sum(-1),
    "product": lambda x: x @ torch.ones(len(DATA), len(DATA)),
    "einsum": lambda x: torch.einsum("nb,bc->nc", x, torch.ones(len(DATA), len(DATA))),
    "permuted": lambda x: x * x[:, torch.tensor([1, 2, 3, 4, 0])],
    "batch norm": lambda x: batch_norm(x.reshape(-1, 1), None, None, training=True).reshape(
        x.shape
    ),
}
APART = {
    "own": lambda x: (x - DATA) ** 2,
    "a constant's": lambda x: x * DATA.flip(0) + DATA.mean(),
    "printed only": lambda x: x * 2 + 0 * x.mean().detach(),
    "there and back": lambda x: x.roll(1, 1).roll(-1, 1) * DATA,
    "of its elements": lambda x: torch.softmax(torch.stack([x, x * DATA], -1), -1)[..., 0],
}


def program(cost, law=Bernoulli) -> Program:
    def function(context, p, batch):
        logits = p["m"] + batch
        draw = Bernoulli(logits=logits) if law is Bernoulli else Normal(logits, 1.0)
        context.cost(cost(context.sample("x", draw)))

    return Program(function, batch_axes=1)


def estimated(cost, estimator: str, law=Bernoulli) -> tuple[framework.Estimate, list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = framework.estimate(
            program(cost, law), PARAMETERS, DATA, estimator=estimator, samples=6, seed=0
        )
    return found, [str(each.message) for each in told]


@pytest.mark.parametrize("how", MIXING)
def test_a_cost_that_mixes_data_makes_the_estimate_biased_and_is_named(how: str):
    found, messages = estimated(MIXING[how], "rloo")
    assert found.biased
    assert len(messages) == 1
    # What brings all samples together is named as that.
    one = "sample" if how == "batch norm" else "datum"
    assert messages[0].startswith(f"cost 'cost' of one {one} depends on the draws of others, by `")
    assert "test_mixing.py" in messages[0]


@pytest.mark.parametrize("estimator", SCORED)
def test_by_whichever_estimator_charges_draws_with_costs(estimator: str):
    found, messages = estimated(MIXING["roll"], estimator)
    assert found.biased
    assert ["of one datum" in message for message in messages] == [True]


def test_exact_which_would_give_all_data_the_same_values_refuses_it():
    with pytest.raises(
        ProgramError, match=r"of one datum depends on .* exact sums over draws 'x' of"
    ):
        estimated(MIXING["roll"], "exact")


def test_along_a_path_data_may_be_mixed():
    found, messages = estimated(MIXING["mean"], "reparameterisation", Normal)
    assert not found.biased
    assert messages == []


@pytest.mark.parametrize("how", APART)
def test_what_keeps_data_apart_raises_no_alarm(how: str):
    found, messages = estimated(APART[how], "rloo")
    assert not found.biased
    assert messages == []


def test_without_batch_axes_every_draw_is_charged_with_all_costs():
    """As the refusal says: the mean over 2,000 samples is within 4 standard errors of the derivative."""

    def function(context, p, batch):
        x = context.sample("x", Bernoulli(logits=p["m"] + DATA))
        context.cost((x * x.roll(1, 1)).mean(1))

    m = torch.tensor(0.5, requires_grad=True)
    p = torch.sigmoid(m + DATA)
    (derivative,) = torch.autograd.grad((p * p.roll(1)).mean(), m)
    found = [
        float(
            framework.estimate(function, PARAMETERS, estimator="rloo", samples=50, seed=seed)
            .gradients["m"]
        )
        for seed in range(40)
    ]  # fmt: skip
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / len(found) ** 0.5
    assert abs(mean - derivative) < 4 * error


@pytest.mark.parametrize(
    "cost",
    [
        lambda x: x[torch.tensor([1, 2, 3, 4, 5, 0])],
        lambda x: torch.ones(6, 6) @ x,
        lambda x: x @ torch.ones(6, 6),
        lambda x: (x.unsqueeze(0) * x.unsqueeze(1)).sum(1),
        lambda x: torch.from_numpy(x.numpy() - x.numpy().mean()) ** 2,
        lambda x: torch.tensor([number * sum(x.tolist()) for number in x.tolist()]),
    ],
    ids=["permuted", "product", "product from the left", "pairs", "by NumPy", "in a list"],
)
def test_samples_are_not_mixed_in_silence_either(cost):
    def function(context, p, batch):
        context.cost(cost(context.sample("x", Bernoulli(logits=p["m"].expand(())))))

    with pytest.warns(UserWarning, match="of one sample depends on the draws of others"):
        found = framework.estimate(function, PARAMETERS, estimator="rloo", samples=6, seed=0)
    assert found.biased
