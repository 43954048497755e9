"""The figures of the estimators' pages: python -m experiments.estimators.figures NAME ... (no name: all of them)

Each is drawn from small programs whose gradient is known, with fixed seeds, into experiments/estimators/pictures/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from experiments.command import given_arguments
from framework import Context, Program, estimate
from framework.errors import UserError, suggestion
from framework.gradients.registered import make_estimator
from framework.gradients.selection.automatic import Automatic
from framework.media import Image
from framework.parameters import Parameters
from framework.program import Function
from framework.randomness import seeded

PICTURES = Path(__file__).parent / "pictures"
COPIES = 10_000  # of a program, as data of one batch: as many independent estimates in one call

Cost = Callable[[Tensor], Tensor]


def coin(cost: Cost) -> Program:
    """b ~ Bernoulli(logits), cost(b): one coin, or several, for each datum."""

    def function(context: Context, parameters: Parameters, batch: Tensor) -> None:
        context.cost(cost(context.sample("b", Bernoulli(logits=parameters["logits"]))))

    return Program(function, batch_axes=1)


def bell(cost: Cost) -> Function:
    """x ~ Normal(mean, 1), cost(x)."""

    def function(context: Context, parameters: Parameters, batch: Any) -> None:
        context.cost(cost(context.sample("x", Normal(parameters["mean"], 1.0))))

    return function


def slope(cost: Cost, probability: float) -> float:
    """The true derivative of E[cost(b)] with respect to the logit: p (1 - p) (cost(1) - cost(0))."""
    zero, one = (float(value) for value in cost(torch.tensor([0.0, 1.0])))
    return probability * (1 - probability) * (one - zero)


def copies(
    cost: Cost,
    probability: float,
    name: str,
    samples: int,
    *,
    coins: tuple[int, ...] = (),
    calls: int = 1,
    **options: Any,
) -> Tensor:
    """`COPIES` independent estimates of the coins' gradient, from the last of some calls of one estimator."""
    logit = math.log(probability / (1 - probability))
    logits = torch.full((COPIES, *coins), logit, requires_grad=True)
    estimator, batch = make_estimator(name, samples, options), torch.zeros(COPIES)
    with seeded(0):
        for _ in range(calls):
            logits.grad = None
            estimator.backward(coin(cost), {"logits": logits}, batch)
    assert logits.grad is not None
    return logits.grad * COPIES  # the objective is the mean over the data


def repeated(program: Function, start: Tensor, name: str, repeats: int, **options: Any) -> Tensor:
    """`[repeats, P]` estimates of the gradient with respect to `mean`, from seeds 0, 1, ..."""
    found = [
        estimate(program, {"mean": start}, estimator=name, seed=seed, **options)
        for seed in range(repeats)
    ]
    return torch.stack([each.gradients["mean"].flatten() for each in found])


