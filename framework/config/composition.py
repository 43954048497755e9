"""Composition: Hydra builds a configuration from the core's and the plugins' YAML, and overrides."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from framework.config.explanation import first_line, told_in_one_line
from framework.config.tuning import PAIRS, drop_foreign_options
from framework.errors import UserError, suggestion
from framework.plugin import ROOT, registry

# In a wheel inside the package, where no other package's `configs` is in its way.
CORE_CONFIGS = next(
    place for place in (ROOT / "framework" / "core_configs", ROOT / "configs") if place.is_dir()
)


# An experiment sets keys of every group.
GLOBAL_PACKAGE = "# @package _global_"


# Hydra's own plugins that are not installed with it, by the option that chooses one.
SWEEPERS = {
    "optuna": "hydra-optuna-sweeper",
    "ax": "hydra-ax-sweeper",
    "nevergrad": "hydra-nevergrad-sweeper",
    "joblib": "hydra-joblib-launcher",
    "ray": "hydra-ray-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
}

PATHS = ("hydra.run.dir", "hydra.sweep.dir", "input")

# What --config-dir names, where a sweep's choices are composed before Hydra itself sees the command line.
OWN_FOLDERS: ContextVar[tuple[Path, ...]] = ContextVar("OWN_FOLDERS", default=())

# Hydra composes in global state: one thread at a time.
COMPOSING = threading.Lock()


@dataclass(frozen=True)
class Composition:
    """What Hydra composed.

    Attributes:
        config: the configuration as written, interpolations unresolved.
        run_folder: the run folder that it names.
        choices: the chosen option of each group.
    """

    config: Any
    run_folder: Path
    choices: Mapping[str, Any]


def compose(overrides: Sequence[str], *, task: str | None = None) -> Composition:
    """Compose `configs/train.yaml` with overrides such as `experiment=javelin estimator.samples=8`.

    Args:
        task: the name `package.module:Class` of a task object, which takes the place of a registered task.

    Raises:
        UserError: an option that does not exist, or an override that cannot be parsed.
    """
    join_search_path()
    if task is not None:
        overrides = own_task_overrides(task, overrides)
    written = lenient_overrides(overrides)
    with COMPOSING, hydra_errors_as_user_errors(), hydra_composition(written) as config:
        choices = config.hydra.runtime.choices
        refuse_conflicts(choices)
        name_experiment(config, choices)
        drop_foreign_options(config, choices, overrides, config_options())
        if task is not None:
            config.experiment, config.task = snake_case(task), {"name": task}
        return Composition(without_hydra(config), Path(config.hydra.run.dir), dict(choices))


@contextmanager
def hydra_composition(overrides: list[str]) -> Iterator[Any]:
    """What Hydra composes, with `${hydra:...}` resolvable inside the block; a Hydra program around it keeps its own."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    from framework.config.checked_loader import checked_loading

    current = HydraConfig.instance()
    outer = current.cfg
    try:
        with checked_loading(), initialize_config_dir(str(CORE_CONFIGS), version_base="1.3"):
            config = hydra_compose("train", overrides, return_hydra_config=True)
            current.set_config(config)
            yield config
    finally:
        current.cfg = outer


def own_task_overrides(task: str, overrides: Sequence[str]) -> list[str]:
    """Overrides for a task object: the core's defaults, and a run folder of its name.

    Raises:
        UserError: an override that chooses a task or an experiment, or sets an option of a task.
    """
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        if key in {"task", "experiment"} or key.startswith("task."):
            raise UserError(
                f"'{override}': the task is the object that was given; set its options there"
            )
    folder = f"hydra.run.dir=outputs/{snake_case(task)}/${{now:%Y-%m-%d_%H-%M-%S-%f}}"
    own_folder = any(override.startswith("hydra.run.dir=") for override in overrides)
    return [*overrides, "experiment=null", *([] if own_folder else [folder])]


def snake_case(task: str) -> str:
    """A task object's experiment: `package.module:MyTask` -> `my_task`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", task.rpartition(":")[2])
    return re.sub(r"\W+", "_", words).lower()


def without_hydra(config: Any) -> Any:
    """The experiment's own part of a composed configuration."""
    from omegaconf import OmegaConf, open_dict

    config = config.copy()
    OmegaConf.set_readonly(config, False)
    with open_dict(config):
        config.pop("hydra", None)
    return config


def name_experiment(config: Any, choices: Mapping[str, Any]) -> None:
    """An experiment is called what was chosen for it, or after its task where none was."""
    from omegaconf import open_dict

    with open_dict(config):
        config.experiment = choices.get("experiment") or choices.get("task") or "experiment"


