"""What the check of a program's first run has found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch

from framework.recording.axes import SiteAxes
from framework.recording.rule import Rules


@dataclass(eq=False)
class Findings:
    """What is known of a program.

    Attributes:
        checked: the kinds of run that were watched.
        biased: the names of the rules whose gradient leaves something out.
        jumps_in_a_parameter: whether the program's derivative leaves something out, whatever the rules.
        messages: sentences that have not been read yet.
    """

    checked: set[Hashable] = field(default_factory=set)
    biased: set[str] = field(default_factory=set)
    jumps_in_a_parameter: bool = False
    messages: list[str] = field(default_factory=list)

    def biases(self, rules: Collection[str]) -> bool:
        """Whether the gradient by any of these rules leaves something out."""
        return self.jumps_in_a_parameter or not self.biased.isdisjoint(rules)

    def read(self) -> list[str]:
        """The messages, once."""
        read, self.messages = self.messages, []
        return read


# A function that is passed to `framework.estimate` again and again is watched and probed in the first call only.
_OF_FUNCTIONS: WeakKeyDictionary[Callable[..., Any], tuple[Findings, SiteAxes]] = (
    WeakKeyDictionary()
)


def known_of(function: Callable[..., Any]) -> tuple[Findings, SiteAxes]:
    """What is known of a plain function, kept as long as it."""
    try:
        known = _OF_FUNCTIONS.get(function)
        if known is None:
            known = _OF_FUNCTIONS[function] = Findings(), SiteAxes()
    except TypeError:
        # It can be neither hashed nor referred to weakly.
        return Findings(), SiteAxes()
    return known


def kind_of(rules: Rules, samples: int) -> Hashable:
    """What distinguishes one kind of run from another: its rules, several samples or one, gradients or none."""
    kind = getattr(rules, "kind", None) or getattr(rules, "__qualname__", type(rules))
    return kind, samples > 1, torch.is_grad_enabled()
