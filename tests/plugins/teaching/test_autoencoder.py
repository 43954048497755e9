"""The digits' autoencoder: its bound is the sum over all codes, and every estimator of discrete draws learns it."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from framework.commands.train import run
from framework.gradients.registered import make_estimator
from framework.gradients.selection.quality import measure, reference
from plugins.teaching.autoencoder import DigitsAutoencoder

CODES: dict[str, dict[str, Any]] = {
    "bernoulli": {"latent": "bernoulli", "latents": 4},
    "categorical": {"latent": "categorical", "latents": 2, "categories": 3},
}
UNBIASED = {
    "bernoulli": ["reinforce", "rloo", "arm", "disarm", "rebar", "relax", "measure_valued"],
    "categorical": ["reinforce", "rloo", "rebar", "relax", "measure_valued"],
}
BIASED = ["gumbel", "straight_through", "straight_through_gumbel", "gumbel_rao", "reinmax"]


@pytest.fixture
def make(folder):
    """An autoencoder of strokes with few latents, its parameters away from their symmetric start."""

    def make(latent, **options):
        torch.manual_seed(0)
        task = DigitsAutoencoder(folder=str(folder), hidden=6, **CODES[latent], **options)
        with torch.no_grad():
            for parameter in task.parameters.values():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return task

    return make


def negative_elbo(task, digits):
    """The bound as a sum over all codes, by hand: E_q[log q(z|x) - log p(z) - log p(x|z)]."""
    if task.latent == "bernoulli":
        q = task.model.encoder(digits).sigmoid()  # [B, D]
        p = task.model.prior.sigmoid()
        q, p = torch.stack([1 - q, q], -1), torch.stack([1 - p, p], -1)
    else:
        q = task.model.encoder(digits).unflatten(-1, task.shape).softmax(-1)  # [B, D, K]
        p = task.model.prior.unflatten(-1, task.shape).softmax(-1)
    total = torch.zeros(len(digits))
    for code in itertools.product(range(q.shape[-1]), repeat=q.shape[1]):
        chance_q = math.prod(q[:, d, k] for d, k in enumerate(code))
        chance_p = math.prod(p[d, k] for d, k in enumerate(code))
        if task.latent == "bernoulli":
            z = torch.tensor(code, dtype=torch.float32)
        else:
            z = torch.eye(q.shape[-1])[list(code)].flatten()
        logits = task.model.decoder(2 * z - 1).expand_as(digits)
        read = binary_cross_entropy_with_logits(logits, digits, reduction="none").sum(-1)
        total = total + chance_q * (chance_q.log() - chance_p.log() + read)
    return total.mean()


@pytest.mark.parametrize("latent", ["bernoulli", "categorical"])
def test_enumeration_gives_the_bound_and_gradient_of_the_sum_over_all_codes(make, latent):
    task = make(latent)
    digits = task.digits.train[:5]
    loss = negative_elbo(task, digits)
    expected = torch.autograd.grad(loss, list(task.parameters.values()))
    found = make_estimator("exact").backward(
        task.as_program(task.objective), task.parameters, digits
    )
    torch.testing.assert_close(found.objective, loss.detach(), rtol=1e-5, atol=1e-5)
    for parameter, gradient in zip(task.parameters.values(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("latent", "estimator"),
    [(latent, estimator) for latent, names in UNBIASED.items() for estimator in names],
)
def test_unbiased_estimators_agree_with_enumeration(make, latent, estimator):
    task = make(latent)
    program, digits = task.as_program(task.objective), task.digits.train[:3]
    against = reference(program, task.parameters, digits, seed=1)
    assert against is not None
    assert against.source == "exact"
    found = measure(
        make_estimator(estimator, 32),
        program,
        task.parameters,
        lambda number: digits,
        repeats=40,
        seed=1,
        against=against,
    )
    assert not found.biased
    assert found.bias_z < 4


@pytest.mark.parametrize("latent", ["bernoulli", "categorical"])
def test_the_evaluation_is_the_bound_of_the_held_out_digits(make, latent):
    task = make(latent, evaluation_samples=400)
    with torch.no_grad():
        expected = negative_elbo(task, task.digits.held_out).item()
        found = task.evaluate(3)
    assert found["negative_elbo"] == pytest.approx(expected, abs=0.03)
    assert found["negative_elbo"] == pytest.approx(found["reconstruction"] + found["divergence"])
    assert found == task.evaluate(3)


def test_the_importance_weighted_bound_is_tighter(make):
    single, many = make("bernoulli"), make("bernoulli", importance_weighted=True)
    digits, estimator = single.digits.train[:64], make_estimator("vimco", 64)
    bound = estimator.backward(many.as_program(many.objective), many.parameters, digits).value
    with torch.no_grad():
        assert bound < negative_elbo(single, digits).item()


def independent(digits):
    """The surprise of held-out digits to who knows each pixel's mean and nothing else, in nats."""
    mean = digits.train.mean(0).expand_as(digits.held_out)
    return binary_cross_entropy(mean, digits.held_out, reduction="none").sum(-1).mean().item()


