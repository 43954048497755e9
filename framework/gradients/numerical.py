"""Numerical gradients: the objective's values at perturbed parameters, for objectives that are only known by value.

finite differences      (F(theta + h e_i) - F(theta - h e_i)) / 2h, for each parameter i
SPSA                    the same along random signs (Spall 1992)
evolution strategies    (F(theta + sigma e) - F(theta - sigma e)) e / 2 sigma, e ~ N(0, I) (Salimans et al. 2017)

Both sides of a difference share their random draws (common random numbers): without them the noise of a stochastic
objective is divided by h. A discrete draw still changes from one side to the other only by chance, about as often as
its probability moves: within h it is almost always the same, so that the difference is 0, or else divided by h. The
expectation is right, and the variance is that of the jump divided by h; finite differences and SPSA say so. Evolution
strategies move by a width at which the objective itself is smooth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from framework import ranks
from framework.capabilities import Capabilities, able, alternatives
from framework.config.types import Count, Positive
from framework.errors import ProgramError
from framework.gradients.distributions.noise_families import base_of
from framework.gradients.distributions.refusal import families
from framework.gradients.estimator import Estimate, Estimator, add_gradient, name_of, trainable
from framework.gradients.moved_draws import MovedDraws
from framework.parameters import Parameters
from framework.program import Program
from framework.randomness import fresh_key, restore_states, save_states
from framework.recording.axes import AxesUnknown
from framework.recording.rule import SharedNoise

Shaping = Literal["none", "ranks"]
# Elements that shifted copies may have together; beyond a cache, one after the other is as fast.
STACK = 2**20
# The objective `[k]` at k shifts of the parameters, from these and k.
Evaluator = Callable[[Iterable[Parameters], int], Tensor]
# Differences over a small step.
LOCAL = ("finite_difference", "spsa")


class Numerical(Estimator):
    """What the three share: evaluating the objective at shifted parameters with common random numbers.

    Up to `together` shifted copies run at once under vmap, fewer where they would be large. A program that vmap cannot
    follow (one sample at a time, state, a discrete draw from a shifted distribution, a foreign library) runs once for
    each copy instead; `messages` says so.
    """

    # Whether it moves by so little that a discrete draw almost never changes.
    local = True

    def __init__(self, samples: int, together: int) -> None:
        self.samples = samples
        self.together = together
        # Looks at the first call only.
        self.moved = MovedDraws() if self.local else None
        self.rule = SharedNoise()
        self.pending: list[str] = []

    def evaluator(self, program: Program, parameters: Parameters, batch: Any) -> Evaluator:
        """The objective `[k]` at k shifts of the parameters, the same random draws at each.

        Several processes exchange these numbers: each has evaluated all shifts on its part of the data or, where there
        is none, its part of the shifts.
        """
        if program.recorded_trajectories:
            raise ProgramError(
                f"'{name_of(self)}' needs to play the episodes itself, and the program holds recorded ones; "
                f"{alternatives(recorded_actions=True)}"
            )
        key = ranks.of_first(fresh_key())

        def one(shifted: Parameters) -> Tensor:
            with explain_invalid(name_of(self)):
                traces = program.run(
                    lambda site: self.rule,
                    {**parameters, **shifted},
                    batch,
                    samples=self.samples,
                    key=key,
                )
            if self.moved is not None:
                self.moved.note(traces)
            return torch.stack([trace.objective() for trace in traces]).mean()

        @torch.no_grad()
        def evaluate(shifts: Iterable[Parameters], count: int) -> Tensor:
            if self.together > 1:
                # Under vmap no draw can be made for it.
                program.probe(parameters, batch, samples=self.samples)
            remaining, values = iter(shifts), []
            for first in remaining:
                size = sum(value.numel() for value in first.values())
                alone = program.one_sample_at_a_time or program.stateful
                together = 1 if alone else min(self.together, max(1, STACK // size))
                chunk = [first, *islice(remaining, together - 1)]
                values.append(self.at_once(one, chunk) if together > 1 else one(first).reshape(1))
            return torch.cat(values)

        return evaluate if ranks.size() == 1 else exchanged(evaluate, program, parameters, batch)

    def at_once(self, one: Callable[[Parameters], Tensor], chunk: list[Parameters]) -> Tensor:
        """The objective `[k]` at k shifts by one run under vmap, or one after another once vmap has refused."""
        stacked = {name: torch.stack([shift[name] for shift in chunk]) for name in chunk[0]}
        try:
            values: Tensor = torch.func.vmap(one, randomness="same")(stacked)
        except AxesUnknown:
            # Outside vmap a dry run can determine them, once and for all.
            one(chunk[0])
            return self.at_once(one, chunk)
        except (RuntimeError, ValueError) as error:
            # A mistake of the program itself is raised again here.
            values = torch.stack([one(shifted) for shifted in chunk])
            self.together = 1
            reason = str(error).strip().partition("\n")[0]
            self.pending.append(f"perturbations run one after the other: {reason}")
        return values

    def caution(self) -> str:
        """Why differences over a small step are of little use for a discrete draw; reported once, else empty."""
        found = None if self.moved is None else self.moved.found
        self.moved = None
        if found is None:
            return ""
        name, kind = name_of(self), type(base_of(found.distribution)).__name__
        better = [n for n in able([families(found.distribution)]) if n not in LOCAL]
        caution = (
            f"{name}: draw '{found.name}' ~ {kind} is discrete: within a small step it almost always keeps its value, "
            "so that nearly all differences are 0 and the others very large; "
            f"estimators that serve it with less variance: {', '.join(better)}"
        )
        self.pending.append(caution)
        return caution

    def messages(self) -> list[str]:
        messages, self.pending = self.pending, []
        return messages

    def estimate(self, value: Tensor, evaluations: int) -> Estimate:
        return Estimate(
            objective=value.detach(),
            evaluations=evaluations * self.samples,
            biased=True,
            caution=self.caution(),
        )


def exchanged(
    evaluate: Evaluator, program: Program, parameters: Parameters, batch: Any
) -> Evaluator:
    """The values of the whole objective, of which each of several processes evaluates a part."""
    share = program.share(batch)

    def together(shifts: Iterable[Parameters], count: int) -> Tensor:
        if not program.spreads_samples:
            return ranks.summed(share * evaluate(shifts, count))
        own = ranks.part(count)
        values = next(iter(parameters.values())).detach().new_zeros(count)
        if own.stop > own.start:
            values[own] = evaluate(islice(shifts, own.start, own.stop), own.stop - own.start)
        return ranks.summed(values)

    return together


@contextmanager
def drawn_by_first() -> Iterator[None]:
    """Draw in each of several processes what the first one draws."""
    if ranks.size() == 1:
        yield
        return
    own = save_states()
    restore_states(ranks.of_first(own))
    try:
        yield
    finally:
        restore_states(own)


@contextmanager
def explain_invalid(estimator: str) -> Iterator[None]:
    """Explain torch's error for a distribution whose parameters are out of their range."""
    try:
        yield
    except ValueError as error:
        if "to satisfy the constraint" not in str(error):
            raise
        reason = str(error).partition(", but found")[0].replace("\n", " ")
        raise ProgramError(
            f"{estimator} moves the parameters, and a distribution is not defined there: {reason}; use a smaller step, "
            "or parameters without a range, such as logits or the logarithm of a scale"
        ) from error


