"""What the automatic choice costs: its variance x seconds against the best fixed unbiased estimator's, on ten problems.

    python -m experiments.benchmarks.automatic

On each problem every unbiased estimator that can serve it is measured, with many repeats and in turn. `automatic` then
chooses three times by its own measurements; the worst of its choices is compared with the least variance x seconds.
The bar is 1.3 on at least 8 of the 10. Seconds are CPU time on one thread. No problem can be enumerated within the
states that `exact` may take: where it can, its variance is 0 and the choice is no question.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Gamma, Normal, OneHotCategorical, Poisson

from experiments.command import given_arguments
from framework import Context, Program, ProgramError
from framework.gradients.estimator import Estimator
from framework.gradients.registered import make_estimator
from framework.gradients.selection.automatic import Automatic
from framework.gradients.selection.quality import measure, reference
from framework.parameters import Parameters
from framework.randomness import seeded

SAMPLES, REPEATS, ROUNDS, CHOICES, BAR = 16, 100, 5, 3, 1.3
UNBIASED = (
    "exact",
    "reparameterisation",
    "reinforce",
    "rloo",
    "arm",
    "disarm",
    "measure_valued",
    "rebar",
    "relax",
)
SUSPICIOUS_Z = 4.0  # a jump that reparameterisation does not see takes it out of the running

Objective = Callable[[Context, Parameters, None], None]


@dataclass(frozen=True)
class Problem:
    """A program and the parameters at which its gradient is needed."""

    name: str
    objective: Objective
    values: dict[str, Tensor]

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Fresh leaves."""
        return {name: value.clone().requires_grad_() for name, value in self.values.items()}


def coins(context: Context, parameters: Parameters, batch: None) -> None:
    """30 coins whose cost does not separate."""
    drawn = context.sample("coins", Bernoulli(logits=parameters["logits"]))
    context.cost((drawn.mean(-1) - 0.45).square() + 0.1 * drawn[..., 0] * drawn[..., 1])


def black_box_coins(context: Context, parameters: Parameters, batch: None) -> None:
    """A network of the coins, by value only; slow beside the draws."""
    drawn = context.sample("coins", Bernoulli(logits=parameters["logits"]))
    inner = torch.arange(30.0).unsqueeze(1) * torch.linspace(0.1, 1.0, 1024)
    outer = torch.arange(1024.0).unsqueeze(1) * torch.linspace(0.2, 2.0, 1024)

    def network(coins: Tensor) -> Tensor:
        hidden = (coins @ inner.sin()).tanh()
        return (hidden @ outer.sin() / 32).square().mean(-1)

    context.cost(context.black_box(network, drawn))


def sketch(context: Context, parameters: Parameters, batch: None) -> None:
    """40 strokes joined by soft-or against a target."""
    drawn = context.sample("strokes", Bernoulli(logits=parameters["logits"]))
    angles = torch.arange(40.0).unsqueeze(1) * torch.linspace(0.1, 1.0, 16)
    paper = (1 - drawn.unsqueeze(-1) * angles.sin().square()).prod(-2)
    context.cost((1 - paper - 0.7).square().mean(-1))


def two_layers(context: Context, parameters: Parameters, batch: None) -> None:
    """16 coins and 16 that depend on them."""
    first = context.sample("first", Bernoulli(logits=parameters["first"]))
    logits = first @ parameters["between"]
    second = context.sample("second", Bernoulli(logits=logits), per_sample=True)
    context.cost((second - 0.3).square().mean(-1) + 0.2 * first.mean(-1))


def categories(context: Context, parameters: Parameters, batch: None) -> None:
    """8 choices of 5 by index."""
    drawn = context.sample("choice", Categorical(logits=parameters["logits"]))
    rewards = torch.linspace(-1, 1, 5).square()
    context.cost(rewards[drawn].mean(-1) * (1 + drawn.float().mean(-1)))


def one_hot_categories(context: Context, parameters: Parameters, batch: None) -> None:
    """8 choices of 5 as one-hot vectors."""
    drawn = context.sample("choice", OneHotCategorical(logits=parameters["logits"]))
    context.cost(((drawn @ torch.linspace(0, 1, 5)).mean(-1) - 0.6).square())


def gaussians(context: Context, parameters: Parameters, batch: None) -> None:
    """A differentiable cost of 20 Gaussian numbers."""
    x = context.sample("x", Normal(parameters["mean"], parameters["log_scale"].exp()))
    context.cost((x - 1).square().mean(-1) + x.mean(-1).cos())