# The others are run by `make test-slow`.
QUICK = {
    ("bernoulli", "rloo"),
    ("bernoulli", "disarm"),
    ("bernoulli", "vimco"),
    ("bernoulli", "straight_through"),
    ("categorical", "rebar"),
    ("categorical", "gumbel"),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("latent", "estimator"),
    [
        pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow)
        for pair in (
            *((latent, name) for latent, names in UNBIASED.items() for name in [*names, *BIASED]),
            ("bernoulli", "exact"),
            ("bernoulli", "vimco"),
        )
    ],
)
def test_every_estimator_of_discrete_draws_learns_more_than_the_pixels_means(
    folder, latent, estimator
):
    torch.manual_seed(0)
    task = DigitsAutoencoder(
        folder=str(folder),
        hidden=16,
        batch_size=32,
        importance_weighted=estimator == "vimco",
        **CODES[latent],
    )
    program, maker = task.program(make_estimator(estimator, 8)), make_estimator(estimator, 8)
    optimizer = torch.optim.Adam(task.parameters.values(), lr=0.02)
    for batch in itertools.islice(task.batches(program, 0, 0), 150):
        optimizer.zero_grad()
        maker.backward(program, task.parameters, batch)
        optimizer.step()
    with torch.no_grad():
        reached = task.evaluate(0)["negative_elbo"]
    assert reached < independent(task.digits) - 0.5


@pytest.mark.parametrize("latent", ["bernoulli", "categorical"])
def test_the_experiment_trains_on_a_folder_of_digits(folder, latent):
    run(
        [
            f"experiment=digits_{latent}",
            f"hydra.run.dir={folder / 'run'}",
            f"task.folder={folder}",
            "trainer.steps=100",
            "trainer.evaluate_every=0",
            "monitor.tensorboard=false",
            "monitor.progress=none",
        ]
    )
    reached = json.loads((folder / "run" / "result.json").read_text())["metrics"]["negative_elbo"]
    assert reached < 9.4  # of the pixels' means: 9.5
    assert (folder / "run" / "media" / "samples.png").exists()


def test_pictures_show_twelve_digits_in_rows(make):
    task = make("categorical")
    with torch.no_grad():
        reconstructions, samples = task.show(0)
    assert (reconstructions.name, samples.name) == ("reconstructions", "samples")
    scale = 12  # of 4 x 4 digits, each with a line of one pixel
    assert reconstructions.pixels.shape == (2 * 5 * scale, 12 * 5 * scale, 3)
    first = torch.from_numpy(reconstructions.pixels[: 4 * scale : scale, : 4 * scale : scale, 0])
    assert torch.equal(first.flatten() == 0, task.digits.held_out[0] == 1)


def test_a_resumed_run_sees_the_same_digits(make):
    task = make("bernoulli", batch_size=50)
    program = task.as_program(task.objective)
    whole = list(itertools.islice(task.batches(program, 7, 0), 9))
    later = list(itertools.islice(task.batches(program, 7, 6), 3))
    assert all(torch.equal(a, b) for a, b in zip(whole[6:], later, strict=True))
