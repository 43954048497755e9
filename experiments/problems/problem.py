"""A problem: a program whose objective, and so its gradient, is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import torch
from torch import Tensor

from framework.parameters import Parameters
from framework.program import Function, Program
from framework.recording.context import Context

Objective = Callable[[dict[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Problem:
    """A program, the parameters to differentiate at and the true objective as a function of them.

    Attributes:
        kind: who can serve it: "finite" (finitely many values), "discrete" (infinitely many), "smooth" (continuous
            draws, differentiable cost), "kinked" (continuous draws, a jump in the cost).
        batch: what the program is run on; a function draws a new one for each estimate, from torch's generator.
        samples: n, where the problem is about a particular one; None: any.
        group: the module that it stands in.
    """

    name: str
    program: Program
    parameters: dict[str, Tensor]
    objective: Objective
    kind: str
    batch: Tensor | Callable[[], Tensor] | None = None
    samples: int | None = None
    group: str = ""

    def fresh_program(self) -> Program:
        """The program as if it had never run."""
        declared = [f.name for f in fields(Program) if not f.name.startswith("_")]
        return Program(**{name: getattr(self.program, name) for name in declared})

    def next_batch(self) -> Tensor | None:
        return self.batch() if callable(self.batch) else self.batch

    def gradients(self) -> dict[str, Tensor]:
        """The true gradient."""
        leaves = {name: p.clone().requires_grad_() for name, p in self.parameters.items()}
        found = torch.autograd.grad(self.objective(leaves), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    def value(self) -> float:
        """The true objective."""
        return float(self.objective(self.parameters))


PROBLEMS: dict[str, Problem] = {}


def problem(
    kind: str,
    parameters: Mapping[str, Any],
    objective: Objective,
    *,
    batch: Tensor | Callable[[], Tensor] | None = None,
    samples: int | None = None,
    **axes: Any,
) -> Callable[[Function], Function]:
    """Register the decorated program, in the group of its module; `axes` are the program's, such as `batch_axes=1`.

    Raises:
        ValueError: a problem of this name exists.
    """

    def register(function: Function) -> Function:
        name, group = function.__name__, function.__module__.rpartition(".")[2]
        if name in PROBLEMS:
            raise ValueError(f"problem '{name}' exists in {PROBLEMS[name].group}")
        values = {n: torch.as_tensor(value) for n, value in parameters.items()}
        program = Program(function, **axes)
        PROBLEMS[name] = Problem(name, program, values, objective, kind, batch, samples, group)
        return function

    return register


def coins(number: int) -> Tensor:
    """Every value of `number` coins, `[2^number, number]`."""
    return torch.tensor(list(product((0.0, 1.0), repeat=number)))


def chance(logits: Tensor, values: Tensor) -> Tensor:
    """The probability of coins `[..., D]` with these logits."""
    return torch.where(values == 1, logits.sigmoid(), (-logits).sigmoid()).prod(-1)


__all__ = ["PROBLEMS", "Context", "Parameters", "Problem", "chance", "coins", "problem"]
