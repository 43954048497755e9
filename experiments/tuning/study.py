"""Studies of 20 trials on two small problems: tree-structured Parzen estimators and a Gaussian process against chance.

    python -m experiments.tuning.study [SEEDS]

Each study seed is a pair: the same budget, space and trainings, another sampler. What counts is the regret of the best
trial, which both problems have in closed form. Studies that are there already are not run again.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

import framework
from experiments.command import given_arguments

PLACE = Path("outputs/tuning")
SAMPLERS = ("random", "tpe", "gp")
BASE = ("trainer.evaluate_every=0", "trainer.quality.every=0", "monitor.tensorboard=false")


@dataclass(frozen=True)
class Problem:
    """A problem with a known optimum: the regret of a value is its distance from `best`."""

    experiment: str
    overrides: Sequence[str]
    over: dict[str, Any]
    metric: str
    mode: Any
    best: float


PROBLEMS = (
    # 45 degrees throw 80 m.
    Problem(
        "javelin",
        ("trainer.steps=20",),
        {
            "optimizer.learning_rate": "interval(1e-4,10)",
            "optimizer": ["adam", "sgd", "rmsprop"],
            "estimator": ["rloo", "reinforce", "spsa"],
            "scheduler": ["constant", "cosine", "linear"],
        },
        "range_metres",
        "max",
        80.0,
    ),
    # The best coin always shows 0.
    Problem(
        "rebar_toy",
        ("trainer.steps=30",),
        {
            "optimizer.learning_rate": "interval(1e-3,1)",
            "optimizer.beta1": "interval(0,0.99)",
            "optimizer.beta2": "interval(0.5,0.999)",
            "estimator": ["rloo", "reinforce", "disarm", "straight_through"],
        },
        "probability",
        "min",
        0.0,
    ),
)


def regret(problem: Problem, sampler: Any, seed: int) -> float:
    """How far the best of 20 trials is from the optimum."""
    found = framework.tune(
        problem.experiment,
        over=problem.over,
        sampler=sampler,
        pruner="none",
        metric=problem.metric,
        mode=problem.mode,
        study_seed=seed,
        overrides=[*BASE, *problem.overrides],
        folder=PLACE / problem.experiment / f"{sampler}_{seed}",
    )
    if found.stopped_by is not None:
        raise SystemExit(128 + found.stopped_by)
    assert found.best is not None
    assert found.best.value is not None
    return abs(problem.best - float(found.best.value))


def sign_test(wins: int, losses: int) -> float:
    """The chance of so many wins or more where both are as good, ties left out."""
    count = wins + losses
    return sum(comb(count, k) for k in range(wins, count + 1)) / 2.0**count


def row(problem: Problem, sampler: str, regrets: Sequence[float], chance: Sequence[float]) -> str:
    """A sampler's regrets against those of random search, seed by seed."""
    cells = [
        problem.experiment,
        sampler,
        f"{statistics.fmean(regrets):.3g}",
        f"{statistics.median(regrets):.3g}",
    ]
    if sampler == "random":
        return f"| {' | '.join([*cells, '', ''])} |"
    wins = sum(own < other for own, other in zip(regrets, chance, strict=True))
    losses = sum(own > other for own, other in zip(regrets, chance, strict=True))
    cells += [f"{wins} of {len(regrets)}", f"{sign_test(wins, losses):.2g}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table; seed by seed, so that what there is at any time is paired."""
    given = given_arguments(__doc__, most=1) or ["8"]
    if not given[0].isdigit():
        sys.exit(f"'{given[0]}': expected a number of seeds")
    seeds = range(int(given[0]))
    regrets: dict[tuple[str, str], list[float]] = {}
    for seed in seeds:
        for problem in PROBLEMS:
            for sampler in SAMPLERS:
                found = regret(problem, sampler, seed)
                regrets.setdefault((problem.experiment, sampler), []).append(found)
                print(f"{problem.experiment} {sampler} {seed}: {found:.3g}", file=sys.stderr)
    print(
        "| problem | sampler | mean regret | median regret | better than random | chance of that |"
    )
    print("|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        chance = regrets[problem.experiment, "random"]
        for sampler in SAMPLERS:
            print(row(problem, sampler, regrets[problem.experiment, sampler], chance))


if __name__ == "__main__":
    main()