@Capabilities(
    draws=("any",),
    evaluations="2n for each parameter",
    costs="values",
    multi_sample_bounds="served",
    moving_support=True,
    biased=True,
    bias="O(h²)",
)
class FiniteDifference(Numerical):
    """Central differences along every parameter: 2 evaluations each, error O(h^2)."""

    def __init__(self, *, step: Positive = 1e-3, samples: Count = 64, together: Count = 32) -> None:
        super().__init__(samples, together)
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
        values = []
        for name, parameter in trainable(parameters).items():
            shifts = ({name: moved} for moved in self.shifted(parameter))
            sides = evaluate(shifts, 2 * parameter.numel()).view(-1, 2)
            values.append(sides)
            flat = parameter.detach().reshape(-1)
            # As rounded.
            step = (flat + self.step) - (flat - self.step)
            gradient = (sides[:, 0] - sides[:, 1]) / step
            add_gradient(parameter, gradient.view_as(parameter) * scale)
        sides = torch.cat(values)
        return self.estimate(sides.mean(), sides.numel())

    def shifted(self, parameter: Tensor) -> Iterator[Tensor]:
        """The parameter with its first element raised, lowered, its second raised, and so on."""
        for i in range(parameter.numel()):
            for shift in (self.step, -self.step):
                moved = parameter.detach().clone()
                moved.view(-1)[i] += shift
                yield moved


