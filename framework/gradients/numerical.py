"""Numerical gradients: the objective's values at perturbed parameters, for objectives that are only known by value.

finite differences      (F(theta + h e_i) - F(theta - h e_i)) / 2h, for each parameter i
SPSA                    the same along random signs (Spall 1992)
evolution strategies    (F(theta + sigma e) - F(theta - sigma e)) e / 2 sigma, e ~ N(0, I) (Salimans et al. 2017)

Both sides of a difference share their random draws (common random numbers): without them the noise of a stochastic
objective is divided by h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, Estimator, add_gradient, trainable
from framework.program import Parameters, Plain, Program
from framework.randomness import fresh_key

Samples = Annotated[int, Field(ge=1)]
Width = Annotated[float, Field(gt=0)]


class Numerical(Estimator):
    """What the three share: evaluating the objective at shifted parameters with common random numbers."""

    differentiates_costs: ClassVar[bool] = False

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.rule = Plain()

    def evaluator(
        self, program: Program, parameters: Parameters, batch: Any
    ) -> Callable[[Parameters], Tensor]:
        """The objective as a function of the parameters, the same random draws at every call."""
        if program.steps:
            raise ProgramError(
                f"'{type(self).__name__}' needs to play the episodes itself, and the program holds recorded ones; "
                "estimators that can serve it: reinforce, rloo"
            )
        key = fresh_key()

        @torch.no_grad()
        def evaluate(shifted: Parameters) -> Tensor:
            traces = program.run(
                lambda site: self.rule,
                {**parameters, **shifted},
                batch,
                samples=self.samples,
                key=key,
            )
            return torch.stack([trace.objective() for trace in traces]).mean()

        return evaluate

    def estimate(self, value: Tensor, evaluations: int) -> Estimate:
        return Estimate(
            objective=value.detach(), evaluations=evaluations * self.samples, biased=True
        )


class FiniteDifference(Numerical):
    """Central differences along every parameter: 2 evaluations each, error O(h^2)."""

    def __init__(self, *, step: Width = 1e-3, samples: Samples = 16) -> None:
        super().__init__(samples)
        self.step = step

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        evaluate = self.evaluator(program, parameters, batch)
        values, evaluations = [], 0
        for name, parameter in trainable(parameters).items():
            gradient = torch.zeros_like(parameter)
            for i in range(parameter.numel()):
                sides = []
                for shift in (self.step, -self.step):
                    shifted = parameter.detach().clone()
                    shifted.view(-1)[i] += shift
                    sides.append((evaluate({name: shifted}), shifted.view(-1)[i]))
                (above, right), (below, left) = sides
                gradient.view(-1)[i] = (above - below) / (right - left)  # the step as rounded
                values.append((above + below) / 2)
                evaluations += 2
            add_gradient(parameter, gradient * scale)
        return self.estimate(torch.stack(values).mean(), evaluations)


class Smoothing(Numerical):
    """Differences along random directions: the common part of SPSA and evolution strategies."""

    def __init__(self, width: float, directions: int, samples: int) -> None:
        super().__init__(samples)
        self.width = width
        self.directions = directions

    def direction(self, parameter: Tensor) -> Tensor:
        """A random direction of the parameter's shape, of unit variance in each element."""
        raise NotImplementedError

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        evaluate = self.evaluator(program, parameters, batch)
        wanted = trainable(parameters)
        gradients = {name: torch.zeros_like(parameter) for name, parameter in wanted.items()}
        values = []
        for _ in range(self.directions):
            directions = {name: self.direction(parameter) for name, parameter in wanted.items()}
            above, below = (
                evaluate({n: p.detach() + shift * directions[n] for n, p in wanted.items()})
                for shift in (self.width, -self.width)
            )
            slope = (above - below) / (2 * self.width)
            values.append((above + below) / 2)
            for name, direction in directions.items():
                gradients[name] += slope / self.directions * direction
        for name, parameter in wanted.items():
            add_gradient(parameter, gradients[name] * scale)
        return self.estimate(torch.stack(values).mean(), 2 * self.directions)


class SPSA(Smoothing):
    """Simultaneous perturbation: 2 evaluations along random signs, whatever the number of parameters."""

    def __init__(
        self, *, step: Width = 1e-2, directions: Samples = 1, samples: Samples = 16
    ) -> None:
        super().__init__(step, directions, samples)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.empty_like(parameter).bernoulli_(0.5) * 2 - 1


class EvolutionStrategies(Smoothing):
    """Gaussian perturbations in mirrored pairs: the gradient of the objective smoothed over sigma."""

    def __init__(
        self, *, sigma: Width = 0.05, directions: Samples = 16, samples: Samples = 16
    ) -> None:
        super().__init__(sigma, directions, samples)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.randn_like(parameter)
