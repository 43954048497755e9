"""Estimators compared on one batch: each measured once, against a reference and by a bias interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from framework.batch import first_tensor, map_tensors
from framework.gradients.estimator import Estimator
from framework.gradients.selection.bias_interval import SAME, Yardstick, yardstick
from framework.gradients.selection.quality import (
    Batches,
    GradientSample,
    Quality,
    Reference,
    assess,
    charges_bound,
    reference,
    sample_gradients,
    samples_of,
)
from framework.parameters import Parameters
from framework.program import Program

Against = tuple[Reference | None, Yardstick | None]


def compare(
    estimators: Mapping[str, Estimator],
    program: Program,
    parameters: Parameters,
    batch: Any,
    *,
    repeats: int,
    seed: int,
) -> dict[str, Quality]:
    """The figures of several estimators by name on one batch, against the best reference, and their bias intervals.

    Recorded episodes are themselves the random draws: they are divided into `repeats` groups, whose estimates are
    independent, and the variance of the whole batch's estimate is a group's divided by their number.
    """
    if not program.recorded_trajectories:
        learns_critic = any(e.replay is not None for e in estimators.values())
        # Of a learned critic's losses no other estimator knows the gradient.
        against = no_references if learns_critic else references(program, parameters, batch, seed)
        return {
            name: measure_against(
                estimator,
                program,
                parameters,
                lambda number: batch,
                *against(name, estimator),
                repeats=repeats,
                seed=seed,
            )
            for name, estimator in estimators.items()
        }
    episodes = first_tensor(batch).shape[1]
    # A leave-one-out baseline needs two episodes in each.
    groups = max(1, min(repeats, episodes // 2))
    figures = {}
    for name, estimator in estimators.items():
        found = sample_gradients(
            estimator,
            program,
            parameters,
            lambda n: map_tensors(
                lambda t: t[:, n * episodes // groups : (n + 1) * episodes // groups], batch
            ),
            repeats=groups,
            seed=seed,
        )
        whole = replace(found, variance=found.variance / groups, seconds=found.seconds * groups)
        signal = assess(found, None).signal_to_noise * groups
        figures[name] = replace(assess(whole, None), signal_to_noise=signal)
    return figures


def no_references(name: str, estimator: Estimator) -> Against:
    return None, None


def references(
    program: Program, parameters: Parameters, batch: Any, seed: int
) -> Callable[[str, Estimator], Against]:
    """What each estimator is compared with: a function of its name and itself that measures each reference once."""

    @cache
    def best(samples_per_bound: int | None) -> Reference | None:
        return reference(program, parameters, batch, seed=seed, samples_per_bound=samples_per_bound)

    @cache
    def two(samples_per_bound: int | None, without: str) -> Yardstick | None:
        return yardstick(
            program,
            parameters,
            batch,
            seed=seed,
            without=without,
            samples_per_bound=samples_per_bound,
        )

    bound = not program.recorded_trajectories and charges_bound(program, parameters, batch)

    def of(name: str, estimator: Estimator) -> Against:
        # One reference serves all, except of a bound, which is another objective for another n.
        n = samples_of(estimator) if bound else None
        # `automatic` is what it has chosen.
        itself = getattr(estimator, "chosen", "") or SAME.get(name, name)
        usual = two(n, "")
        shared = usual is None or itself in usual.along
        return best(n), two(n, itself) if shared else usual

    return of


def measure_against(
    estimator: Estimator,
    program: Program,
    parameters: Parameters,
    batches: Batches,
    against: Reference | None,
    stick: Yardstick | None,
    *,
    repeats: int,
    seed: int,
) -> Quality:
    """One sample of the estimator's gradient, assessed against the reference and along the yardstick."""
    directions = directions_along(against, stick)
    found = sample_gradients(
        estimator,
        program,
        parameters,
        batches,
        repeats=repeats,
        seed=seed,
        directions=torch.cat(directions) if directions else None,
    )
    return figures(found, against, stick)


def directions_along(against: Reference | None, stick: Yardstick | None) -> list[Tensor]:
    """The directions `[D, P]` along which `figures` needs projections: the reference's, then the yardstick's."""
    directions = [] if against is None else [against.directions]
    return directions if stick is None else [*directions, stick.direction.unsqueeze(0)]


def figures(found: GradientSample, against: Reference | None, stick: Yardstick | None) -> Quality:
    """The quality of a sample whose first projections are along `directions_along`."""
    count = 0 if against is None else len(against.directions)
    quality = assess(replace(found, projections=found.projections[:, :count]), against)
    if stick is None or not math.isfinite(found.variance):
        return quality
    interval = stick.interval(found.projections[:, count])
    return replace(quality, bias_low=interval.low, bias_high=interval.high)
