"""Rao-Blackwellised sampling: some finite draws are summed over, the others sampled by their rules.

With z the sampled draws and x those summed over, the score function's estimate from n samples of z is made of
sum over x of p(x | z) f(x, z) in place of f at a sample of x: by the law of total variance it varies less.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from framework.errors import ProgramError, UserError
from framework.gradients.enumeration.choice import Choice
from framework.gradients.enumeration.exact import Exact
from framework.gradients.score_function import names_exact
from framework.gradients.surrogate.site_rules import SiteRules, Sites
from framework.recording.rule import Rule
from framework.recording.trace import Trace


class SomeDraws(Choice):
    """Sums over the draws that follow `exact` in `estimator.sites`."""

    def __init__(self, default: Rule, sites: Sites) -> None:
        super().__init__(default)
        options = [
            pattern
            for pattern, rule in sites.items()
            if not isinstance(rule, str) and names_exact(rule) and len(rule) > 1
        ]
        if options:
            raise UserError(f"estimator.sites.{options[0]}: the rule 'exact' has no options")
        self.patterns = [(pattern, names_exact(rule)) for pattern, rule in sites.items()]
        sampled = {pattern: rule for pattern, rule in sites.items() if not names_exact(rule)}
        self.rules = SiteRules(default, sampled)
        for pattern, known in self.rules.patterns:
            if known.relaxed or known.biased:
                raise UserError(
                    f"estimator.sites.{pattern}: expected score_function or reparameterisation beside draws that "
                    f"follow 'exact', got {known.name}"
                )

    def sums(self, site: str) -> bool:
        return next(
            (exact for pattern, exact in self.patterns if fnmatchcase(site, pattern)), False
        )

    def sampled(self, site: str) -> Rule | None:
        return None if self.sums(site) else self.rules(site)


class SomeExact(Exact):
    """rloo with draws that are summed over."""

    name = "rloo"

    def __init__(self, default: Rule, samples: int, sites: Sites) -> None:
        if samples < 2:
            raise UserError(
                f"estimator.samples = {samples}: expected 2 or more; leave-one-out compares samples"
            )
        super().__init__(non_enumerable="score_function", samples=samples)
        self.choice = SomeDraws(default, sites)

    def refusal(self, states: int, trace: Trace, why: str = "") -> ProgramError:
        return ProgramError(
            f"estimator.sites: the draws that follow 'exact' take {states} joint values, more than {self.states}; "
            "expected score_function for some of them"
        )
