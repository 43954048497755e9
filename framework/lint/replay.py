"""Runs of a program again with its draws moved, to see how its costs follow them.

Each sample's draws are moved from what they were towards a second sample from their distributions. What a run charges,
and the parameters of its later draws, are its *responses*.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.overrides import TorchFunctionMode

from framework.batch import leaves
from framework.lint.calls import DECISIONS, Call, name_of, users_line
from framework.lint.context import tensors_of
from framework.lint.noise import MovedNoise
from framework.lint.teeth import has_teeth, number_and_period, teeth
from framework.recording.derivatives import layers
from framework.recording.trace import Draw, Trace


class UndecidedError(Exception):
    """A program that cannot be run again in the same way."""


class GivenDraws:
    """The rule of a run whose draws are known."""

    name = "given"
    scored = False
    biased = False
    relaxed = False

    def __init__(self, sites: Sequence[str], values: Sequence[Tensor]) -> None:
        self.sites, self.values = sites, values
        self.position = 0

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        here = self.position
        self.position += 1
        if here >= len(self.sites) or self.sites[here] != site:
            raise UndecidedError(f"draw '{site}' was not made before")
        return self.values[here]


# What follows the draws, such as "cost 'cost'", and its number among those of this description.
Key = tuple[str, int]


@dataclass(eq=False)
class Response:
    """What follows the draws, in one number for each sample, `[n]`, with its slope along the way moved."""

    key: Key
    value: Tensor
    slope: Tensor

    @property
    def drawn(self) -> bool:
        """Whether it is a parameter of a draw."""
        return self.key[0].startswith("draw")

    @property
    def added(self) -> bool:
        """Whether it is a penalty, with which no draw is charged."""
        return self.key[0].startswith("penalty")

    def nothing(self) -> Response:
        """The same, had it not been charged."""
        return Response(self.key, torch.zeros_like(self.value), torch.zeros_like(self.slope))


@dataclass(eq=False)
class Replayed:
    """One run with given draws: its responses, and what the calls that are looked at returned."""

    responses: list[Response]
    outcomes: list[Tensor]


# Runs the program with a rule for its draws, always from the same random stream; its gradients are recorded.
Rerun = Callable[[GivenDraws], Trace]


@dataclass(eq=False)
class Segments:
    """The way of each sample's draws from what they were to a second sample.

    Args:
        rerun: runs the program.
        draws: those that were made in the run, in order.
        moved: the names of the draws that move; the others stay.
        count: how many samples, the first ones.
        noise: the seed of other noise towards which the program's own moves; None: it stays.
    """

    rerun: Rerun
    draws: Sequence[Draw]
    moved: Collection[str]
    count: int
    noise: int | None = None

    def __post_init__(self) -> None:
        # Whether noise of the program's own could not be moved.
        self.left = False
        self.sites = [draw.name for draw in self.draws]
        self.start = [draw.value.detach()[: self.count] for draw in self.draws]
        self.way = [
            second_sample(draw)[: self.count] - start if draw.name in self.moved else None
            for draw, start in zip(self.draws, self.start, strict=True)
        ]

    def at(self, place: Tensor, call: Call | None = None, *, slopes: bool = True) -> Replayed:
        """The run at `place` `[n]` of the way, from 0 to 1, or of `call` as well what it returned.

        Raises:
            UndecidedError: the program fails, or goes another way.
        """
        values = []
        for start, way in zip(self.start, self.way, strict=True):
            value = start
            if way is not None:
                value = start + place.to(start).reshape(-1, *[1] * (start.dim() - 1)) * way
                value.requires_grad_(slopes)
            values.append(value)
        outcomes = Outcomes(call)
        try:
            with torch.enable_grad():
                # The program may change what it is given.
                given = GivenDraws(self.sites, [value.clone() for value in values])
                moved = nullcontext() if self.noise is None else MovedNoise(place, self.noise)
                with outcomes, moved:
                    trace = self.rerun(given)
                self.left |= isinstance(moved, MovedNoise) and moved.left
                responses = [self.response(k, r, values, slopes) for k, r in responses_of(trace)]
        except Exception as error:
            raise UndecidedError(str(error)) from error
        return Replayed(responses, outcomes.found)

    def response(self, key: Key, value: Tensor, values: list[Tensor], slopes: bool) -> Response:
        """A response as one number for each sample: the sum of its elements with random weights."""
        n = self.count
        rows = (
            value.reshape(n, -1) if value.shape[:1] == (n,) else value.reshape(1, -1).expand(n, -1)
        )
        # Unequal: what cancels in the plain sum does not in this.
        weights = torch.rand(rows.shape[1], generator=torch.Generator().manual_seed(0)) + 0.5
        numbers = rows @ weights.to(rows)
        slope = torch.zeros_like(numbers)
        moving = [v for v, way in zip(values, self.way, strict=True) if way is not None]
        if slopes and moving and numbers.requires_grad:
            ways = [way for way in self.way if way is not None]
            gradients = torch.autograd.grad(
                numbers.sum(), moving, retain_graph=True, allow_unused=True
            )
            for gradient, way in zip(gradients, ways, strict=True):
                if gradient is not None:
                    slope = slope + (gradient * way).reshape(n, -1).sum(-1)
        return Response(key, numbers.detach().double().cpu(), slope.detach().double().cpu())


class Outcomes(TorchFunctionMode):
    """Notes what the calls at one line of the user's return."""

    def __init__(self, call: Call | None) -> None:
        super().__init__()
        self.call = call
        self.found: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        call = self.call
        if call is None or name_of(function) != call.name or users_line() != call.line:
            return function(*args, **(kwargs or {}))
        if has_teeth(call.name):
            number, period = number_and_period(call.name, args, kwargs or {})
            result = function(*args, **(kwargs or {}))
            self.found.append(inmost(teeth(number, period, result)).cpu())
            return result
        result = function(*args, **(kwargs or {}))
        if call.name in DECISIONS:
            self.found.append(torch.as_tensor(result))
        else:
            tensors = [tensor.detach() for tensor in leaves(result)]
            whole = [tensor for tensor in tensors if not tensor.is_floating_point()]
            self.found += [inmost(tensor).clone().cpu() for tensor in whole or tensors]
        return result


