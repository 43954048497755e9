"""What the trainer and the core's estimators log, by tag; `<...>` stands for a name. Tasks describe their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from experiments.glossary.options import components

TRAINING = {
    "train/objective": "mean objective of the steps since the last record, of the hard program: never a relaxed value",
    "train/learning_rate": "the optimiser's learning rate at this step",
    "gradient/norm": "Euclidean norm of the whole gradient, before clipping",
    "gradient/skipped_steps": "steps skipped so far because their gradient was not finite",
    "time/steps_per_second": "optimiser steps a second",
    "time/evaluations_per_second": "evaluations of the objective a second",
    "evaluation/<metric>": "a metric of the task on the validation split, every `trainer.evaluate_every` steps",
    "final/<metric>": "a metric of the task on the test split, at the end of the training",
}
QUALITY = {
    "variance": "variance of one gradient estimate, summed over the parameters",
    "signal_to_noise": "squared norm of the mean gradient over the variance",
    "seconds": "time of one estimate",
    "evaluations": "evaluations of the objective in one estimate",
    "biased": "1: the estimator declares a bias",
    "variance_times_seconds": "efficiency at equal time: the lower, the better",
    "cosine": "cosine of the mean estimate and the reference gradient",
    "norm_ratio": "norm of the mean estimate over the reference's",
    "bias_z": "largest deviation from the reference, in standard errors; above about 4 the estimator is biased",
    "bias_low": "lower end of the 99 % interval for the bias along the gradient, in parts of it",
    "bias_high": "upper end of that interval",
}
EXTRAS = {
    "temperature": "temperature of the relaxation (Jang et al. 2017; Maddison et al. 2017)",
    "temperature/<site>": "the same, where several draws have temperatures of their own",
    "eta": "weight of the control variate in REBAR and RELAX (Tucker et al. 2017; Grathwohl et al. 2018)",
    "alpha": "share of the first-order estimate in the mixture (Suh et al. 2022)",
    "first_order_variance": "variance of the reparameterised estimate of that mixture",
    "zeroth_order_variance": "variance of the score-function estimate of that mixture",
    "entropy": "mean entropy of the policy, in nats",
    "value_loss": "half the mean squared error of the value function",
    "explained_variance": "1 - Var(return - value) / Var(return): 1 is a perfect value function, 0 a constant one",
    "kl": "approximate KL divergence of the policy from the one that collected the data (Schulman 2020)",
    "ratio": "mean importance ratio of the policy and the one that collected the data, before clipping",
    "clip_fraction": "share of steps whose probability ratio is outside the clip range",
    "kl_stops": "share of minibatches skipped because their KL divergence was above the target",
}


def core_metrics() -> dict[str, str]:
    """Every tag of the core with its meaning."""
    quality = {f"quality/<estimator>/{name}": text for name, text in QUALITY.items()}
    return {**TRAINING, **quality, **{f"train/{name}": text for name, text in EXTRAS.items()}}


def task_metrics() -> Iterator[tuple[str, Mapping[str, str]]]:
    """Each registered task with its own metrics: those that `evaluate` returns, and the tags of `scalars`."""
    for component in components("tasks"):
        yield component.name, component.load().metric_descriptions


def unexplained(names: Iterable[str], explained: Iterable[str]) -> list[str]:
    """The names that none of the explained ones matches."""
    patterns = [re.compile(pattern(name)) for name in explained]
    return [name for name in names if not any(p.fullmatch(name) for p in patterns)]


def pattern(name: str) -> str:
    """A regular expression for a name in which `<...>` stands for anything."""
    return re.sub(r"<.*?>", ".+", re.escape(name))
