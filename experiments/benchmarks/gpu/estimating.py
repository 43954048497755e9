"""Estimators: samples a second on a problem of three draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from experiments.benchmarks.gpu.figures import Figure, Machine
from framework import Context, Program, waiting
from framework.gradients.registered import make_estimator
from framework.recording.sampling import unvalidated

DRAWS = 3


def bits(context: Context, parameters: Any, batch: Any) -> None:
    """Three bits that are to be 1.35 together."""
    drawn = [
        context.sample(f"b{i}", Bernoulli(logits=parameters[f"theta{i}"])) for i in range(DRAWS)
    ]
    context.cost((torch.stack(drawn).sum(0) - 0.45 * DRAWS) ** 2)


def numbers(context: Context, parameters: Any, batch: Any) -> None:
    """The same of three normal numbers."""
    one = torch.ones_like(parameters["theta0"])
    drawn = [context.sample(f"x{i}", Normal(parameters[f"theta{i}"], one)) for i in range(DRAWS)]
    context.cost((torch.stack(drawn).sum(0) - 0.45 * DRAWS) ** 2)


def leaves(device: torch.device) -> dict[str, Tensor]:
    return {f"theta{i}": torch.zeros((), device=device, requires_grad=True) for i in range(DRAWS)}


def estimators(machine: Machine) -> Iterator[Figure]:
    """One estimate with very many samples, as a training makes it after its first step."""
    count = machine.sizes.samples
    for name, program in (("rloo", bits), ("reparameterisation", numbers), ("gumbel", bits)):
        estimator, own = make_estimator(name, count), Program(program)
        parameters = leaves(machine.device)
        few = make_estimator(name, 16)
        # The first calls look at the program, and at calls 2, 4, 8 ... whether it is still the same.
        for _ in range(2 * machine.sizes.repeats):
            few.backward(own, parameters)

        def estimate(
            estimator: Any = estimator, own: Program = own, parameters: Any = parameters
        ) -> None:
            with waiting.deferred(machine.device), unvalidated():
                estimator.backward(own, parameters)

        machine.most_memory()
        seconds = machine.seconds(estimate)
        bar = machine.bar(1e8) if name != "gumbel" else None
        yield Figure(f"{name}, {DRAWS} draws x {count:,}", count / seconds, "samples/s", bar)
        yield Figure(f"memory of it, {name}", machine.most_memory(), "MiB")
