"""Control variates: what a relaxed run predicts is taken off the score function and given back along a path.

With b the hard draw of a latent z, C a function of z that has a derivative, and z~ drawn from p(z | b),

    g = (f(b) - C(z~)) grad log p(b) + grad C(z) - grad C(z~)

is unbiased for every C. REBAR (Tucker et al. 2017) takes C = eta f(relaxed z), RELAX (Grathwohl et al. 2018) a small
network, so that f may be a black box, and for Normal draws (b = z) the same is called LAX. REBAR needs an f that is
continuous between the hard values: a jump such as `b > 0.5` biases it, and no program can tell by itself.

The noise behind z~ is coupled to that behind z so that z~ = z: one relaxed run serves both, and only their
derivatives differ:

    Bernoulli      dz/dl - dz~/dl     = 1 - p(b) (1 - exp(-|z|))
    categorical    dz_i/dl_i - dz~_i/dl_i = exp(z_i - max z),  l = log p
    Normal         dz/dm = 1,  dz/ds = noise, and no z~

eta, the temperature and the network follow the gradient of |g|^2, which is that of the variance, since the mean is
fixed. They are used first and moved afterwards, so that g stays unbiased while they move.

In several layers of draws each layer has a control variate of its own: earlier draws are hard and held fixed, the
layer is relaxed, and later draws are relaxed along with it (REBAR) or left out (the network).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Distribution

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.coupled.chain_rule import Group, Pushed, backward, grouped
from framework.gradients.coupled.control_variate_gradients import GRADIENTS, hard_value
from framework.gradients.coupled.coupled_runs import Played, play_layers
from framework.gradients.coupled.coupling import Record, Values
from framework.gradients.coupled.tuned import Tuned
from framework.gradients.distributions.noise_families import (
    FAMILIES,
    Family,
    Gaussian,
    Gumbel,
    Logistic,
    base_of,
)
from framework.gradients.distributions.refusal import (
    RELAXED,
    distributions_of,
    others,
    refuse,
)
from framework.gradients.estimator import Estimate, Estimator
from framework.gradients.surrogate.sampled import off_support
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import generator

Samples = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, eq=False)
class Relaxing:
    """Couples a run with one whose draws are relaxed at a temperature, from the same noise."""

    name: str
    temperature: Tensor
    relaxes: bool  # partners are run; else draws need only be known with their latents

    def family(self, site: str, distribution: Distribution) -> Family:
        family = FAMILIES.get(type(base_of(distribution)))
        served = "Bernoulli and OneHotCategorical"
        if self.name == "relax":
            kinds = ["Bernoulli", "OneHotCategorical", *([] if self.relaxes else ["Categorical"])]
            served = f"{', '.join(kinds)} and Normal"
        index = isinstance(family, Gumbel) and not family.one_hot
        normal = isinstance(family, Gaussian) and self.name == "rebar"
        if family is None or normal or (index and self.relaxes):
            what = f"{served} draws"
            if index:
                what += " (an index cannot be relaxed: draw a OneHotCategorical)"
            raise refuse(site, distribution, self.name, what)
        return family

    def partner(self, record: Record) -> Tensor:
        latent = record.family.latent(record.fixed, record.noise)
        return softened(record.family, latent, self.temperature.detach())

    def later(self, record: Record, parameters: Values) -> Tensor:
        latent = record.family.latent(parameters, record.noise)
        return softened(record.family, latent, self.temperature)


def softened(family: Family, latent: Tensor, temperature: Tensor) -> Tensor:
    """The draw softened: 0 temperature is the hard draw. A Normal draw is soft already."""
    if isinstance(family, Logistic):
        return (latent / temperature).sigmoid()
    return latent if isinstance(family, Gaussian) else (latent / temperature).softmax(-1)


class Softened:
    """A group of draws with its latents, `[n, ..., draws, ...]`, and these softened at the temperature."""

    def __init__(self, draws: Group, temperature: Tensor) -> None:
        self.draws = draws
        self.latent = draws.family.latent(draws.parameters, draws.noise).requires_grad_()
        self.soft = softened(draws.family, self.latent, temperature)

    def in_partner(self, by_record: Mapping[int, Tensor]) -> Tensor:
        """Derivatives with respect to the members' leaves, their partner's rows stacked: `[n, ..., draws, ...]`."""
        stacked = self.draws.stacked(by_record[id(record)] for record in self.draws.members)
        return stacked[-len(self.latent) :]


@dataclass(eq=False)
class Part:
    """A control variate's contribution to one group of draws.

    Attributes:
        level: C, `[n, *batch]`.
        slope: the derivative of C with respect to the latents, shaped as the group's noise.
    """

    level: Tensor
    slope: Tensor


class ControlVariate(Estimator):
    """REBAR, RELAX and what lies between: the score function less a tuned relaxed prediction.

    Args:
        name: how errors call it.
        relaxed: take the relaxed run's cost, times eta, as a control variate.
        hidden: width of a network that is one, too; None: no network.
        temperature: at the beginning.
        learning_rate: of eta, the temperature and the network; 0: they stay as they are.
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
        self.hidden = hidden
        self.rate = learning_rate
        scalars = {"log_temperature": torch.tensor(math.log(temperature))}
        if relaxed:
            scalars["eta"] = torch.tensor(eta)
        self.scalars = Tuned(scalars, learning_rate)
        self.network: Tuned | None = None
        self.saved_network: dict[str, Any] | None = None  # until the device is known

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
        coupling = Relaxing(self.name, self.scalars.tensors["log_temperature"].exp(), self.relaxed)
        extras: dict[str, Tensor | float] = {"temperature": coupling.temperature.detach()}
        if self.relaxed:
            extras["eta"] = self.scalars.tensors["eta"].detach().clone()
        with off_support(self):
            (played,) = play_layers(
                program, parameters, batch, coupling, self.samples, partners=self.relaxed
            )
        groups = [Softened(group, coupling.temperature) for group in grouped(played)]
        parts = self.parts(played, groups) if groups else []
        gradients = [gradient(group, part) for group, part in zip(groups, parts, strict=True)]
        moves = self.moves(played, groups, gradients)
        pushed: list[Pushed] = []
        for group, found in zip(groups, gradients, strict=True):
            pushed += group.draws.push([g.detach() for g in found])
        backward(played, pushed, parameters, scale)
        for tuned, move in moves:  # used first, moved afterwards
            tuned.step(move)
        return Estimate(
            objective=played.hard,
            evaluations=played.evaluations,
            biased=played.biased,
            extras=extras,
        )

    def parts(self, played: Played, groups: Sequence[Softened]) -> list[list[Part]]:
        """For each group the control variates' contributions."""
        found = [self.relaxed_parts(played, groups)] if self.relaxed else []
        if self.hidden is not None:
            found.append(self.network_parts(played, groups))
        return [list(parts) for parts in zip(*found, strict=True)]

    def relaxed_parts(self, played: Played, groups: Sequence[Softened]) -> list[Part]:
        """eta times the relaxed run's cost."""
        eta = self.scalars.tensors["eta"]
        leading = {record.layer: i for i, record in reversed(list(enumerate(played.records)))}
        total = torch.stack([played.partners[i].sum() for i in leading.values()]).sum()
        slopes = iter(derivatives(total, leaves_of(played.records)))
        slope_of = {
            id(record): self.checked(record, next(slopes), returns)
            for record, returns in zip(played.records, played.returns, strict=True)
        }
        parts = []
        for group in groups:
            outer = group.in_partner(slope_of)
            (slope,) = torch.autograd.grad(group.soft, group.latent, outer, create_graph=True)
            parts.append(Part(eta * group.draws.partners, eta * slope))
        return parts

    def checked(self, record: Record, slope: Tensor | None, returns: Tensor) -> Tensor:
        """The derivative with respect to a leaf.

        Raises:
            ProgramError: there is none though costs lie behind the draw: they use it in a way that has no derivative.
        """
        if slope is not None:
            return slope
        if returns.count_nonzero():
            raise ProgramError(
                f"draw '{record.site}': no cost has a derivative with respect to its relaxed value, which would "
                f"bias {self.name}; {alternatives(RELAXED, without=self.name, black_box=True)}"
            )
        assert record.leaf is not None
        return torch.zeros_like(record.leaf)

    def network_parts(self, played: Played, groups: Sequence[Softened]) -> list[Part]:
        """The network's prediction for each layer, from the layer's relaxed draws and the earlier layers' hard ones."""
        soft = [features(group.draws, group.soft, played.shape) for group in groups]
        hard = [features(group.draws, hard_value(group.draws), played.shape) for group in groups]
        layers = [group.draws.members[0].layer for group in groups]
        inputs = [
            torch.cat(
                [choose(a, b, k - own) for a, b, own in zip(soft, hard, layers, strict=True)], -1
            )
            for k in range(max(layers) + 1)
        ]
        predicted = self.predict(torch.stack(inputs))  # [layers, n, *batch]
        latents = [group.latent for group in groups]
        slopes = torch.autograd.grad(predicted.sum(), latents, create_graph=True)
        return [Part(predicted[layer], slope) for layer, slope in zip(layers, slopes, strict=True)]

    def predict(self, inputs: Tensor) -> Tensor:
        """`[layers, n, *batch, features]` -> `[layers, n, *batch]`; the network is made at its first use.

        Raises:
            ProgramError: the number of draws is not what it was.
        """
        layers, width = len(inputs), inputs.shape[-1]
        if self.saved_network is not None:
            self.network = Tuned.load(self.saved_network, self.rate, inputs.device)
            self.saved_network = None
        if self.network is None:
            assert self.hidden is not None
            tensors = new_network(layers, width, self.hidden)
            tensors = {name: t.to(inputs.device, inputs.dtype) for name, t in tensors.items()}
            self.network = Tuned(tensors, self.rate)
        weight, bias, out, level = self.network.tensors.values()
        if (len(bias), len(weight)) != (layers, width):
            raise ProgramError(
                f"relax: {width} drawn numbers in {layers} layers, and the network has been made for {len(weight)} in "
                f"{len(bias)}: every run must make the same draws; {alternatives()}"
            )
        by_layer = (layers, *[1] * (inputs.dim() - 2))
        units = (inputs @ weight + bias.reshape(*by_layer, -1)).tanh()
        return units @ out + level.reshape(by_layer)

    def moves(
        self,
        played: Played,
        groups: Sequence[Softened],
        gradients: Sequence[Sequence[Tensor]],
    ) -> list[tuple[Tuned, list[Tensor]]]:
        """The gradient of the gradient's mean square, for each tuned thing."""
        if self.rate == 0 or not groups:
            return []
        square = torch.stack([g.square().sum() for found in gradients for g in found]).sum()
        tuned = [self.scalars] if self.network is None else [self.scalars, self.network]
        tensors = [tensor for one in tuned for tensor in one.tensors.values()]
        leaves = leaves_of(played.records)
        found = torch.autograd.grad(
            square / played.data,
            [*tensors, *leaves],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        moves, by_leaf = list(found[: len(tensors)]), iter(found[len(tensors) :])
        if leaves:  # the temperature has made the leaves, too
            move_of = {id(record): next(by_leaf) for record in played.records}
            for group in groups:
                outer = group.in_partner(move_of)
                (more,) = derivatives(group.soft, tensors[:1], outer)
                moves[0] = moves[0] if more is None else moves[0] + more.detach()
        count = len(self.scalars.tensors)
        return list(zip(tuned, [moves[:count], moves[count:]], strict=False))

    def state_dict(self) -> dict[str, Any]:
        network = self.network.state_dict() if self.network is not None else self.saved_network
        return {"scalars": self.scalars.state_dict(), "network": network}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scalars = Tuned.load(state["scalars"], self.rate, torch.device("cpu"))
        self.network, self.saved_network = None, deepcopy(state["network"])


def leaves_of(records: Sequence[Record]) -> list[Tensor]:
    """The draws in relaxed partners, where partners were run."""
    return [record.leaf for record in records if record.leaf is not None]


def derivatives(
    value: Tensor, inputs: Sequence[Tensor], outer: Tensor | None = None
) -> Sequence[Tensor | None]:
    """The derivative with respect to each input, itself differentiable; None where there is none."""
    if not value.requires_grad:
        return [None] * len(inputs)
    return torch.autograd.grad(value, inputs, outer, create_graph=True, allow_unused=True)


def gradient(group: Softened, parts: Sequence[Part]) -> list[Tensor]:
    """Each sample's gradient with respect to each parameter of the group's draws, `[n, ...]`."""
    draws = group.draws
    level, slope = parts[0].level, parts[0].slope
    for part in parts[1:]:
        level, slope = level + part.level, slope + part.slope
    residual = draws.credit(draws.returns.detach() - level)
    return GRADIENTS[type(draws.family)](draws, residual, slope)


def features(group: Group, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A group's values as the network sees them, `[n, *batch, features]`."""
    if not group.per_datum:
        values = values.flatten(1).reshape(shape[0], *[1] * (len(shape) - 1), -1)
        return values.expand(*shape, -1)
    return values.reshape(*shape, -1)


def choose(soft: Tensor, hard: Tensor, later: int) -> Tensor:
    """What a layer's prediction may see of a group that lies so many layers before it."""
    if later == 0:
        return soft
    return hard if later > 0 else torch.zeros_like(hard)


def new_network(layers: int, width: int, hidden: int) -> dict[str, Tensor]:
    """One hidden layer that predicts 0; made without touching the run's random stream."""
    stream = generator(0, "control variate")
    return {
        "weight": torch.randn(width, hidden, generator=stream) / math.sqrt(width),
        "bias": torch.zeros(layers, hidden),
        "out": torch.zeros(hidden),
        "level": torch.zeros(layers),
    }
