"""Resuming: the configuration of an earlier run, the changes it permits, what it refuses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from framework.config import limits
from framework.config.explanation import first_line
from framework.config.schema import Settings
from framework.config.validation import COMPONENT_GROUPS, validate
from framework.errors import UserError
from framework.plugin import registry
from framework.training.folders.manifest import missing_plugins
from framework.training.folders.untrusted import read_text, refuse_links

# What a resume may not change, and what it may within that.
FIXED = ("experiment", "seed", "task", "estimator", "optimizer")
CHANGEABLE = {"optimizer.learning_rate"}
# What decides which data a step sees.
ORDER = ("trainer.accumulate",)
# Old and new values by dotted key.
Changes = dict[str, tuple[Any, Any]]


def warn(text: str) -> None:
    """Report what is passed over."""
    print(text, file=sys.stderr, flush=True)


def load_config(folder: Path, log: Callable[[str], None] = warn) -> Any:
    """The configuration of an earlier run; where its file is lost, the one that the newest checkpoint carries.

    Raises:
        UserError: not a run folder, a plugin of the run that is not installed, links inside it, YAML with aliases (a
            few bytes of which can fill the memory) or beyond the limits of a configuration.
    """
    path = folder / "config.yaml"
    refuse_links(folder)
    text = read_text(path, limits.BYTES) if path.is_file() else ""
    # Some file systems leave NULs where a power cut came before the data.
    lost = not text.strip("\0 \n")
    config = parse_config(config_of_checkpoint(folder, log) if lost else text, path)
    refuse_missing_plugin(config, folder)
    return config


def refuse_missing_plugin(config: Any, folder: Path) -> None:
    """Refuse a run with a component that is unknown here, where a plugin that the run had is not installed.

    Raises:
        UserError: names the component and the plugin.
    """
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(config, resolve=False)
    for key, group in COMPONENT_GROUPS.items():
        chosen = plain.get(key)
        name = chosen.get("name") if isinstance(chosen, dict) else None
        # A task object's name, "module:Class", is no plugin's.
        known = not isinstance(name, str) or ":" in name or name in registry().names(group)
        if not known and (missing := missing_plugins(folder / "manifest.jsonl")):
            plugins = " or ".join(f"'{plugin}'" for plugin in missing)
            raise UserError(
                f"{folder}: its {key} '{name}' came with plugin {plugins}, which is not installed"
            )


def config_of_checkpoint(folder: Path, log: Callable[[str], None]) -> str:
    """The text of `config.yaml` as the newest undamaged checkpoint carries it.

    Raises:
        UserError: there is none.
    """
    if any((folder / "checkpoints").glob("step_*.json")):
        # torch is needed where something is to be saved only.
        from framework.training.checkpoints.checkpoint import load_newest

        state = load_newest(folder / "checkpoints", log)
        if isinstance(text := state.get("config"), str) and text:
            log(f"{folder}: config.yaml is lost; it is taken from the checkpoint")
            return text
    empty = (folder / "config.yaml").is_file()
    raise UserError(
        f"{folder} is no run folder: {'its config.yaml is empty' if empty else 'it has no config.yaml'}"
    )


def parse_config(text: str, path: Path) -> Any:
    """A configuration from YAML; `path` is named in errors."""
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

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


def config_changes(before: Any, after: Any) -> Changes:
    """The keys in which two configurations differ, interpolations unresolved."""
    old, new = flat(before), flat(after)
    return {
        place: (old.get(place), new.get(place))
        for place in {**old, **new}
        if old.get(place) != new.get(place)
    }


def flat(config: Any) -> dict[str, Any]:
    """A configuration as one level of dotted keys, interpolations unresolved: no secret is shown."""
    from omegaconf import OmegaConf

    def walk(node: Any, prefix: str) -> dict[str, Any]:
        if not isinstance(node, dict):
            return {prefix: node}
        return {
            k: v for name, value in node.items() for k, v in walk(value, f"{prefix}.{name}").items()
        }

    plain = OmegaConf.to_container(config, resolve=False)
    return {k.lstrip("."): v for k, v in walk(plain, "").items()}


def validate_resume(changes: Changes, *, force: bool = False) -> None:
    """Refuse a resume that would make another run, saying what differs.

    Args:
        force: allow what changes which data a step sees.

    Raises:
        UserError: a changed task, estimator, optimiser or seed, or another order of the data.
    """
    fixed = {
        place: change
        for place, change in changes.items()
        if place.partition(".")[0] in FIXED and place not in CHANGEABLE
    }
    if fixed:
        raise UserError(f"a resumed run keeps its {', '.join(FIXED)}; changed: {told(fixed)}")
    order = {place: change for place, change in changes.items() if place in ORDER}
    if order and not force:
        raise UserError(
            f"{told(order)}: each step would see other data than in an uninterrupted run; "
            "resume.force=true resumes all the same"
        )


def told(changes: Changes) -> str:
    """Changes in words."""
    return "; ".join(f"{place}: {was} -> {now}" for place, (was, now) in changes.items())


def reopen(
    folder: Path, overrides: list[str], *, registered: bool = True, force: bool = False
) -> tuple[Any, Settings]:
    """The configuration and settings of an earlier run, with permitted changes; see `validate`."""
    before = load_config(folder)
    validate(before, registered=registered)
    after = change_config(before, overrides)
    validate_resume(config_changes(before, after), force=force)
    return after, validate(after, registered=registered)
