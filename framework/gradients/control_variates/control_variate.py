"""Control variates: the score function less what a relaxed run predicts, which is added back along a path.

With b the hard draw of a latent z, C a function of z that has a derivative, and z~ drawn from p(z | b),

    g = (f(b) - C(z~)) grad log p(b) + grad C(z) - grad C(z~)

is unbiased for every C. REBAR (Tucker et al. 2017) takes C = eta f(relaxed z), RELAX (Grathwohl et al. 2018) a small
network, so that f may be a black box, and for Normal draws (b = z) the same is called LAX. REBAR needs an f that is
continuous between the hard values: a jump such as `b > 0.5` biases it, and no program can tell by itself.

The noise of z~ is coupled to that of z so that z~ = z: one relaxed run serves both, and only their
derivatives differ:

    Bernoulli      dz/dl - dz~/dl     = 1 - p(b) (1 - exp(-|z|))
    categorical    dz_i/dl_i - dz~_i/dl_i = exp(z_i - max z),  l = log p
    Normal         dz/dm = 1,  dz/ds = noise, and no z~

eta, the temperature and the network follow the gradient of |g|^2, which is that of the variance, since the mean is
fixed. They are used first and updated afterwards, so that g stays unbiased while they change.

In several layers of draws each layer has a control variate of its own: earlier draws are hard and held fixed, the
layer is relaxed, and later draws are relaxed along with it (REBAR) or left out (the network).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.errors import ProgramError, UserError
from framework.gradients.control_variates.control_variate_gradients import GRADIENTS
from framework.gradients.control_variates.prediction_network import PredictionNetwork
from framework.gradients.control_variates.relaxed_draws import (
    RelaxedCoupling,
    RelaxedGroup,
    derivatives,
    leaves_of,
)
from framework.gradients.control_variates.tuned_tensors import TunedTensors
from framework.gradients.coupled.chain_rule import Cotangent, backward, group_draws
from framework.gradients.coupled.coupled_runs import CoupledRuns, run_with_counterfactuals
from framework.gradients.coupled.coupling import BaseDraw
from framework.gradients.coupled.run_rules import IndexDrawn
from framework.gradients.distributions.refusal import RELAXED, distributions_of, others
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.surrogate.sampled import explain_off_support
from framework.parameters import Parameters
from framework.program import Program


@dataclass(eq=False)
class ControlVariateTerm:
    """A control variate's contribution to one group of draws.

    Attributes:
        value: C, `[n, *batch]`.
        gradient: the derivative of C with respect to the latents, shaped as the group's noise.
    """

    value: Tensor
    gradient: Tensor


class ControlVariate(Estimator):
    """REBAR, RELAX and what lies between: the score function less a tuned relaxed prediction.

    Args:
        name: how errors call it.
        relaxed: use the relaxed run's cost, times eta, as a control variate.
        hidden: width of a network that is one, too; None: no network.
        temperature: at the beginning.
        learning_rate: of eta, the temperature and the network; 0: they stay as they are.
        eta: at the beginning.
    """

    def __init__(
        self,
        name: str,
        samples: int,
        *,
        relaxed: bool,
        hidden: int | None,
        temperature: float,
        learning_rate: float,
        eta: float = 1.0,
    ) -> None:
        self.name = name
        self.samples = samples
        self.relaxed = relaxed
        self.rate = learning_rate
        scalars = {"log_temperature": torch.tensor(math.log(temperature))}
        if relaxed:
            scalars["eta"] = torch.tensor(eta)
        self.scalars = TunedTensors(scalars, learning_rate)
        self.network = None if hidden is None else PredictionNetwork(hidden, learning_rate)
        # Whether the program has been seen to draw an index, whose relaxed run needs a run of its own.
        self.indices = False

    def backward(
        self,
        program: Program,
        parameters: Parameters,
        batch: Any = None,
        *,
        scale: float | Tensor = 1.0,
    ) -> Estimate:
        if program.one_sample_at_a_time:
            draws = distributions_of(program, parameters, batch)
            raise ProgramError(
                f"'{self.name}' relaxes all samples' draws together, and the program runs one sample at a time; "
                f"{others(self.name, *draws, one_sample_at_a_time=True)}"
            )
        temperature = self.scalars.tensors["log_temperature"].exp()
        coupling = RelaxedCoupling(self.name, temperature, self.relaxed)
        extras: dict[str, Tensor | float] = {"temperature": temperature.detach()}
        if self.relaxed:
            extras["eta"] = self.scalars.tensors["eta"].detach().clone()
        try:
            runs = self.runs(program, parameters, batch, coupling)
        except ValueError as error:
            explain_off_support(error, self)
            raise
        groups = [RelaxedGroup(group, temperature) for group in group_draws(runs)]
        terms = self.terms(runs, groups) if groups else []
        gradients = [gradient(group, own) for group, own in zip(groups, terms, strict=True)]
        updates = self.variance_gradients(runs, groups, gradients)
        cotangents: list[Cotangent] = []
        for group, parts in zip(groups, gradients, strict=True):
            cotangents += group.group.cotangents([part.detach() for part in parts])
        backward(runs, cotangents, parameters, scale)
        # Used first, updated afterwards: the estimate stays unbiased.
        for tuned, update in updates:
            tuned.step(update)
        return Estimate(
            objective=runs.hard,
            evaluations=runs.evaluations,
            biased=runs.biased or program.findings.biases({self.name}),
            extras=extras,
        )

    def runs(
        self, program: Program, parameters: Parameters, batch: Any, coupling: RelaxedCoupling
    ) -> CoupledRuns:
        """The base run and the relaxed runs."""

        def run() -> CoupledRuns:
            (runs,) = run_with_counterfactuals(
                program,
                parameters,
                batch,
                coupling,
                self.samples,
                counterfactuals=self.relaxed,
                paired=not self.indices,
            )
            return runs

        try:
            return run()
        except IndexDrawn:
            self.indices = True
            return run()

    def terms(
        self, runs: CoupledRuns, groups: Sequence[RelaxedGroup]
    ) -> list[list[ControlVariateTerm]]:
        """For each group the control variates' contributions."""
        terms = [self.relaxed_terms(runs, groups)] if self.relaxed else []
        if self.network is not None:
            terms.append(network_terms(self.network, runs, groups))
        return [list(of_group) for of_group in zip(*terms, strict=True)]

    def relaxed_terms(
        self, runs: CoupledRuns, groups: Sequence[RelaxedGroup]
    ) -> list[ControlVariateTerm]:
        """eta times the relaxed run's cost."""
        eta = self.scalars.tensors["eta"]
        leading = {draw.layer: i for i, draw in reversed(list(enumerate(runs.draws)))}
        total = torch.stack([runs.counterfactual_returns[i].sum() for i in leading.values()]).sum()
        slopes = iter(derivatives(total, leaves_of(runs.draws)))
        slope_of = {
            id(draw): self.checked(draw, next(slopes), returns)
            for draw, returns in zip(runs.draws, runs.returns, strict=True)
        }
        terms = []
        for group in groups:
            outer = group.in_counterfactual(slope_of)
            (slope,) = torch.autograd.grad(group.relaxed, group.latent, outer, create_graph=True)
            value = eta * group.group.counterfactual_returns
            terms.append(ControlVariateTerm(value, eta * slope))
        return terms

    def checked(self, draw: BaseDraw, slope: Tensor | None, returns: Tensor) -> Tensor:
        """The derivative with respect to a leaf.

        Raises:
            ProgramError: there is none though costs are charged after the draw: they use it in a way that has no
                derivative.
        """
        if slope is not None:
            return slope
        if returns.count_nonzero():
            raise ProgramError(
                f"draw '{draw.site}': no cost has a derivative with respect to its relaxed value, which would "
                f"bias {self.name}; {alternatives(RELAXED, without=self.name, black_box=True)}"
            )
        assert draw.leaf is not None
        return torch.zeros_like(draw.leaf)

    def variance_gradients(
        self,
        runs: CoupledRuns,
        groups: Sequence[RelaxedGroup],
        gradients: Sequence[Sequence[Tensor]],
    ) -> list[tuple[TunedTensors, list[Tensor]]]:
        """The gradient of the gradient's mean square, for all that is tuned."""
        if self.rate == 0 or not groups:
            return []
        square = torch.stack([g.square().sum() for parts in gradients for g in parts]).sum()
        tuned = [self.scalars]
        if self.network is not None and self.network.tuned is not None:
            tuned.append(self.network.tuned)
        tensors = [tensor for one in tuned for tensor in one.tensors.values()]
        leaves = leaves_of(runs.draws)
        slopes = torch.autograd.grad(
            square / runs.size,
            [*tensors, *leaves],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        updates, by_leaf = list(slopes[: len(tensors)]), iter(slopes[len(tensors) :])
        # The leaves, too, depend on the temperature.
        if leaves:
            slope_of = {id(draw): next(by_leaf) for draw in runs.draws}
            for group in groups:
                outer = group.in_counterfactual(slope_of)
                (more,) = derivatives(group.relaxed, tensors[:1], outer)
                updates[0] = updates[0] if more is None else updates[0] + more.detach()
        count = len(self.scalars.tensors)
        return list(zip(tuned, [updates[:count], updates[count:]], strict=False))

    def state_dict(self) -> dict[str, Any]:
        network = None if self.network is None else self.network.state_dict()
        return {
            "scalars": self.scalars.state_dict(),
            "network": network,
            "indices": self.indices,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        scalars = TunedTensors.load(state["scalars"], self.rate, torch.device("cpu"))
        saved, own = (
            {n: list(t.shape) for n, t in s.tensors.items()} for s in (scalars, self.scalars)
        )
        if saved != own:
            raise UserError(
                f"checkpoint: the control variate's scalars are {saved}, expected {own}"
            )
        self.scalars = scalars
        self.indices = state.get("indices", False)
        if self.network is not None:
            self.network.load_state_dict(state["network"])


def network_terms(
    network: PredictionNetwork, runs: CoupledRuns, groups: Sequence[RelaxedGroup]
) -> list[ControlVariateTerm]:
    """The network's prediction for each group's layer."""
    predicted = network.predict(groups, runs.shape)
    latents = [group.latent for group in groups]
    slopes = torch.autograd.grad(predicted.sum(), latents, create_graph=True)
    layers = [group.group.members[0].layer for group in groups]
    return [
        ControlVariateTerm(predicted[layer], slope)
        for layer, slope in zip(layers, slopes, strict=True)
    ]


def gradient(relaxed: RelaxedGroup, terms: Sequence[ControlVariateTerm]) -> list[Tensor]:
    """Each sample's gradient with respect to each parameter of the group's draws, `[n, ...]`."""
    group = relaxed.group
    value, slope = terms[0].value, terms[0].gradient
    for term in terms[1:]:
        value, slope = value + term.value, slope + term.gradient
    residual = group.credit(group.returns.detach() - value)
    return GRADIENTS[type(group.family)](group, residual, slope)
