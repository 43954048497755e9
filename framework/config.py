"""Configuration: Hydra composes YAML, pydantic validates what it composed, the registry turns names into components.

Nothing here imports torch: a mistake in the core's own keys is told before torch is loaded, one in a component's
options as soon as the component's module is. `hydra.utils.instantiate` is never called and `_target_` is an error:
a configuration holds names and plain data.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from framework.errors import UserError, initials, suggestion
from framework.plugin import ROOT, registry

CORE_CONFIGS = ROOT / "configs"
CHOSEN = {  # configuration key -> registry group of the component that the key chooses
    "task": "tasks",
    "estimator": "estimators",
    "optimizer": "optimizers",
    "scheduler": "schedulers",
}

GLOBAL = "# @package _global_"  # an experiment sets keys of every group
PATHS = ("hydra.run.dir", "hydra.sweep.dir", "input")
Count = Annotated[int, Field(ge=1)]
CountOrNever = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class Choice(BaseModel):
    """A component by its registered name; the other keys are its options, checked against its signature."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)
    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class EarlyStopping(Section):
    """Stop when the task's headline metric is good enough, or has not improved for long enough."""

    patience: Count | None = None  # evaluations without improvement
    target: float | None = None  # a value of the headline metric that is good enough


class QualitySettings(Section):
    """The live measurement of the estimator's bias, variance and cost."""

    every: CountOrNever
    repeats: Annotated[int, Field(ge=4)]
    estimators: list[str]


class TrainerSettings(Section):
    """What the one loop may be told; `configs/trainer/default.yaml` explains each key."""

    steps: Count
    seconds: Positive | None
    stop_at: Count | None
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["float32", "bfloat16", "float16"]
    compile: bool
    threads: Count | None
    accumulate: Count
    clip_norm: Positive | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None
    log_every: Count
    evaluate_every: CountOrNever
    checkpoint_every: CountOrNever
    keep_checkpoints: Annotated[int, Field(ge=2)]
    early_stopping: EarlyStopping
    nonfinite_patience: Count
    quality: QualitySettings


class MonitorSettings(Section):
    """What is shown and written while training."""

    tensorboard: bool
    progress: Literal["auto", "bar", "lines", "none"]
    histograms_every: CountOrNever
    show_every: CountOrNever


class Settings(Section):
    """A whole experiment, validated."""

    experiment: str
    input: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    task: Choice
    estimator: Choice
    optimizer: Choice
    scheduler: Choice
    trainer: TrainerSettings
    monitor: MonitorSettings


@dataclass(frozen=True)
class Composition:
    """What Hydra composed: the configuration as written (interpolations unresolved) and the run folder it names."""

    config: Any
    run_folder: Path


def compose(overrides: Sequence[str]) -> Composition:
    """Compose `configs/train.yaml` with overrides such as `experiment=javelin estimator.samples=8`.

    Raises:
        UserError: an option that does not exist, or an override that cannot be parsed.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    join_search_path()
    with initialize_config_dir(str(CORE_CONFIGS), version_base="1.3"), told_in_one_line():
        config = hydra_compose("train", forgiving(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        choices = config.hydra.runtime.choices
        refuse_conflicts(choices)
        refuse_foreign_targets(OmegaConf.to_container(config.hydra, resolve=False))
        name_experiment(config, choices)
        folder = Path(config.hydra.run.dir)
        return Composition(without_hydra(config), folder)


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


def forgiving(overrides: Iterable[str]) -> list[str]:
    """Overrides that Hydra accepts even where a key is unknown, so that validation can name the nearest key.

    Naming a task without an experiment starts from the defaults, not from the default experiment's settings.
    """
    groups = config_options()
    given = ["~experiment" if o == "experiment=null" else o for o in overrides]
    keys = {override.partition("=")[0].lstrip("~") for override in given}
    if "task" in keys and "experiment" not in keys:
        given.append("~experiment")
    written = [forgiven(override, groups) for override in given]
    if "~experiment" in given:
        written.append("learning=none")  # what suits an estimator in an experiment goes with it
    return written


def forgiven(override: str, groups: Mapping[str, Any]) -> str:
    """One override as Hydra accepts it."""
    key, equals, value = override.partition("=")
    if not equals:
        return override
    if not key.strip("+~"):
        raise UserError(f"'{override}': expected group=option or key=value")
    if key in PATHS and value != "null":  # quoted, a path may hold what Hydra's grammar may not
        escaped = value.replace("'", "\\'")
        return override if value[:1] in {"'", '"'} else f"{key}='{escaped}'"
    if key in groups and not value.startswith("{"):  # quoted, a number is an option's name too
        return f"{key}='{value}'" if value.replace(".", "").isdigit() else override
    plain = key.replace(".", "").isidentifier() and not key.startswith("hydra.")
    return f"++{override}" if plain else override


def validate(config: Any) -> Settings:
    """Plain, resolved and checked settings from a composed configuration.

    Raises:
        UserError: one line per mistake, each naming the key and the nearest valid one.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    refuse_targets(OmegaConf.to_container(config, resolve=False))
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(first_line(error)) from None
    try:
        settings = Settings.model_validate(plain)
    except ValidationError as error:
        raise UserError(explain(error, Settings, known=dotted(plain))) from None
    if settings.input is not None and "${input}" not in OmegaConf.to_yaml(config):
        raise UserError(f"input = '{settings.input}': task '{settings.task.name}' takes none")
    for key, group in CHOSEN.items():
        choice = getattr(settings, key)
        component = registry().component(group, choice.name)
        if component.target.startswith("framework.optimization:"):  # loads without torch
            check_options(component.load(), choice.options, key)
        elif (valid := component.options()) is not None:
            for unknown in choice.options.keys() - set(valid):
                raise UserError(f"unknown key '{key}.{unknown}'; {suggestion(unknown, valid)}")
    return settings


