"""Alpha-order: the first-order and the zeroth-order gradient mixed by what each is worth (Suh et al. 2022).

    g = a g1 + (1 - a) g0,    a = v0 / (v0 + v1 + b^2),    b^2 = max(0, |g1 - g0|^2 - e^2)

g1 is the reparameterised gradient, g0 the score function's with a leave-one-out baseline, each the mean of groups with
samples of their own; v1 and v0 are the variances of these means, measured between the groups. a is the share with the
least mean square error a^2 (v1 + b^2) + (1 - a)^2 v0.

b guards against a jump in the objective, where g1 has little variance and is wrong: e is the distance that noise alone
exceeds with probability 1 - confidence, and what lies beyond it is taken to be the bias of g1. (The paper bounds
a |g1 - g0| by a constant of the user's instead; here the bias fades by itself as 1 / samples, faster than the noise.)
Variances and g1 - g0 are averaged over the latest calls, in which the parameters have hardly moved: the share then
follows the problem and not one call's luck, and a smaller bias is detected. One smaller still passes undetected, so the
estimate is declared biased. First derivatives only.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from framework import ranks
from framework.capabilities import Capabilities, alternatives
from framework.config.types import FractionBelowOne
from framework.errors import ProgramError, UserError
from framework.gradients.distributions.refusal import refuse_bounds
from framework.gradients.estimator import (
    Estimate,
    Estimator,
    SurrogateEstimator,
    add_gradient,
    mean_objective,
    trainable,
)
from framework.gradients.pathwise.reparameterisation import Reparameterisation
from framework.gradients.score_function import rloo
from framework.gradients.surrogate.sampled import SampledSurrogate
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.context import Context
from framework.saved_state import check_saved


class FirstOrder(Reparameterisation):
    """Reparameterisation, under the name by which errors call this estimator."""

    name = "alpha_order"


@Capabilities(
    draws=("path",), evaluations="2n", costs="differentiable", biased=True, bias="a little"
)
class AlphaOrder(Estimator):
    """Reparameterisation and the score function mixed by their measured variances, on guard against jumps.

    Args:
        samples: of each of the two gradients, divided among the groups.
        groups: how many gradients of each kind the variances are measured between.
        confidence: how sure a disagreement must be before it counts as the first order's bias.
        memory_decay: of what earlier calls have measured; 0: each call measures for itself.

    Raises:
        UserError: fewer than two samples a group, or samples that cannot be divided evenly.
    """

    def __init__(
        self,
        *,
        samples: Annotated[int, Field(ge=4)] = 64,
        groups: Annotated[int, Field(ge=2)] = 8,
        confidence: Annotated[float, Field(ge=0.8, lt=1)] = 0.9,
        memory_decay: FractionBelowOne = 0.9,
    ) -> None:
        if samples % groups or samples < 2 * groups:
            raise UserError(
                f"estimator.samples = {samples}: expected a multiple of estimator.groups = {groups}, "
                f"at least {2 * groups}"
            )
        self.samples = samples
        self.groups = groups
        # The norm of Gaussian noise in any number of dimensions exceeds z standard deviations no more often than a
        # single Gaussian number does, for confidences from 0.79 on (Szekely & Bakirov 2003).
        self.bound = NormalDist().inv_cdf((1 + confidence) / 2)
        self.statistics = RunningStatistics(memory_decay)
        self.first = SampledSurrogate(FirstOrder(), samples // groups)
        self.zeroth = rloo(samples=samples // groups)

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        if program.recorded_trajectories:
            raise ProgramError(
                "'alpha_order' needs to play the episodes itself, and the program holds recorded ones; "
                f"{alternatives(recorded_actions=True)}"
            )

        def function(context: Context, parameters: Parameters, batch: Any) -> None:
            program.function(context, parameters, batch)
            # Groups have fewer samples than the bound.
            refuse_bounds(context.trace, "alpha_order")

        without_bounds = replace(program, function=function)
        estimates: list[Estimate] = []
        # The first order is expected to be wrong, and measured.
        unchecked = replace(without_bounds, checked=False)
        first = self.sampled(self.first, unchecked, parameters, batch, estimates)
        zeroth = self.sampled(self.zeroth, without_bounds, parameters, batch, estimates)
        share, v1, v0 = self.weigh(first, zeroth)
        mixed = zeroth.mean(0)
        # A first order that is not finite must not affect the rest.
        if share > 0:
            mixed = mixed.lerp(first.mean(0), share)
        leaves = list(trainable(parameters).values())
        for parameter, part in zip(leaves, mixed.split([p.numel() for p in leaves]), strict=True):
            add_gradient(parameter, part.reshape(parameter.shape) * scale)
        return Estimate(
            objective=mean_objective([estimate.objective for estimate in estimates]),
            evaluations=sum(estimate.evaluations for estimate in estimates),
            biased=True,
            extras={
                "alpha": share,
                "first_order_variance": v1,
                "zeroth_order_variance": v0,
            },
        )

    def sampled(
        self,
        estimator: SurrogateEstimator,
        program: Program,
        parameters: Parameters,
        batch: Any,
        estimates: list[Estimate],
    ) -> Tensor:
        """Independent gradients `[groups, P]`, all parameters in one vector; their estimates are noted.

        They are those of the whole batch, where several processes have parts of it.
        """
        found = []
        leaves = list(trainable(parameters).values())
        for _ in range(self.groups):
            loss, estimate = estimator.surrogate(program, parameters, batch)
            estimates.append(estimate)
            if loss.requires_grad:
                gradients = torch.autograd.grad(
                    loss, leaves, allow_unused=True, materialize_grads=True
                )
            # A cost that is flat but for its jumps.
            elif estimator is self.first:
                gradients = tuple(torch.zeros_like(p) for p in leaves)
            else:
                raise ProgramError(
                    "the objective depends on no parameter in a way alpha_order can see; "
                    f"{alternatives(what='need only its values', values_only=True)}"
                )
            found.append(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        gradients_of_groups = torch.stack(found)
        if ranks.size() == 1:
            return gradients_of_groups
        return ranks.summed(program.share(batch) * gradients_of_groups)

    def weigh(self, first: Tensor, zeroth: Tensor) -> tuple[float, float, float]:
        """The share of the first order and the variances of both means; gradients are `[groups, P]`."""
        v1, v0 = (float(g.var(0).sum()) / self.groups for g in (first, zeroth))
        # A derivative has exploded: nothing is learnt from it.
        if not (math.isfinite(v1) and math.isfinite(v0)):
            return 0.0, v1, v0
        self.statistics.add(v1, v0, first.mean(0) - zeroth.mean(0))
        share = share_of_first(*self.statistics.recall(self.bound))
        return share, v1, v0

    def state_dict(self) -> dict[str, Any]:
        return {"memory": self.statistics.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.statistics.load_state_dict(state["memory"])


class RunningStatistics:
    """What the latest calls have measured: sums in which a call counts `decay` times as much as the one after it."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weight = 0.0
        # Variances.
        self.first = 0.0
        self.zeroth = 0.0
        # g1 - g0, `[P]`, and its variance.
        self.difference: Tensor | None = None
        self.noise = 0.0

    def add(self, first: float, zeroth: float, difference: Tensor) -> None:
        """Take in a call's variances and the difference of its gradients."""
        decay = self.decay
        self.weight = decay * self.weight + 1
        self.first = decay * self.first + first
        self.zeroth = decay * self.zeroth + zeroth
        self.noise = decay**2 * self.noise + first + zeroth
        kept = 0.0 if self.difference is None else decay * self.difference
        self.difference = kept + difference

    def recall(self, bound: float) -> tuple[float, float, float, float]:
        """The arguments of `share_of_first`; `bound`: up to this many standard errors are noise."""
        assert self.difference is not None
        distance = float(self.difference.square().sum()) / self.weight**2
        noise = bound**2 * self.noise / self.weight**2
        return self.first / self.weight, self.zeroth / self.weight, distance, noise

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "decay"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        number = dict.fromkeys(("weight", "first", "zeroth", "noise"), float)
        check_saved("the memory", state, **number, difference=Tensor | None)
        self.weight, self.first, self.zeroth = state["weight"], state["first"], state["zeroth"]
        self.noise, self.difference = state["noise"], state["difference"]


def share_of_first(v1: float, v0: float, distance: float, noise: float) -> float:
    """The share a in [0, 1] of the first order.

    Args:
        v1, v0: the variances of the first-order and the zeroth-order gradient.
        distance: |g1 - g0|^2.
        noise: e^2, as much of the distance as noise explains.
    """
    error = v1 + max(0.0, distance - noise)
    return v0 / (v0 + error) if error > 0 else 1.0