def jump(context: Context, parameters: Parameters, batch: None) -> None:
    """A cost of 20 Gaussian numbers with a jump, which a path does not see."""
    x = context.sample("x", Normal(parameters["mean"], 0.5))
    context.cost((x.sum(-1) > 1).float() + 0.1 * x.square().mean(-1))


def counts(context: Context, parameters: Parameters, batch: None) -> None:
    """Ten Poisson counts."""
    drawn = context.sample("counts", Poisson(parameters["log_rate"].exp()))
    context.cost((drawn.mean(-1) - 3).square())


def waiting_times(context: Context, parameters: Parameters, batch: None) -> None:
    """Ten Gamma draws of learnt shape."""
    drawn = context.sample("times", Gamma(parameters["log_shape"].exp(), 2.0))
    context.cost((drawn.sum(-1) - 4).square())


def problems() -> list[Problem]:
    """The ten, none within the reach of enumeration."""
    wave = torch.linspace(-1.5, 1.5, 40).sin()
    return [
        Problem("30 coins", coins, {"logits": wave[:30]}),
        Problem("30 coins, a slow black box", black_box_coins, {"logits": wave[:30]}),
        Problem("40 strokes", sketch, {"logits": wave - 2}),
        Problem(
            "two layers of 16 coins",
            two_layers,
            {"first": wave[:16], "between": torch.outer(wave[:16], wave[10:26])},
        ),
        Problem("8 choices by index", categories, {"logits": wave.reshape(8, 5)}),
        Problem("8 choices, one-hot", one_hot_categories, {"logits": wave.reshape(8, 5)}),
        Problem("20 Gaussians", gaussians, {"mean": wave[:20], "log_scale": wave[20:] - 1}),
        Problem("20 Gaussians, a jump", jump, {"mean": wave[10:30]}),
        Problem("10 Poisson counts", counts, {"log_rate": wave[15:25] + 1}),
        Problem("10 Gamma draws", waiting_times, {"log_shape": wave[15:25]}),
    ]


def cpu_seconds(
    able: dict[str, Estimator], program: Program, parameters: Parameters
) -> dict[str, float]:
    """The CPU seconds of one estimate: the median of rounds in which all take turns."""
    rounds: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(ROUNDS):
        for name, estimator in able.items():
            began = time.process_time()
            for _ in range(20):
                estimator.backward(program, parameters)
            rounds[name].append((time.process_time() - began) / 20)
    return {name: median(times) for name, times in rounds.items()}


def products(problem: Problem) -> dict[str, float]:
    """Variance x CPU seconds of every unbiased estimator that can serve the problem."""
    program = Program(problem.objective)
    against = reference(program, problem.parameters, None, seed=2)
    able, variances = {}, {}
    for name in UNBIASED:
        estimator = make_estimator(name, SAMPLES)
        try:
            found = measure(
                estimator,
                program,
                problem.parameters,
                lambda number: None,
                repeats=REPEATS,
                seed=1,
                against=against,
            )
        except ProgramError:
            continue
        if not found.biased and not found.bias_z > SUSPICIOUS_Z:
            able[name], variances[name] = estimator, found.variance
    seconds = cpu_seconds(able, program, problem.parameters)
    return {name: variances[name] * seconds[name] for name in able}


def choice(problem: Problem, seed: int) -> str:
    """What `automatic` chooses."""
    automatic = Automatic(samples=SAMPLES)
    with seeded(seed):
        automatic.backward(Program(problem.objective), problem.parameters)
    return automatic.chosen


def main() -> None:
    torch.set_num_threads(1)
    within = 0
    for problem in problems():
        found = products(problem)
        best = min(found, key=lambda name: found[name])
        chosen = {choice(problem, seed) for seed in range(CHOICES)}
        ratio = max(found.get(name, math.inf) for name in chosen) / found[best]
        within += ratio <= BAR
        others = ", ".join(
            f"{n} {found[n] / found[best]:.2f}" for n in sorted(found, key=lambda n: found[n])
        )
        print(
            f"{problem.name:<26} {' or '.join(chosen):<20} {ratio:5.2f}x   ({others})", flush=True
        )
    print(f"within {BAR}x on {within} of {len(problems())} problems; the bar is 8")


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    main()
