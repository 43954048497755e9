"""Rules by site: how each draw is sampled, by name pattern from configuration.

`estimator.sites: {"policy/*": score_function, "z": {name: gumbel, temperature: 0.5}}`; the first pattern that
matches a draw's name applies, and a draw that none matches follows the estimator's own rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, Protocol, cast

from framework.config.validation import check_options
from framework.errors import UserError
from framework.plugin import registry
from framework.recording.rule import Plain, Rule

Sites = Mapping[str, str | Mapping[str, Any]]


class Scheduled(Protocol):
    """A rule with a temperature that depends on how often its estimator has been called."""

    temperature: float

    def begin(self, call: int) -> None:
        """Set the temperature of call number `call`, counted from 0."""


class SiteRules:
    """Finds each draw's rule: the first matching pattern's, or the default."""

    def __init__(self, default: Rule, sites: Sites = MappingProxyType({})) -> None:
        self.default = default
        self.patterns = [(pattern, make_rule(pattern, rule)) for pattern, rule in sites.items()]
        tagged = [("temperature", default)]
        tagged += [(f"temperature/{pattern}", rule) for pattern, rule in self.patterns]
        self.scheduled = {tag: cast(Scheduled, r) for tag, r in tagged if hasattr(r, "begin")}
        self._known: dict[str, Rule] = {}
        # Runs by rules of one kind have the same faults.
        self.kind = (default.name, *((pattern, rule.name) for pattern, rule in self.patterns))

    def __call__(self, site: str) -> Rule:
        rule = self._known.get(site)
        if rule is None:
            matching = (rule for pattern, rule in self.patterns if fnmatchcase(site, pattern))
            rule = self._known[site] = next(matching, self.default)
        return rule

    @property
    def names(self) -> set[str]:
        """The names of the rules that draws so far follow."""
        return {rule.name for rule in self._known.values()}

    @property
    def biased(self) -> bool:
        """Whether any draw so far follows a biased rule."""
        return any(rule.biased for rule in self._known.values())

    @property
    def relaxed(self) -> bool:
        """Whether any draw so far may have had a value off its distribution's support."""
        return any(rule.relaxed for rule in self._known.values())

    def hard(self, site: str) -> Rule:
        """The draw's rule, or plain sampling where that would relax it."""
        rule = self(site)
        return Plain() if rule.relaxed else rule

    def begin(self, call: int) -> dict[str, float]:
        """Set every temperature to that of call number `call`; returns them by tag."""
        for rule in self.scheduled.values():
            rule.begin(call)
        return {tag: rule.temperature for tag, rule in self.scheduled.items()}


def make_rule(pattern: str, rule: str | Mapping[str, Any]) -> Rule:
    """A rule from its name, or from its name and options.

    Raises:
        UserError: no name, an unknown name, or options that the rule does not have.
    """
    options = {"name": rule} if isinstance(rule, str) else dict(rule)
    key = f"estimator.sites.{pattern}"
    if "name" not in options:
        raise UserError(f"'{key}' needs the name of a rule: {', '.join(registry().names('rules'))}")
    factory = registry().component("rules", options.pop("name")).load()
    return cast(Rule, factory(**check_options(factory, options, key)))
