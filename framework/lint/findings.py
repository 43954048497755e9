"""What the check of a program's first run has found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch

from framework.recording.rule import Rules


@dataclass(eq=False)
class Findings:
    """What is known of a program.

    Attributes:
        checked: the kinds of run that were watched.
        biased: the names of the rules whose gradient leaves something out.
        jumps_in_a_parameter: whether the program's derivative leaves something out, whatever the rules.
        messages: sentences that nobody has read yet.
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


# A function that is given anew to each call of `framework.estimate` is watched in the first.
_OF_FUNCTIONS: WeakKeyDictionary[Callable[..., Any], Findings] = WeakKeyDictionary()


def findings_of(function: Callable[..., Any]) -> Findings:
    """The findings of a plain function, kept as long as it."""
    try:
        return _OF_FUNCTIONS.setdefault(function, Findings())
    except TypeError:
        # It can be neither hashed nor referred to weakly.
        return Findings()


def kind_of(rules: Rules, samples: int) -> Hashable:
    """What distinguishes one kind of run from another: its rules, several samples or one, gradients or none."""
    kind = getattr(rules, "kind", None) or getattr(rules, "__qualname__", type(rules))
    return kind, samples > 1, torch.is_grad_enabled()