def check_components(settings: Settings) -> None:
    """Check the options of every component against its signature; imports their modules.

    Raises:
        UserError: an option that a component does not have or refuses.
    """
    for key, group in CHOSEN.items():
        choice = getattr(settings, key)
        check_options(registry().component(group, choice.name).load(), choice.options, key)


def build(key: str, choice: Choice, *given: Any) -> Any:
    """Make the component that configuration key `key` chooses, from what the trainer gives and its own options."""
    factory = registry().component(CHOSEN[key], choice.name).load()
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
    scope = getattr(function, "__globals__", {})  # none where a class has no constructor of its own
    hints = get_type_hints(SimpleNamespace(__annotations__=annotations), scope, include_extras=True)
    fields = {p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in keywords}
    return create_model(factory.__name__, __base__=Section, **fields)  # type: ignore[call-overload,no-any-return]


def explain(
    error: ValidationError,
    schema: type[BaseModel],
    prefix: str = "",
    known: Sequence[str] = (),
) -> str:
    """One line per mistake: the key, its value, what was expected, the nearest valid key.

    Args:
        schema: what was validated against; `prefix` is its place in the configuration.
        known: all keys of the configuration, for a key that was written into the wrong section or abbreviated.
    """
    lines = []
    for mistake in error.errors():
        path = [str(part) for part in mistake["loc"]]
        key = ".".join([prefix, *path] if prefix else path)
        if mistake["type"] == "extra_forbidden":
            near = elsewhere(key, known) or suggestion(path[-1], fields_at(schema, path[:-1]))
            lines.append(f"unknown key '{key}'; {near}")
        elif mistake["type"] == "missing":
            lines.append(f"'{key}' is missing")
        else:
            expected = (
                mistake["msg"].replace("Input should be", "expected").replace("Value", "value")
            )
            lines.append(f"{key} = {mistake['input']!r}: {expected}")
    return "\n".join(dict.fromkeys(lines))


def elsewhere(key: str, known: Sequence[str]) -> str:
    """Where a key would be right: another section's key with its name, or with its letters as initials (lr)."""
    leaf = key.rpartition(".")[2]
    for other in known:
        name = other.rpartition(".")[2]
        if other != key and (name == leaf or (len(leaf) > 1 and initials(name) == leaf)):
            return f"did you mean '{other}'?"
    return ""


def dotted(node: Any, prefix: str = "") -> list[str]:
    """All keys of nested mappings, as `a.b.c`."""
    if not isinstance(node, dict):
        return [prefix]
    return [
        key for name, value in node.items() for key in dotted(value, f"{prefix}.{name}".lstrip("."))
    ]


def fields_at(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    """The valid keys of the section that `path` leads to."""
    for part in path:
        annotation = schema.model_fields[part].annotation if part in schema.model_fields else None
        if not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
            return []
        schema = annotation
    return list(schema.model_fields)


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


def refuse_foreign_targets(node: Any, path: str = "hydra") -> None:
    """Of `hydra.launcher` and its like, which Hydra itself calls, refuse all but Hydra's own and its plugins'."""
    if isinstance(node, dict):
        target = str(node.get("_target_", "hydra."))
        if not target.startswith(("hydra.", "hydra_plugins.", "optuna.")):
            raise UserError(f"'{path}._target_' = {target!r} is refused: it is none of Hydra's")
        for key, value in node.items():
            refuse_foreign_targets(value, f"{path}.{key}")


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
        if group == "experiment" and files and GLOBAL not in files[0].read_text(encoding="utf-8"):
            raise UserError(f"{files[0]}: without '{GLOBAL}' above, its settings would not count")


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
                    search_path.append(found.name, found.configs.as_uri())

    Plugins.instance().register(PluginConfigs)


class told_in_one_line:
    """Turn Hydra's multi-line complaints into one line with the nearest option."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        from hydra.errors import HydraException, MissingConfigException, OverrideParseException
        from omegaconf.errors import OmegaConfBaseException

        if isinstance(error, MissingConfigException) and error.missing_cfg_file:
            group, _, option = str(error.missing_cfg_file).rpartition("/")
            near = suggestion(option, config_options().get(group, {}))
            raise UserError(f"unknown {group or 'configuration'} '{option}'; {near}") from None
        if isinstance(error, OverrideParseException):
            written = str(error.override).removeprefix("++")
            raise UserError(f"'{written}': expected group=option or key=value") from None
        if isinstance(error, HydraException | OmegaConfBaseException | ValueError):
            raise UserError(first_line(error)) from None


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
