"""Implicit reparameterisation: von Mises draws and mixtures agree with closed forms and with quadrature."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import (
    Beta,
    Categorical,
    ContinuousBernoulli,
    Gamma,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    StudentT,
    VonMises,
    Wishart,
)

import framework
from framework.errors import ProgramError
from framework.gradients.distributions.implicit import draw


def repeated(program, parameters, batch=None, estimator="reparameterisation", **options):
    """The mean gradient of 200,000 samples in 100 repeats and its standard error."""
    found = [
        framework.estimate(
            program, parameters, batch, estimator=estimator, samples=2000, seed=i, **options
        ).gradients
        for i in range(100)
    ]
    stacked = {name: torch.stack([each[name] for each in found]) for name in parameters}
    return {name: (each.mean(0), each.std(0) / 10) for name, each in stacked.items()}


def assert_agree(found, objective, parameters):
    leaves = {name: value.double().requires_grad_() for name, value in parameters.items()}
    true = torch.autograd.grad(objective(**leaves), list(leaves.values()))
    for (mean, error), expected in zip(found.values(), true, strict=True):
        assert ((mean - expected).abs() < 4 * error + 1e-6).all(), (mean, error, expected)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("concentration", [0.3, 4.0, 300.0])
def test_a_von_mises_draw_turns_and_narrows_with_its_parameters(concentration):
    """E cos(x) = I1(k) / I0(k) cos(mode)."""
    parameters = {"mode": torch.tensor(2.9), "concentration": torch.tensor(concentration)}

    def program(context, parameters, batch):
        angle = context.sample("angle", VonMises(parameters["mode"], parameters["concentration"]))
        context.cost(angle.cos())

    def objective(mode, concentration):
        ratio = torch.special.i1e(concentration) / torch.special.i0e(concentration)
        return ratio * mode.cos()

    assert_agree(repeated(program, parameters), objective, parameters)


def mixture(weights, means, log_scales):
    return MixtureSameFamily(Categorical(logits=weights), Normal(means, log_scales.exp()))


MIXTURE = {
    "weights": torch.tensor([0.3, -0.5, 1.0]),
    "means": torch.tensor([-1.0, 0.2, 2.0]),
    "log_scales": torch.tensor([-0.3, 0.1, -1.0]),
}


def test_a_mixture_moves_mass_between_its_components():
    """E x^2 = sum over k of w_k (m_k^2 + s_k^2)."""

    def program(context, parameters, batch):
        context.cost(context.sample("x", mixture(**parameters)) ** 2)

    def objective(weights, means, log_scales):
        return (weights.softmax(0) * (means**2 + (2 * log_scales).exp())).sum()

    assert_agree(repeated(program, MIXTURE), objective, MIXTURE)


def test_a_mixture_of_vectors_keeps_its_elements_together():
    """E[x_0 x_1^2] of diagonal components: sum over k of w_k m_k0 (m_k1^2 + 1/4), each datum with its own weights."""
    parameters = {
        "weights": torch.tensor([0.3, -0.5]),
        "means": torch.tensor([[-1.0, 0.5], [1.5, 1.0]]),
    }
    batch = torch.tensor([1.0, -2.0, 0.4])

    def program(context, parameters, batch):
        weights = batch.unsqueeze(1) * parameters["weights"]
        components = Independent(Normal(parameters["means"].expand(3, 2, 2), 0.5), 1)
        x = context.sample("x", MixtureSameFamily(Categorical(logits=weights), components))
        context.cost(x[..., 0] * x[..., 1] ** 2)

    def objective(weights, means):
        shares = (batch.double().unsqueeze(1) * weights).softmax(1)
        return (shares * means[:, 0] * (means[:, 1] ** 2 + 0.25)).sum(1).mean()

    found = repeated(framework.Program(program, batch_axes=1), parameters, batch)
    assert_agree(found, objective, parameters)


def test_second_derivatives_and_components_without_a_distribution_function_are_refused():
    def program(context, parameters, batch):
        context.cost(context.sample("x", mixture(**parameters)) ** 2)

    leaves = {name: value.clone().requires_grad_() for name, value in MIXTURE.items()}
    loss = framework.surrogate(program, leaves, estimator="reparameterisation")
    with pytest.raises(ProgramError, match=r"'x': 'reparameterisation' knows first derivatives"):
        torch.autograd.grad(loss, leaves["means"], create_graph=True)

    def heavy(context, parameters, batch):
        scale = parameters["scale"].expand(2)
        components = StudentT(3.0, 0.0, scale)
        drawn = MixtureSameFamily(Categorical(logits=torch.zeros(2)), components)
        context.cost(context.sample("x", drawn) ** 2)

    with pytest.raises(ProgramError, match=r"'x' ~ MixtureSameFamily .*can serve it: reinforce"):
        framework.estimate(heavy, {"scale": torch.tensor(1.0)}, estimator="reparameterisation")


def test_the_derivative_of_a_laplace_mixture_is_that_of_its_own_inverse():
    """Numerically: the x at which F(x; m) is held moves with m as the path says."""
    mean = torch.tensor(0.4, dtype=torch.double, requires_grad=True)

    def drawn(mean):
        components = Laplace(torch.stack([mean, torch.ones_like(mean)]), 0.7)
        return MixtureSameFamily(Categorical(logits=torch.tensor([0.2, -0.3]).double()), components)

    x = draw("reparameterisation", "x", drawn(mean), torch.Size((1,)))
    (slope,) = torch.autograd.grad(x.sum(), mean)
    level, step = drawn(mean).cdf(x).detach(), 1e-6
    inverse = []
    for shifted in (mean.detach() - step, mean.detach() + step):
        low, high = x.detach() - 1, x.detach() + 1
        for _ in range(60):
            middle = (low + high) / 2
            below = drawn(shifted).cdf(middle) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        inverse.append(low)
    torch.testing.assert_close(
        (inverse[1] - inverse[0]).squeeze() / (2 * step), slope, atol=1e-6, rtol=1e-4
    )


@pytest.mark.parametrize(
    "drawn",
    [lambda a: Gamma(a, 2.0), lambda a: Beta(2.0, a), lambda a: StudentT(a, 0.0, 1.0)],
)
def test_second_derivatives_of_what_torch_finds_implicitly_are_refused(drawn):
    """Those of a Beta draw were 0 without a word."""

    def program(context, parameters, batch):
        context.cost(context.sample("x", drawn(parameters["a"])) ** 2 * parameters["a"])

    a = torch.tensor(3.3, requires_grad=True)
    loss = framework.surrogate(program, {"a": a}, estimator="reparameterisation")
    with pytest.raises(ProgramError, match="knows first derivatives only"):
        torch.autograd.grad(loss, a, create_graph=True)


def test_a_gamma_draw_has_second_derivatives_in_its_rate():
    """E x = 2.5 / r."""

    def program(context, parameters, batch):
        context.cost(context.sample("x", Gamma(2.5, parameters["rate"])))

    rate = torch.tensor(0.8, requires_grad=True)
    loss = framework.surrogate(
        program, {"rate": rate}, estimator="reparameterisation", samples=100_000, seed=0
    )
    (slope,) = torch.autograd.grad(loss, rate, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, rate)
    torch.testing.assert_close(curvature, torch.tensor(5 / 0.8**3), rtol=0.02, atol=0)


def test_a_wishart_draw_keeps_its_path_however_many_there_are():
    """E trace x = df trace S. torch's own `rsample` writes into the draw once it looks singular."""
    scale = torch.tensor([[1.0, 0.3], [0.3, 0.8]])

    def program(context, parameters, batch):
        x = context.sample("x", Wishart(parameters["df"], scale * parameters["s"]))
        context.cost(x.diagonal(dim1=-2, dim2=-1).sum(-1).square())

    # E (trace x)^2 = (df trace S)^2 + 2 df trace S^2.
    df, s = (torch.tensor(v, requires_grad=True) for v in (3.0, 1.2))
    objective = (df * s * 1.8) ** 2 + 2 * df * s**2 * (scale @ scale).trace()
    truth = torch.autograd.grad(objective, [df, s])
    found = framework.estimate(
        program,
        {"df": df.detach(), "s": s.detach()},
        estimator="reparameterisation",
        samples=200_000,
        seed=0,
    )
    torch.testing.assert_close(found.gradients["df"], truth[0], rtol=0.03, atol=0)
    torch.testing.assert_close(found.gradients["s"], truth[1], rtol=0.03, atol=0)


@pytest.mark.parametrize("probability", [0.5, 0.4995, 0.501, 0.3])
def test_a_continuous_bernoulli_draw_has_its_path_about_one_half_too(probability):
    """E x = p / (2 p - 1) + 1 / (2 artanh(1 - 2 p)), of derivative 1/3 at p = 1/2; torch's draws have none there."""

    def program(context, parameters, batch):
        context.cost(context.sample("x", ContinuousBernoulli(probs=parameters["p"])))

    if probability == 0.3:
        p = torch.tensor(probability, dtype=torch.float64, requires_grad=True)
        mean = p / (2 * p - 1) + 1 / (2 * torch.atanh(1 - 2 * p))
        (truth,) = torch.autograd.grad(mean, p)
    else:
        truth = torch.tensor(1 / 3)
    found = framework.estimate(
        program,
        {"p": torch.tensor(probability)},
        estimator="reparameterisation",
        samples=100_000,
        seed=0,
    )
    torch.testing.assert_close(found.gradients["p"], truth.float(), rtol=0.01, atol=0)
