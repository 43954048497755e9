"""What the rules of `exact` have in common: which draws it sums over, and by which rules it samples the others."""

from __future__ import annotations

from framework.recording.rule import Rule


class ExactRule:
    """The attributes of a rule that gives a draw all its values."""

    name = "exact"
    scored = True
    biased = False
    relaxed = False


class Choice:
    """Sums over every draw that it can; the others are sampled by one rule. None: they are refused."""

    def __init__(self, rule: Rule | None) -> None:
        self.rule = rule

    @property
    def samples(self) -> bool:
        """Whether any draw may be sampled."""
        return self.rule is not None

    def sums(self, site: str) -> bool:
        """Whether a draw is summed over if it has a support."""
        return True

    def sampled(self, site: str) -> Rule | None:
        """The rule of a draw that is not summed over; None: it is refused."""
        return self.rule
