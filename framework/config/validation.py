"""Validation: pydantic checks what Hydra composed, a component's signature its options; names become components.

Nothing here imports torch: a mistake in the core's own keys is reported before torch is loaded, one in a component's
options as soon as the component's module is. `hydra.utils.instantiate` is never called and `_target_` is an error: a
configuration holds names and plain data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, get_type_hints

from pydantic import BaseModel, ValidationError, create_model

from framework.config.explanation import dotted, explain, told_in_one_line
from framework.config.limits import refuse_excess
from framework.config.schema import Choice, Section, Settings
from framework.errors import UserError, suggestion
from framework.plugin import Component, registry

# Configuration key -> registry group of the component that the key chooses.
COMPONENT_GROUPS = {
    "task": "tasks",
    "estimator": "estimators",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
}

MISSING = object()


def validate(config: Any, *, registered: bool = True) -> Settings:
    """Plain, resolved and checked settings from a composed configuration.

    Args:
        registered: False: the task is an object that somebody holds, so that its name and options are not checked.

    Raises:
        UserError: one line per mistake, each naming the key and the nearest valid one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    unresolved = OmegaConf.to_container(config, resolve=False)
    refuse_targets(unresolved)
    refuse_excess(unresolved)
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, ValueError) as error:
        raise UserError(told_in_one_line(error)) from None
    # A resolver may have made some.
    refuse_targets(plain)
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        raise UserError(explain(error, Settings, known=dotted(plain))) from None
    if settings.input is not None and "${input}" not in OmegaConf.to_yaml(config):
        raise UserError(f"input = '{settings.input}': task '{settings.task.name}' takes none")
    for key, group in COMPONENT_GROUPS.items():
        if key == "task" and not registered:
            continue
        choice = getattr(settings, key)
        if key == "task" and ":" in choice.name:
            raise UserError(
                f"task '{choice.name}' is an object of a program: framework.load(RUN, task=...) uses it and "
                "framework.train(task, resume=RUN) continues it"
            )
        component = registry().component(group, choice.name)
        refuse_renamed(component, choice.options, key)
        # Optimisers load without torch.
        if component.target.startswith("framework.training.updates.optimization:"):
            check_options(component.load(), choice.options, key)
        elif (valid := component.options()) is not None:
            for unknown in choice.options.keys() - set(valid):
                raise UserError(f"unknown key '{key}.{unknown}'; {suggestion(unknown, valid)}")
    return settings


def refuse_renamed(component: Component, options: Mapping[str, Any], key: str) -> None:
    """Refuse an option under a name that it had in an earlier release.

    Raises:
        UserError: names the option as it is called now.
    """
    for old, new in registry().renamed(component).items():
        node: Any = options
        for part in old.split("."):
            node = node.get(part, MISSING) if isinstance(node, Mapping) else MISSING
        if node is not MISSING:
            raise UserError(f"unknown key '{key}.{old}'; it is called '{key}.{new}' now")


def check_components(settings: Settings) -> None:
    """Check the options of every component, and make all but the task as a training would; imports their modules.

    Raises:
        UserError: an option that a component does not have or refuses.
    """
    import torch

    for key, group in COMPONENT_GROUPS.items():
        choice = getattr(settings, key)
        check_options(registry().component(group, choice.name).load(), choice.options, key)
    build("estimator", settings.estimator)
    build("scheduler", settings.scheduler, settings.trainer.steps)
    build("optimizer", settings.optimizer, [torch.zeros(1)])


def build(key: str, choice: Choice, *given: Any) -> Any:
    """Make the component that configuration key `key` chooses, from what the trainer gives and its own options."""
    factory = registry().component(COMPONENT_GROUPS[key], choice.name).load()
    return factory(*given, **check_options(factory, choice.options, key))


def check_options(factory: Callable[..., Any], options: Mapping[str, Any], key: str) -> Any:
    """Validate options against the factory's keyword-only parameters, its schema.

    Raises:
        UserError: one line per mistake.
    """
    schema = options_schema(factory)
    try:
        checked = schema.model_validate(dict(options))
    except ValidationError as error:
        raise UserError(explain(error, schema, prefix=key)) from None
    return {name: getattr(checked, name) for name in checked.model_fields_set}


@cache
def options_schema(factory: Callable[..., Any]) -> type[BaseModel]:
    """A pydantic model of a component's keyword-only parameters."""
    keywords = [
        p for p in inspect.signature(factory).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    annotations = {p.name: p.annotation for p in keywords}
    function = factory.__init__ if inspect.isclass(factory) else factory
    # None where a class has no constructor of its own.
    scope = getattr(function, "__globals__", {})
    hints = get_type_hints(SimpleNamespace(__annotations__=annotations), scope, include_extras=True)
    fields = {p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in keywords}
    return create_model(factory.__name__, __base__=Section, **fields)  # type: ignore[call-overload,no-any-return]


def refuse_targets(node: Any, path: str = "") -> None:
    """Refuse `_target_` and its relatives anywhere: a configuration names components, it does not call code."""
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        where = f"{path}.{key}" if path else str(key)
        if key in {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}:
            raise UserError(
                f"'{where}' is refused: choose a registered component by its name instead"
            )
        refuse_targets(value, where)