def inmost(tensor: Tensor) -> Tensor:
    """Under vmap: all that it maps over."""
    return deque(layers(tensor), maxlen=1).pop()


def second_sample(draw: Draw) -> Tensor:
    """Another value from a draw's distribution, twice as far away where it may be any number."""
    law, value = draw.distribution, draw.value.detach()
    own = len(law.batch_shape) + len(law.event_shape)
    with torch.no_grad():
        other = law.sample(value.shape[: value.dim() - own]).to(value)
    if other.shape != value.shape:
        other = other.expand(value.shape)
    return value + 2 * (other - value) if is_real(law) else other


def is_real(law: Distribution) -> bool:
    """Whether a draw may be any number."""
    return support_of(law) is constraints.real


def is_continuous(law: Distribution) -> bool:
    support = support_of(law)
    return support is not None and not support.is_discrete


def support_of(law: Distribution) -> Any:
    """The possible values of one element; None where the distribution does not say."""
    try:
        support: Any = law.support
    except NotImplementedError:
        return None
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def responses_of(trace: Trace) -> Iterator[tuple[Key, Tensor]]:
    """What follows the draws of a run: what it charges and the parameters of its draws."""
    charged = {"cost": trace.costs, "penalty": trace.penalties, "bound": trace.bounds}
    found = [(f"{kind} '{c.name}'", c.value) for kind, charges in charged.items() for c in charges]
    for draw in trace.draws:
        found += [(f"draw '{draw.name}'", value) for value in tensors_of(draw.distribution)]
    counted: Counter[str] = Counter()
    for what, value in found:
        if value.is_floating_point():
            yield (what, counted[what]), value
            counted[what] += 1