def canvas(columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of one or two panels."""
    figure = Figure(figsize=(4.6 * columns + 1.4, 3.5), layout="constrained", dpi=90)
    panels = [figure.add_subplot(1, columns, number + 1) for number in range(columns)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def exact() -> Figure:
    """The error of quadrature over its nodes: for a smooth cost, and for one with a jump."""
    figure, (axes,) = canvas()
    nodes = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    mean, density = (
        torch.tensor(0.3, dtype=torch.float64),
        math.exp(-0.045) / math.sqrt(2 * math.pi),
    )
    costs: list[tuple[str, Cost, float]] = [
        ("cos x", torch.cos, -math.exp(-0.5) * math.sin(0.3)),
        ("|x|", torch.abs, math.erf(0.3 / math.sqrt(2))),
        ("1 where x > 0", lambda x: (x > 0).double(), density),
    ]
    for label, cost, true in costs:
        errors = []
        for count in nodes:
            found = estimate(bell(cost), {"mean": mean}, estimator="exact", nodes=count)
            errors.append(abs(found.gradients["mean"].item() - true) + 1e-17)
        axes.loglog(nodes, errors, "o-", ms=3, label=label)
    axes.set(xlabel="quadrature nodes", ylabel="error of the gradient", title="x ~ Normal(0.3, 1)")
    axes.legend(title="cost", frameon=False)
    return figure


def score_function() -> Figure:
    """What a constant in the cost does to the score function with and without baselines."""
    figure, (axes,) = canvas()
    constants = [0.0, 0.1, 0.3, 1.0, 3.0, 10.0]
    settings: list[tuple[str, str, dict[str, Any]]] = [
        ("reinforce, no baseline", "reinforce", {"baseline": "none"}),
        ("reinforce, moving average", "reinforce", {"calls": 60}),
        ("rloo", "rloo", {}),
    ]
    for label, name, options in settings:
        spreads = [
            copies(lambda b, c=c: (b - 0.45) ** 2 + c, 0.3, name, 8, **options).std().item()  # type: ignore[misc]
            for c in constants
        ]
        axes.semilogy(range(len(constants)), spreads, "o-", ms=4, label=label)
    axes.axhline(slope(lambda b: (b - 0.45) ** 2, 0.3), color="0.75", lw=4, label="the gradient")
    axes.set_xticks(range(len(constants)), [f"{c:g}" for c in constants])
    axes.set(xlabel="a constant c: cost (b - 0.45)² + c", ylabel="standard deviation, 8 samples")
    axes.legend(frameon=False, fontsize=8)
    return figure


def reparameterisation() -> Figure:
    """Less noise in many dimensions; blind to a jump."""
    figure, (left, right) = canvas(2)
    dimensions = [1, 4, 16, 64, 256]
    for name in ("rloo", "reparameterisation"):
        spreads = []
        for size in dimensions:
            found = repeated(bell(torch.square), torch.ones(size), name, 200, samples=8)
            spreads.append((found.std(0).mean() / 2).item())
        left.loglog(dimensions, spreads, "o-", ms=4, label=name)
    left.set(
        xlabel="dimensions D",
        ylabel="standard deviation / gradient",
        title="cost Σ x², 8 samples",
    )
    means = torch.linspace(-3, 3, 41)
    true = torch.exp(-0.5 * means**2) / math.sqrt(2 * math.pi) + 0.1
    right.plot(means, true, color="0.75", lw=5, label="true")
    for name in ("rloo", "reparameterisation"):
        program = bell(lambda x: 0.1 * x + (x > 0).float())
        found = repeated(program, means, name, 200, samples=64).mean(0)
        right.plot(means, found, label=name)
    right.set(xlabel="mean", ylabel="gradient", title="cost x / 10, and 1 where x > 0")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure


def relaxation() -> Figure:
    """Bias and noise of the relaxed coin over its temperature."""
    figure, (axes,) = canvas()
    temperatures = [0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
    true = slope(cubic, 0.3)
    found = [copies(cubic, 0.3, "gumbel", 64, temperature=t) for t in temperatures]
    axes.loglog(temperatures, [8 * f.std().item() for f in found], "o-", label="standard deviation")
    axes.loglog(temperatures, [abs(f.mean().item() - true) for f in found], "o-", label="bias")
    axes.axhline(abs(true), color="0.75", lw=4, zorder=0, label="the gradient's length")
    axes.set(xlabel="temperature", ylabel="of one sample's gradient", title="cost (b - 0.3)³")
    axes.legend(frameon=False)
    return figure


def cubic(b: Tensor) -> Tensor:
    return (b - 0.3) ** 3


def approximation() -> Figure:
    """Expected gradients of the approximations over p, against the truth, for two costs."""
    figure, panels = canvas(2)
    chances = [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98]
    costs: list[tuple[str, Cost]] = [
        ("(b - 0.45)²", lambda b: (b - 0.45) ** 2),
        ("exp(2 b)", lambda b: (2 * b).exp()),
    ]
    for axes, (title, cost) in zip(panels, costs, strict=True):
        axes.plot(chances, [slope(cost, p) for p in chances], color="0.75", lw=6, label="true")
        for name in ("straight_through", "straight_through_gumbel", "gumbel_rao", "reinmax"):
            means = [copies(cost, p, name, 8).mean().item() for p in chances]
            axes.plot(chances, means, "o-", ms=3, lw=1.2, label=name)
        axes.set(xlabel="p", ylabel="mean gradient", title=f"cost {title}")
    panels[1].legend(frameon=False, fontsize=8)
    return figure


TOY: list[tuple[str, str, int, dict[str, Any]]] = [
    ("reinforce, no baseline", "reinforce", 16, {"baseline": "none"}),
    ("rloo", "rloo", 16, {}),
    ("disarm", "disarm", 8, {}),
    ("rebar", "rebar", 8, {}),
    ("relax", "relax", 16, {}),
    ("gumbel (biased)", "gumbel", 8, {}),
    ("straight_through (biased)", "straight_through", 16, {}),
]


def control_variate() -> Figure:
    """REBAR's toy: p over the steps, 16 evaluations in each."""
    figure, (axes,) = canvas()
    for label, name, samples, options in TOY:
        style = "--" if "biased" in label else "-"
        axes.plot(toy_path(name, samples, options), style, lw=1.4, label=label)
    axes.set(xlabel="step", ylabel="p, best 0", ylim=(0, 1), title="cost (b - 0.499)²")
    axes.legend(frameon=False, fontsize=7, ncols=2)
    return figure


def toy_path(name: str, samples: int, options: dict[str, Any], steps: int = 2000) -> list[float]:
    """p before each step of Adam on REBAR's toy."""
    logits = torch.zeros(1, requires_grad=True)
    estimator, adam = make_estimator(name, samples, options), torch.optim.Adam([logits], lr=0.02)
    program, path = coin(lambda b: (b - 0.499) ** 2), []
    with seeded(0):
        for _ in range(steps):
            path.append(logits.sigmoid().item())
            adam.zero_grad()
            estimator.backward(program, {"logits": logits}, torch.zeros(1))
            adam.step()
    return path


def coupling() -> Figure:
    """Standard deviations for ten coins over p at equal evaluations."""
    figure, (axes,) = canvas()
    chances = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98]
    settings: list[tuple[str, int, dict[str, Any]]] = [
        ("reinforce", 4, {"baseline": "none"}),
        ("rloo", 4, {}),
        ("arm", 2, {}),
        ("disarm", 2, {}),
    ]
    for name, samples, options in settings:
        spreads = [
            copies(sum_of_ten, p, name, samples, coins=(10,), **options).std(0).mean().item()
            for p in chances
        ]
        axes.semilogy(chances, spreads, "o-", ms=3, label=name)
    axes.set(
        xlabel="p", ylabel="standard deviation, 4 evaluations", title="ten coins, (Σ b - 4)² + 5"
    )
    axes.legend(frameon=False, fontsize=8)
    return figure


