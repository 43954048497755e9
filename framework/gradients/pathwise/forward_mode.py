"""The forward gradient: (grad F . v) v for a random direction v, by forward-mode differentiation alone.

E[v v^T] = I for v ~ N(0, I), so the estimate is unbiased; its variance grows with the number of parameters. One run
carries the value and its derivative along v together: nothing is stored for a backward pass, whatever the program's
length. Draws need a differentiable path. (Baydin et al. 2022.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.distributions import Distribution

from framework.capabilities import Capabilities, alternatives
from framework.config.types import Count
from framework.errors import ProgramError
from framework.gradients.distributions.refusal import others
from framework.gradients.estimator import (
    Estimate,
    Estimator,
    add_gradient,
    mean_objective,
    trainable,
)
from framework.gradients.pathwise.reparameterisation import Reparameterisation
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.trace import Trace
from framework.relaxed import smoothing


class ForwardPath(Reparameterisation):
    """Draw with a path along which torch can differentiate forwards."""

    name = "forward_gradient"

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        try:
            return super().draw(site, distribution, shape)
        except NotImplementedError as error:
            raise ProgramError(
                f"draw '{site}' ~ {type(distribution).__name__} has no forward derivative in torch; "
                f"{others(self.name, distribution)}"
            ) from error


@Capabilities(
    draws=("forward path",),
    evaluations="n for each direction",
    costs="differentiable",
    multi_sample_bounds="served",
    moving_support=True,
    bias="except where a cost jumps in a draw",
)
class ForwardGradient(Estimator):
    """Derivatives along random directions by forward-mode differentiation: unbiased, no backward pass."""

    def __init__(self, *, directions: Count = 16, samples: Count = 16) -> None:
        self.directions = directions
        self.samples = samples
        self.rule = ForwardPath()

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        leaves = trainable(parameters)
        gradients = {name: torch.zeros_like(parameter) for name, parameter in leaves.items()}
        values = []
        with torch.no_grad(), smoothing() as smooth:
            for _ in range(self.directions):
                along = {name: torch.randn_like(parameter) for name, parameter in leaves.items()}
                value, slope = self.derivative(program, parameters, along, batch)
                values.append(value)
                for name, direction in along.items():
                    gradients[name] += slope / self.directions * direction
            # These values are the smoothed program's.
            if smooth.used:
                values = [mean_of(self.run(program, parameters, batch))]
        for name, parameter in leaves.items():
            add_gradient(parameter, gradients[name] * scale)
        return Estimate(
            objective=mean_objective(values),
            evaluations=(self.directions + smooth.used) * self.samples,
            biased=smooth.biased or program.findings.biases({self.rule.name}),
        )

    def derivative(
        self, program: Program, parameters: Parameters, along: Parameters, batch: Any
    ) -> tuple[Tensor, Tensor]:
        """The objective of one run and its derivative along a direction."""
        with forward_ad.dual_level():
            dual = {
                name: forward_ad.make_dual(parameters[name].detach(), direction)
                for name, direction in along.items()
            }
            objective = mean_of(self.run(program, {**parameters, **dual}, batch))
            value, slope = forward_ad.unpack_dual(objective)
            if slope is None:
                raise ProgramError(
                    "the objective depends on no parameter in a way forward_gradient can see; "
                    f"{alternatives(what='need only its values', values_only=True)}"
                )
            return value, slope

    def run(self, program: Program, parameters: Parameters, batch: Any) -> list[Trace]:
        try:
            return program.run(lambda site: self.rule, parameters, batch, samples=self.samples)
        except NotImplementedError as error:
            reason = str(error).partition(" because")[0].partition("\n")[0]
            raise ProgramError(f"forward_gradient: {reason}; {alternatives([{'path'}])}") from error


def mean_of(traces: list[Trace]) -> Tensor:
    """The mean of several runs' objectives, its derivative kept."""
    return torch.stack([trace.objective() for trace in traces]).mean()
