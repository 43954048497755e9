"""How one random value of a program is sampled: an estimator gives the context one rule for each draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.distributions import Distribution

from framework.recording.sampling import sampled


class Rule(Protocol):
    """How one draw is sampled and whether its log-probability enters the surrogate.

    Attributes:
        biased: whether a gradient through the draw may be off in expectation.
        relaxed: whether the value may lie off the distribution's support: the run's costs are then not the objective.
    """

    name: str
    scored: bool
    biased: bool
    relaxed: bool

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        """A value of shape `[*shape, *distribution.batch_shape, *distribution.event_shape]`."""


Rules = Callable[[str], Rule]


class Always:
    """The same rule for every draw of a run."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        # Runs by rules of one kind have the same faults.
        self.kind = (rule.name, type(rule))

    def __call__(self, site: str) -> Rule:
        return self.rule


class Plain:
    """The rule that samples and does nothing else, for evaluation and numerical estimators."""

    name = "plain"
    scored = False
    biased = False
    relaxed = False

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        return sampled(distribution, shape)


class SharedNoise(Plain):
    """Draws along their path where there is one: noise that no shift reaches is the same for copies under vmap."""

    def draw(self, site: str, distribution: Distribution, shape: torch.Size) -> Tensor:
        if distribution.has_rsample:
            return distribution.rsample(shape)
        return super().draw(site, distribution, shape)
