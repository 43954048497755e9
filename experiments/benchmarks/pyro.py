"""Variance x time beside Pyro, on three evidence lower bounds: python -m experiments.benchmarks.pyro

    elbo    200 independent Bernoulli latents in one draw, each with an observation
    chain   8 Bernoulli draws, each of which depends on the last and has an observation
    normal  50 Gaussian latents in one draw, each with an observation

Both estimate the same gradient with n = 64 samples, Pyro with vectorised particles: `TraceGraph_ELBO` with a decaying
average as baseline for the Bernoulli draws, `Trace_ELBO` for the Gaussian ones. Times are CPU time on one thread, taken
in turn within one run; the variance is that of one estimate, summed over the parameters. Both means are compared: a
ratio of two different objectives would say nothing. Needs Pyro: `make install EXTRAS=benchmarks`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from experiments.benchmarks.overhead import Call, fresh
from experiments.benchmarks.pairs import ratio
from experiments.command import given_arguments
from framework import Context, Program, UserError
from framework.gradients.registered import make_estimator
from framework.parameters import Parameters

SAMPLES, REPEATS, WARM_UP = 64, 200, 30
LATENTS, STEPS, GAUSSIANS = 200, 8, 50
# The model's: the prior's chance of heads, how strongly a coin pulls the next, the noise of an observation.
PRIOR, PULL, NOISE = 0.3, 1.0, 0.7


def observations(number: int) -> Tensor:
    return torch.linspace(-0.5, 1.5, number)


@dataclass(frozen=True)
class Case:
    """One bound by both libraries.

    Attributes:
        program: this project's.
        parameters: of the guide, by name.
        estimators: of this project, each compared.
        model, guide: Pyro's, functions of the parameters.
        loss: the name of Pyro's ELBO.
    """

    name: str
    program: Program
    parameters: dict[str, Tensor]
    estimators: tuple[str, ...]
    model: Callable[[], None]
    guide: Callable[[Parameters], None]
    loss: str


def elbo() -> Case:
    pyro, dist = import_module("pyro"), import_module("pyro.distributions")

    data = observations(LATENTS)

    def program(context: Context, p: Parameters, batch: Any) -> None:
        guide = Bernoulli(logits=p["logits"])
        z = context.sample("z", guide)
        fit = Bernoulli(PRIOR).log_prob(z) + Normal(z, NOISE).log_prob(data)
        context.cost(context.log_prob("z") - fit)

    def model() -> None:
        with pyro.plate("latents", LATENTS):
            z = pyro.sample("z", dist.Bernoulli(PRIOR))
            pyro.sample("x", dist.Normal(z, NOISE), obs=data)

    def guide(p: Parameters) -> None:
        with pyro.plate("latents", LATENTS):
            pyro.sample("z", dist.Bernoulli(logits=p["logits"]), infer=BASELINE)

    parameters = {"logits": torch.linspace(-1, 1, LATENTS)}
    ours = ("rloo", "disarm", "exact")
    return Case("elbo", Program(program), parameters, ours, model, guide, "TraceGraph_ELBO")


def chain() -> Case:
    pyro, dist = import_module("pyro"), import_module("pyro.distributions")

    data = observations(STEPS)

    def program(context: Context, p: Parameters, batch: Any) -> None:
        last = torch.zeros(())
        for t in range(STEPS):
            guide = Bernoulli(logits=p["logits"][t] + p["pull"] * last)
            z = context.sample(f"z/{t}", guide)
            prior = Bernoulli(logits=PULL * (last - 0.5)).log_prob(z)
            context.cost(guide.log_prob(z) - prior - Normal(z, NOISE).log_prob(data[t]), f"x/{t}")
            last = z

    def model() -> None:
        last = torch.zeros(())
        for t in range(STEPS):
            last = pyro.sample(f"z/{t}", dist.Bernoulli(logits=PULL * (last - 0.5)))
            pyro.sample(f"x/{t}", dist.Normal(last, NOISE), obs=data[t])

    def guide(p: Parameters) -> None:
        last = torch.zeros(())
        for t in range(STEPS):
            logits = p["logits"][t] + p["pull"] * last
            last = pyro.sample(f"z/{t}", dist.Bernoulli(logits=logits), infer=BASELINE)

    parameters = {"logits": torch.linspace(-1, 1, STEPS), "pull": torch.tensor(0.5)}
    ours = ("rloo", "disarm", "measure_valued", "exact")
    return Case("chain", Program(program), parameters, ours, model, guide, "TraceGraph_ELBO")


def normal() -> Case:
    pyro, dist = import_module("pyro"), import_module("pyro.distributions")

    data = observations(GAUSSIANS)

    def program(context: Context, p: Parameters, batch: Any) -> None:
        guide = Normal(p["mean"], p["log_scale"].exp())
        z = context.sample("z", guide)
        fit = Normal(0.0, 1.0).log_prob(z) + Normal(z, NOISE).log_prob(data)
        context.cost((guide.log_prob(z) - fit).sum(-1))

    def model() -> None:
        with pyro.plate("latents", GAUSSIANS):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, NOISE), obs=data)

    def guide(p: Parameters) -> None:
        with pyro.plate("latents", GAUSSIANS):
            pyro.sample("z", dist.Normal(p["mean"], p["log_scale"].exp()))

    parameters = {
        "mean": torch.linspace(-1, 1, GAUSSIANS),
        "log_scale": torch.full((GAUSSIANS,), -0.5),
    }
    ours = ("reparameterisation",)
    return Case("normal", Program(program), parameters, ours, model, guide, "Trace_ELBO")


BASELINE: Mapping[str, Any] = {
    "baseline": {"use_decaying_avg_baseline": True, "baseline_beta": 0.9}
}


def by_pyro(case: Case, leaves: dict[str, Tensor]) -> Call:
    pyro, infer = import_module("pyro"), import_module("pyro.infer")

    pyro.clear_param_store()
    pyro.enable_validation(False)
    loss = getattr(infer, case.loss)(
        num_particles=SAMPLES, vectorize_particles=True, max_plate_nesting=1
    )

    def guide() -> None:
        case.guide({name: pyro.param(name, leaf) for name, leaf in leaves.items()})

    return lambda: loss.loss_and_grads(case.model, guide)


def by_us(case: Case, name: str, leaves: dict[str, Tensor]) -> Call:
    estimator = make_estimator(name, SAMPLES)
    return lambda: estimator.backward(case.program, leaves)


def gradients(call: Call, leaves: dict[str, Tensor]) -> Tensor:
    """Repeated estimates `[REPEATS, P]`, once the baselines have settled."""
    rows = []
    torch.manual_seed(0)
    for number in range(WARM_UP + REPEATS):
        call()
        if number >= WARM_UP:
            parts = [g.reshape(-1) for leaf in leaves.values() if (g := leaf.grad) is not None]
            rows.append(torch.cat(parts).clone())
    return torch.stack(rows)


def difference(ours: Tensor, theirs: Tensor) -> float:
    """How far the two means are from each other in standard errors, along the mean of both."""
    along = ours.mean(0) + theirs.mean(0)
    along = along / along.norm()
    a, b = ours @ along, theirs @ along
    return float((a.mean() - b.mean()).abs() / ((a.var() + b.var()) / REPEATS).sqrt())


def compare(case: Case) -> None:
    """A line for each estimator: variance, CPU-ms, their product, and the ratio to Pyro's."""
    their_leaves = {name: p.clone().requires_grad_() for name, p in case.parameters.items()}
    theirs = fresh(by_pyro(case, their_leaves), their_leaves)
    reference = gradients(theirs, their_leaves)
    variance = float(reference.var(0).sum())
    for name in case.estimators:
        leaves = {key: p.clone().requires_grad_() for key, p in case.parameters.items()}
        ours = fresh(by_us(case, name, leaves), leaves)
        try:
            found = gradients(ours, leaves)
        except UserError as refusal:
            print(f"{case.name:<8}{name:<20}refused: {str(refusal)[:90]}", flush=True)
            continue
        time_ratio, own, other = ratio(ours, theirs, rounds=5)
        mine = float(found.var(0).sum())
        product = mine * own / (variance * other)
        verdict = "ahead" if product <= 1 else "BEHIND"
        print(
            f"{case.name:<8}{name:<20}variance {mine:8.4g} against {variance:8.4g}   "
            f"CPU-ms {1e3 * own:7.3g} against {1e3 * other:7.3g} ({time_ratio:.2f}x)   "
            f"variance x time {product:8.3g}x  {verdict}   means {difference(found, reference):.1f} errors apart",
            flush=True,
        )


def main() -> int:
    if find_spec("pyro") is None:
        print("needs pyro-ppl: make install EXTRAS=benchmarks", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    for build in (elbo, chain, normal):
        compare(build())
    return 0


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    sys.exit(main())
