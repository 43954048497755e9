"""Estimators by their registered names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, cast

from framework.config.validation import check_options, refuse_renamed
from framework.gradients.estimator import Estimator
from framework.plugin import registry


def make_estimator(
    name: str, samples: int | None = None, options: Mapping[str, Any] = MappingProxyType({})
) -> Estimator:
    """An estimator by its registered name; `samples` reaches it where it has that option.

    Raises:
        UserError: an unknown estimator or option.
    """
    component = registry().component("estimators", name)
    if options:
        refuse_renamed(component, options, "estimator")
    factory = component.load()
    if samples is None or not takes_samples(factory):
        return cast(Estimator, factory(**check_options(factory, options, "estimator")))
    if not options:
        return cast(Estimator, factory(**checked_samples(factory, samples)))
    given = {**options, "samples": samples}
    return cast(Estimator, factory(**check_options(factory, given, "estimator")))


@lru_cache(typed=True)
def checked_samples(factory: Callable[..., Estimator], samples: int) -> dict[str, Any]:
    """The options of an estimator that is given n only, as most calls of `framework.estimate` do."""
    return cast(dict[str, Any], check_options(factory, {"samples": samples}, "estimator"))


@cache
def takes_samples(factory: Callable[..., Estimator]) -> bool:
    """Whether an estimator has the option `samples`."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    return "samples" in inspect.signature(function).parameters