def sum_of_ten(b: Tensor) -> Tensor:
    return (b.sum(-1) - 4) ** 2 + 5


def numerical() -> Figure:
    """Noise over the number of parameters, and what a cliff does to a step and to a smoothing."""
    figure, (left, right) = canvas(2)
    squares, sizes = steady(torch.square), [2, 4, 16, 64, 256]
    for name in ("spsa", "evolution_strategies", "forward_gradient"):
        spreads = []
        for size in sizes:
            found = repeated(squares, torch.ones(size), name, 200, directions=1, samples=1)
            spreads.append(((found - 2).norm(dim=1).mean() / (2 * math.sqrt(size))).item())
        left.loglog(sizes, spreads, "o-", ms=4, label=name)
    left.set(xlabel="parameters", ylabel="error / gradient", title="cost Σ θ², one direction")
    places = torch.linspace(-1, 1, 41)
    cliff = steady(lambda x: x**2 + (x > 0).float())
    widths = {"finite_difference": ("step", 0.05), "evolution_strategies": ("sigma", 0.2)}
    for name, (option, width) in widths.items():
        given: dict[str, Any] = {option: width, "samples": 1}
        found = torch.cat([repeated(cliff, place, name, 8, **given).mean(0) for place in places])
        right.plot(places, found, "o-", ms=3, label=f"{name}, {option} {width}")
    right.set(xlabel="θ", ylabel="gradient", title="cost θ², and 1 where θ > 0")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8)
    return figure


def steady(cost: Cost) -> Function:
    """cost(mean), nothing drawn."""

    def function(context: Context, parameters: Parameters, batch: Any) -> None:
        context.cost(cost(parameters["mean"]).sum())

    return function


