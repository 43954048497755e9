"""Numerical gradients: the objective's values at perturbed parameters, for objectives that are only known by value.

finite differences      (F(theta + h e_i) - F(theta - h e_i)) / 2h, for each parameter i
SPSA                    the same along random signs (Spall 1992)
evolution strategies    (F(theta + sigma e) - F(theta - sigma e)) e / 2 sigma, e ~ N(0, I) (Salimans et al. 2017)

Both sides of a difference share their random draws (common random numbers): without them the noise of a stochastic
objective is divided by h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from framework.errors import ProgramError
from framework.gradients.estimator import Estimate, Estimator, add_gradient, trainable
from framework.program import Parameters, Plain, Program
from framework.randomness import fresh_key

Samples = Annotated[int, Field(ge=1)]
Width = Annotated[float, Field(gt=0)]
Shaping = Literal["none", "ranks"]


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
    """Differences along random directions, all kept until the end: the common part of SPSA and evolution strategies."""

    def __init__(
        self, width: float, directions: int, samples: int, shaping: Shaping = "none"
    ) -> None:
        super().__init__(samples)
        self.width = width
        self.directions = directions
        self.shaping = shaping

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
        pairs, values = [], []
        for _ in range(self.directions):
            directions = {name: self.direction(parameter) for name, parameter in wanted.items()}
            pairs.append(directions)
            values += [
                evaluate({n: p.detach() + shift * directions[n] for n, p in wanted.items()})
                for shift in (self.width, -self.width)
            ]
        sides = torch.stack(values)
        shaped = centred_ranks(sides) if self.shaping == "ranks" else sides
        slopes = (shaped[0::2] - shaped[1::2]) / (2 * self.width * self.directions)
        for name, parameter in wanted.items():
            gradient = sum(
                (slope * directions[name] for slope, directions in zip(slopes, pairs, strict=True)),
                torch.zeros_like(parameter),
            )
            add_gradient(parameter, gradient * scale)
        return self.estimate(sides.mean(), 2 * self.directions)


class SPSA(Smoothing):
    """Simultaneous perturbation: 2 evaluations along random signs, whatever the number of parameters."""

    def __init__(
        self, *, step: Width = 1e-2, directions: Samples = 1, samples: Samples = 16
    ) -> None:
        super().__init__(step, directions, samples)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.empty_like(parameter).bernoulli_(0.5) * 2 - 1


class EvolutionStrategies(Smoothing):
    """Gaussian perturbations in mirrored pairs: the gradient of the objective smoothed over sigma.

    Shaping by ranks replaces the 2 `directions` values by their ranks, spread evenly over -1/2 to 1/2: the gradient
    then depends on the order of the values alone, and its length is about 1 / sigma times their rank correlation with
    the direction, whatever the objective's units. An outlier counts no more than any best value; biased.
    """

    def __init__(
        self,
        *,
        sigma: Width = 0.05,
        directions: Samples = 16,
        samples: Samples = 16,
        shaping: Shaping = "none",
    ) -> None:
        super().__init__(sigma, directions, samples, shaping)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.randn_like(parameter)


def centred_ranks(values: Tensor) -> Tensor:
    """Ranks spread evenly over -1/2 (the smallest) to 1/2; equal values share the mean of their ranks."""
    smaller = (values.unsqueeze(1) > values).sum(1)
    ties = (values.unsqueeze(1) == values).sum(1)
    return (smaller + 0.5 * (ties - 1)) / (len(values) - 1) - 0.5