class RandomDirections(Numerical):
    """Differences along random directions, all kept until the end: the common part of SPSA and evolution strategies."""

    def __init__(
        self,
        width: float,
        directions: int,
        samples: int,
        together: int,
        shaping: Shaping = "none",
    ) -> None:
        super().__init__(samples, together)
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
        leaves = trainable(parameters)
        with drawn_by_first():
            pairs = [
                {n: self.direction(p) for n, p in leaves.items()} for _ in range(self.directions)
            ]
        shifts = (
            {n: p.detach() + shift * directions[n] for n, p in leaves.items()}
            for directions in pairs
            for shift in (self.width, -self.width)
        )
        sides = evaluate(shifts, 2 * self.directions)
        shaped = centred_ranks(sides) if self.shaping == "ranks" else sides
        slopes = (shaped[0::2] - shaped[1::2]) / (2 * self.width * self.directions)
        for name, parameter in leaves.items():
            gradient = sum(
                (slope * directions[name] for slope, directions in zip(slopes, pairs, strict=True)),
                torch.zeros_like(parameter),
            )
            add_gradient(parameter, gradient * scale)
        return self.estimate(sides.mean(), 2 * self.directions)


@Capabilities(
    draws=("any",),
    evaluations="2n for each direction",
    costs="values",
    multi_sample_bounds="served",
    moving_support=True,
    biased=True,
    bias="O(h²)",
)
class SPSA(RandomDirections):
    """Simultaneous perturbation: 2 evaluations along random signs, whatever the number of parameters."""

    def __init__(
        self,
        *,
        step: Positive = 1e-2,
        directions: Count = 1,
        samples: Count = 64,
        together: Count = 32,
    ) -> None:
        super().__init__(step, directions, samples, together)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.empty_like(parameter).bernoulli_(0.5) * 2 - 1


@Capabilities(
    draws=("any",),
    evaluations="2n for each direction",
    costs="values",
    multi_sample_bounds="served",
    moving_support=True,
    biased=True,
    bias="by the smoothing",
)
class EvolutionStrategies(RandomDirections):
    """Gaussian perturbations in mirrored pairs: the gradient of the objective smoothed over sigma.

    Shaping by ranks replaces the 2 `directions` values by their ranks, spread evenly over -1/2 to 1/2: the gradient
    then depends on the order of the values alone, and its length is about 1 / sigma times their rank correlation with
    the direction, whatever the objective's units. An outlier counts no more than any best value; biased.
    """

    local = False

    def __init__(
        self,
        *,
        sigma: Positive = 0.05,
        directions: Count = 16,
        samples: Count = 16,
        shaping: Shaping = "none",
        together: Count = 32,
    ) -> None:
        super().__init__(sigma, directions, samples, together, shaping)

    def direction(self, parameter: Tensor) -> Tensor:
        return torch.randn_like(parameter)


def centred_ranks(values: Tensor) -> Tensor:
    """Ranks spread evenly over -1/2 (the smallest) to 1/2; equal values share the mean of their ranks."""
    smaller = (values.unsqueeze(1) > values).sum(1)
    ties = (values.unsqueeze(1) == values).sum(1)
    return (smaller + 0.5 * (ties - 1)) / (len(values) - 1) - 0.5