def mixed(context: Context, parameters: Parameters, batch: Any) -> None:
    """A switch that chooses how strongly four continuous draws are pulled to their targets."""
    strong = context.sample("switch", Bernoulli(logits=parameters["switch"]))  # [n]
    place = context.sample("place", Normal(parameters["place"], 0.5))  # [n, 4]
    pull = (0.5 + strong) * ((place - 1) ** 2).sum(-1)
    context.cost(pull + 2 * (1 - strong))


def mixtures() -> Figure:
    """One rule for all draws, and a rule for each, on a program with a switch and continuous draws."""
    figure, panels = canvas(2)
    start = {"switch": torch.tensor(0.3), "place": torch.zeros(4)}
    settings: list[tuple[str, str, dict[str, Any]]] = [
        ("rloo", "rloo", {}),
        ("rloo,\nplace: reparameterisation", "rloo", {"sites": {"place": "reparameterisation"}}),
        ("reparameterisation,\nswitch: score_function", "reparameterisation", SWITCH_SCORED),
        ("reparameterisation,\nswitch: reinmax", "reparameterisation", SWITCH_REINMAX),
    ]
    for axes, parameter in zip(panels, start, strict=True):
        spreads = []
        for _, name, options in settings:
            found = [
                estimate(mixed, start, estimator=name, samples=16, seed=seed, **options)
                for seed in range(200)
            ]
            each = torch.stack([one.gradients[parameter] for one in found])
            spreads.append(each.std(0).mean().item())
        axes.barh([label for label, _, _ in settings], spreads, color="tab:blue")
        axes.invert_yaxis()
        axes.set(title=f"gradient of the {parameter}", xlabel="standard deviation, 16 samples")
    panels[1].set_yticklabels([])
    return figure


SWITCH_SCORED = {"sites": {"switch": "score_function"}}
SWITCH_REINMAX = {"sites": {"switch": "reinmax"}}


def automatic() -> Figure:
    """What the automatic choice measures, and chooses, on three programs."""
    figure = Figure(figsize=(10.5, 3.3), layout="constrained", dpi=90)
    programs: list[tuple[str, Function, dict[str, Tensor]]] = [
        ("a coin for each of 30 places", places, {"logits": torch.zeros(30)}),
        ("a smooth cost", bell(torch.square), {"mean": torch.ones(30)}),
        ("a cost with a jump", bell(lambda x: (x > 0).float() + 0.1 * x), {"mean": torch.ones(2)}),
    ]
    for number, (title, function, start) in enumerate(programs):
        axes = figure.add_subplot(1, 3, number + 1)
        leaves = {name: value.requires_grad_() for name, value in start.items()}
        choice = Automatic(samples=16, repeats=64)
        with seeded(0):
            choice.choose(Program(function), leaves, None)
        verdicts = [v for v in choice.verdicts if v.quality is not None]
        shades = [
            "tab:green" if v.name == choice.chosen else "tab:red" if v.refused else "0.7"
            for v in verdicts
        ]
        scores = [max(v.score, 1e-9) for v in verdicts]
        axes.barh([v.name for v in verdicts], scores, color=shades)
        axes.set(
            title=title, xscale="log", xlabel="variance x seconds", xlim=(min(scores) / 9, None)
        )
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("green: chosen; red: found to be biased; missing: cannot serve", fontsize=9)
    return figure


def places(context: Context, parameters: Parameters, batch: Any) -> None:
    """Thirty coins and a quadratic cost of their sum."""
    coins = context.sample("coins", Bernoulli(logits=parameters["logits"]))
    context.cost((coins.sum(-1) - 11) ** 2)


FIGURES: dict[str, Callable[[], Figure]] = {
    figure.__name__: figure
    for figure in (
        exact,
        score_function,
        reparameterisation,
        relaxation,
        approximation,
        control_variate,
        coupling,
        numerical,
        mixtures,
        automatic,
    )
}


def draw(names: Iterable[str]) -> None:
    """Draw figures by name.

    Raises:
        UserError: a name that is none of `FIGURES`.
    """
    for name in names:
        if name not in FIGURES:
            raise UserError(f"no figure '{name}'; {suggestion(name, FIGURES)}")
        print(Image.from_figure(name, FIGURES[name]()).save(PICTURES), flush=True)


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    draw(arguments or FIGURES)


if __name__ == "__main__":
    main(given_arguments(__doc__))
