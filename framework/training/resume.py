"""Resuming: the configuration of an earlier run, the changes it permits, what it refuses."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

from framework.config import limits
from framework.config.explanation import dotted, first_line
from framework.config.schema import Settings
from framework.config.validation import validate
from framework.errors import UserError
from framework.training.untrusted import read_text, refuse_links

# What a resume may not change, and what it may within that.
FIXED = ("experiment", "seed", "task", "estimator", "optimizer")
CHANGEABLE = {"optimizer.learning_rate"}


def load_config(folder: Path) -> Any:
    """The configuration of an earlier run.

    Raises:
        UserError: not a run folder, links inside it, YAML with aliases (a few bytes of which can fill the memory) or
            beyond the limits of a configuration.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    refuse_links(folder)
    path = folder / "config.yaml"
    if not os.path.isfile(path):
        raise UserError(f"{folder} is no run folder: it has no config.yaml")
    text = read_text(path, limits.BYTES)
    try:
        refuse_aliases_and_depth(text, path)
        config = yaml.safe_load(text)
        if not isinstance(config, dict):
            raise UserError(f"{path}: expected a mapping of keys")
        limits.refuse_excess(config)
        return OmegaConf.create(config)
    except UserError as error:
        raise UserError(str(error) if str(path) in str(error) else f"{path}: {error}") from None
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError) as error:
        raise UserError(f"{path}: {first_line(error)}") from None


def refuse_aliases_and_depth(text: str, path: Path) -> None:
    """Refuse YAML that a few bytes make large or deep, before a parser that recurses meets it.

    Raises:
        UserError: it has an alias, or more levels than a configuration may have.
    """
    import yaml

    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            raise UserError(f"{path}: YAML aliases are refused")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > limits.DEPTH:
            raise UserError(f"{path}: more than {limits.DEPTH} levels of nesting")


def change_config(config: Any, overrides: list[str]) -> Any:
    """An earlier run's configuration with `key=value` changes.

    Raises:
        UserError: an override that is no `key=value`, or whose key is a group. Unknown keys are found by `validate`.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    changed = config.copy()
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        if not (equals and key.replace(".", "_").isidentifier()):
            raise UserError(f"'{override}': expected key=value")
        try:
            if OmegaConf.is_dict(OmegaConf.select(changed, key)):
                raise UserError(
                    f"'{key}' is a group: a run's own choices stay; change single keys of it"
                )
            OmegaConf.update(changed, key, OmegaConf.from_dotlist([f"x={value}"]).x)
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise UserError(f"'{override}': {first_line(error)}") from None
    return changed


def validate_resume(before: Any, after: Any) -> None:
    """Refuse to resume with a changed task, estimator, optimiser or seed, saying what differs."""
    from omegaconf import OmegaConf

    differences = []
    for key in FIXED:
        old, new = OmegaConf.select(before, key), OmegaConf.select(after, key)
        if old != new:
            keys = [
                dotted(OmegaConf.to_container(n), key) if OmegaConf.is_dict(n) else [key]
                for n in (old, new)
            ]
            for place in dict.fromkeys(itertools.chain(*keys)):
                was, now = OmegaConf.select(before, place), OmegaConf.select(after, place)
                if was != now and place not in CHANGEABLE:
                    differences.append(f"{place}: {was} -> {now}")
    if differences:
        raise UserError(
            f"a resumed run keeps its {', '.join(FIXED)}; changed: {'; '.join(differences)}"
        )


def reopen(folder: Path, overrides: list[str], *, registered: bool = True) -> tuple[Any, Settings]:
    """The configuration and settings of an earlier run, with permitted changes; see `validate`."""
    before = load_config(folder)
    validate(before, registered=registered)
    after = change_config(before, overrides)
    validate_resume(before, after)
    return after, validate(after, registered=registered)