def lenient_overrides(overrides: Iterable[str]) -> list[str]:
    """Overrides that Hydra accepts even where a key is unknown, so that validation can name the nearest key.

    Naming a task without an experiment starts from the defaults, not from the default experiment's settings.
    """
    groups = config_options()
    given = ["~experiment" if o == "experiment=null" else o for o in overrides]
    keys = {override.partition("=")[0].lstrip("~") for override in given}
    if "task" in keys and "experiment" not in keys:
        given.append("~experiment")
    written = [normalise_override(override, groups) for override in given]
    if "~experiment" in given:
        # The settings for its pairs with estimators go with it.
        written.append(f"{PAIRS}=none")
    return written


def meant(word: str) -> str:
    """What a lone word may mean: the experiment or the task of that name."""
    groups = [group for group in ("experiment", "task") if word in config_options().get(group, {})]
    return f", as in {groups[0]}={word}" if groups else ""


def normalise_override(override: str, groups: Mapping[str, Any]) -> str:
    """One override as Hydra accepts it."""
    key, equals, value = override.partition("=")
    if not equals:
        return override
    if not key.strip("+~"):
        raise UserError(f"'{override}': expected group=option or key=value")
    # Quoted, a path may hold what Hydra's grammar does not allow.
    if key in PATHS and value != "null":
        escaped = value.replace("'", "\\'")
        return override if value[:1] in {"'", '"'} else f"{key}='{escaped}'"
    # Quoted, a number is an option's name, too.
    if key in groups and not value.startswith("{"):
        return f"{key}='{value}'" if value.replace(".", "").isdigit() else override
    bare = key.lstrip("+")
    plain = bare.replace(".", "").isidentifier() and not bare.startswith("hydra.")
    plain = plain and bare not in groups
    return f"++{override.lstrip('+')}" if plain else override


@cache
def config_options() -> dict[str, dict[str, list[Path]]]:
    """Every option of every configuration group, with the files that define it: {group: {option: [file, ...]}}."""
    options: dict[str, dict[str, list[Path]]] = {}
    for folder in config_folders():
        for file in sorted(folder.rglob("*.yaml")):
            group = file.parent.relative_to(folder).as_posix()
            if group != ".":
                options.setdefault(group, {}).setdefault(file.stem, []).append(file)
    return options


def config_folders() -> list[Path]:
    """The core's configuration folder and each plugin's."""
    return [CORE_CONFIGS, *(found.configs for found in registry().found if found.configs)]


def refuse_conflicts(choices: Mapping[str, Any]) -> None:
    """Refuse a chosen option that two folders define: one would silently shadow the other."""
    for group, option in choices.items():
        files = config_options().get(group, {}).get(str(option), [])
        if len(files) > 1:
            named = " and ".join(str(file) for file in files)
            raise UserError(f"{group}={option} is defined twice: {named}; rename one")
        if (
            group == "experiment"
            and files
            and GLOBAL_PACKAGE not in files[0].read_text(encoding="utf-8")
        ):
            raise UserError(
                f"{files[0]}: without '{GLOBAL_PACKAGE}' above, its settings would not count"
            )


@cache
def join_search_path() -> None:
    """Let Hydra find the configurations of every plugin."""
    from hydra.core.config_search_path import ConfigSearchPath
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin

    class PluginConfigs(SearchPathPlugin):
        def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
            for found in registry().found:
                if found.configs:
                    search_path.append(found.name, address(found.configs))
            for folder in OWN_FOLDERS.get():
                search_path.append("command-line", address(folder))

    Plugins.instance().register(PluginConfigs)


def address(folder: Path) -> str:
    """A folder as Hydra's search path has it, which knows no escapes."""
    return f"file://{folder.resolve()}"


@contextmanager
def with_own_folders(folders: Sequence[Path]) -> Iterator[None]:
    """Inside the block options are looked for in these folders, too."""
    token = OWN_FOLDERS.set(tuple(folders))
    try:
        yield
    finally:
        OWN_FOLDERS.reset(token)


@contextmanager
def hydra_errors_as_user_errors() -> Iterator[None]:
    """Turn Hydra's multi-line complaints into one line with the nearest option."""
    from hydra.errors import HydraException, MissingConfigException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        if not error.missing_cfg_file:
            raise UserError(first_line(error)) from None
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        if option in SWEEPERS and group in {"hydra/sweeper", "hydra/launcher"}:
            raise UserError(
                f"{group}={option} is not installed: pip install {SWEEPERS[option]}"
            ) from None
        near = suggestion(option, config_options().get(group, {}))
        raise UserError(f"unknown {group or 'configuration'} '{option}'; {near}") from None
    except OverrideParseException as error:
        written = str(error.override).removeprefix("++")
        raise UserError(
            f"'{written}': expected group=option or key=value{meant(written)}"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(told_in_one_line(error)) from None
    except ValueError as error:
        raise UserError(first_line(error)) from None
