"""What a configuration may make Hydra do: start jobs by launchers and sweepers known by name, and nothing else.

Hydra calls what its own section names (launchers, sweepers, callbacks, handlers of its logs), sets variables of the
environment and writes into folders. A configuration may come from a stranger, so that section is held against a list of
what is permitted; what runs commands or writes elsewhere counts only where it was typed, not where a file says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from framework.errors import UserError, suggestion

# The classes that Hydra may call, by the place that names them.
CLASSES: Mapping[str, frozenset[str]] = {
    "hydra.launcher": frozenset(
        {
            "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
            "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
            "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
            "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
            "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
        }
    ),
    "hydra.sweeper": frozenset(
        {
            "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
            "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper",
        }
    ),
    "hydra.sweeper.sampler": frozenset(
        f"optuna.samplers.{name}Sampler"
        for name in ("CmaEs", "Grid", "MOTPE", "NSGAII", "QMC", "Random", "TPE")
    ),
}
# Keys by which Hydra calls something or changes how it does.
CALLS = frozenset({"_target_", "_args_", "_partial_", "_recursive_", "_convert_"})
# Options that run commands, import modules or write somewhere: typed ones count, those of files are refused.
TYPED_ONLY = {
    "hydra.launcher": (
        "setup", "python", "srun_args", "additional_parameters", "submitit_folder", "temp_folder", "ray",
    ),
    "hydra.sweeper": ("storage",),
}  # fmt: skip
# What launchers say themselves.
DEFAULTS: tuple[Any, ...] = ("${hydra.sweep.dir}/.submitit/%j", {}, None)
# Resolvers whose result is one value and no mapping that was not looked at.
SCALAR_RESOLVERS = ("now", "oc.env")
# Flags of Hydra that unpickle a file, or put another configuration in the place of the core's.
REFUSED_FLAGS = ("--experimental-rerun", "--config-path", "--config-name")
REFUSED_SHORT_FLAGS = ("-cp", "-cn")


@dataclass(frozen=True)
class Typed:
    """The keys that the user has set, in the command line or in `overrides`."""

    keys: frozenset[str]

    @classmethod
    def of(cls, overrides: Iterable[str]) -> Typed:
        return cls(frozenset(o.lstrip("+~").partition("=")[0].strip() for o in overrides))

    def __contains__(self, key: str) -> bool:
        return any(key == typed or key.startswith(f"{typed}.") for typed in self.keys)


def refuse_flags(flags: Iterable[str]) -> None:
    """Refuse a flag of Hydra's command line that could run a file's code; argparse accepts beginnings of a flag, too.

    Raises:
        UserError: names the flag.
    """
    for flag in flags:
        name = flag.partition("=")[0]
        long = len(name) > 2 and any(refused.startswith(name) for refused in REFUSED_FLAGS)
        if long or name.startswith(REFUSED_SHORT_FLAGS):
            raise UserError(
                f"'{name}' is refused: the core's configuration is the one to start from; "
                "--config-dir=FOLDER adds options to it"
            )


def check_hydra_section(config: Any, overrides: Iterable[str]) -> None:
    """Check the section `hydra` of what Hydra has composed, before anything is done with it.

    Args:
        config: the whole configuration, unresolved.
        overrides: what the user has typed.

    Raises:
        UserError: names the key that is refused and why.
    """
    from omegaconf import OmegaConf

    if OmegaConf.is_interpolation(config, "hydra"):
        raise UserError("'hydra' is refused: expected its own keys, not those of another place")
    hydra: Any = OmegaConf.to_container(config.hydra, resolve=False)
    typed = Typed.of(overrides)
    for name in ("launcher", "sweeper"):
        check_class(config, mapping(hydra, name), f"hydra.{name}", typed)
    for name, node in hydra.items():
        if name not in {"launcher", "sweeper", "overrides", "runtime"}:
            refuse_calls(node, f"hydra.{name}")
    refuse_callbacks(hydra)
    for name in ("hydra_logging", "job_logging"):
        refuse_handlers(mapping(hydra, name), f"hydra.{name}")
    refuse_environment(mapping(hydra, "job"), typed)
    refuse_places(config, hydra, typed)
    if hydra.get("mode") is not None and "hydra.mode" not in typed:
        raise UserError("'hydra.mode' is refused in a file: -m starts a sweep")


def mapping(node: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A section of Hydra's as a mapping.

    Raises:
        UserError: it is something else, such as an interpolation.
    """
    section = node.get(name)
    if not isinstance(section, dict):
        raise UserError(f"'hydra.{name}' = {section!r} is refused: expected keys and values")
    return section


def check_class(config: Any, node: Mapping[str, Any], place: str, typed: Typed) -> None:
    """Check that what Hydra calls there is one of `CLASSES`, and that its options are plain data.

    Raises:
        UserError: another class, a nested one, or an option that would run something.
    """
    target, known = str(node.get("_target_")), CLASSES[place]
    if target not in known:
        names = {name.rpartition(".")[2]: name for name in known}
        near = suggestion(target.rpartition(".")[2], names)
        raise UserError(f"'{place}._target_' = '{target}' is refused: no class of the list; {near}")
    for key, value in node.items():
        path = f"{place}.{key}"
        if key == "_target_" or (key == "_partial_" and path == "hydra.sweeper.sampler._partial_"):
            continue
        if path in CLASSES and isinstance(value, dict):
            check_class(config, value, path, typed)
            continue
        refuse_option(key, value, place, typed)
        refuse_calls({key: value}, place)
        refuse_nodes_from_elsewhere(config, value, path)


def refuse_option(key: str, value: Any, place: str, typed: Typed) -> None:
    """Refuse an option by which a launcher or a sweeper would run something that nobody typed.

    Raises:
        UserError: names it.
    """
    path = f"{place}.{key}"
    if key == "custom_search_space" and value is not None:
        raise UserError(f"'{path}' is refused: a configuration runs no code")
    if key in TYPED_ONLY.get(place, ()):
        refuse_untyped(value, path, typed)
    if key == "params" and isinstance(value, str):
        raise UserError(f"'{path}' = {value!r} is refused: expected keys and values")
    for name in value if key == "params" and isinstance(value, dict) else ():
        if str(name).lstrip("+~").startswith("hydra"):
            raise UserError(f"'{path}' is refused: '{name}' is no key of a job")


def refuse_untyped(value: Any, path: str, typed: Typed) -> None:
    """Refuse a value that is neither a launcher's own nor typed; what is typed beside it does not permit it.

    Raises:
        UserError: names its place.
    """
    if value in DEFAULTS or path in typed:
        return
    if not isinstance(value, dict):
        raise UserError(f"'{path}' is refused in a file; type it, if you mean it")
    for key, part in value.items():
        refuse_untyped(part, f"{path}.{key}", typed)


def refuse_calls(node: Any, path: str) -> None:
    """Refuse `_target_` and its relatives at any depth.

    Raises:
        UserError: names the first.
    """
    for key, value in children(node):
        if key in CALLS:
            raise UserError(f"'{path}.{key}' is refused: a configuration runs no code")
        refuse_calls(value, f"{path}.{key}")


def refuse_nodes_from_elsewhere(config: Any, node: Any, path: str) -> None:
    """Refuse an interpolation that could stand for a mapping, whose keys were not looked at.

    Raises:
        UserError: names its place.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for key, value in children(node):
        refuse_nodes_from_elsewhere(config, value, f"{path}.{key}")
    if not isinstance(node, str) or not re.fullmatch(r"\s*\$\{.*\}\s*", node, re.DOTALL):
        return
    resolver = re.match(r"\s*\$\{\s*([\w.]+)\s*:", node)
    if resolver and resolver[1] in SCALAR_RESOLVERS:
        return
    try:
        value = None if resolver else OmegaConf.select(config, path)
    except OmegaConfBaseException:
        value = None
    if value is None or OmegaConf.is_config(value):
        raise UserError(f"'{path}' = '{node}' is refused: expected a plain value there")


def refuse_callbacks(hydra: Mapping[str, Any]) -> None:
    """Refuse every callback of Hydra's.

    Raises:
        UserError: there is one.
    """
    if hydra.get("callbacks") not in ({}, None):
        raise UserError(
            "'hydra.callbacks' is refused: a configuration runs no code; "
            "framework.train takes on_step and on_evaluation"
        )


def refuse_handlers(logging: Mapping[str, Any], path: str) -> None:
    """Refuse what sets up Python's logging: its handlers write files and call classes.

    Raises:
        UserError: it is more than levels.
    """
    root = logging.get("root")
    plain = set(logging) <= {"version", "root", "disable_existing_loggers"}
    if not plain or not (root is None or (isinstance(root, dict) and set(root) <= {"level"})):
        raise UserError(f"'{path}' is refused: log.txt in the run folder is the log; choose none")


def refuse_environment(job: Mapping[str, Any], typed: Typed) -> None:
    """Refuse variables of the environment that a file sets: some of them run code.

    Raises:
        UserError: names the first.
    """
    variables, copied = job.get("env_set") or {}, job.get("env_copy") or []
    if not isinstance(variables, dict) or not isinstance(copied, list):
        raise UserError("'hydra.job' is refused: expected env_set of keys and values")
    for name in variables:
        if name not in copied and f"hydra.job.env_set.{name}" not in typed:
            raise UserError(f"'hydra.job.env_set.{name}' is refused in a file; type it")


def refuse_places(config: Any, hydra: Mapping[str, Any], typed: Typed) -> None:
    """Refuse folders outside the working directory that a file names; typed ones are the user's choice.

    Raises:
        UserError: names the key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    subfolder = hydra.get("output_subdir")
    if subfolder is not None and not re.fullmatch(r"\.?[\w-]+", str(subfolder)):
        raise UserError(f"'hydra.output_subdir' = '{subfolder}': expected a folder's name or null")
    mapping(hydra, "run"), mapping(hydra, "sweep")
    for key in ("hydra.run.dir", "hydra.sweep.dir"):
        if key in typed:
            continue
        try:
            place = str(OmegaConf.select(config, key))
        except OmegaConfBaseException:
            place = "/"
        if not inside(place):
            raise UserError(f"'{key}' is refused in a file where it is outside; type it")
    subfolder = re.sub(r"\$\{hydra[.:]job\.\w+\}", "", str(hydra["sweep"].get("subdir")))
    if "hydra.sweep.subdir" not in typed and ("${" in subfolder or not inside(subfolder)):
        raise UserError("'hydra.sweep.subdir' is refused in a file where it is outside; type it")


def inside(place: str) -> bool:
    """Whether a folder's path stays below the folder that it starts from."""
    path = PurePosixPath(place)
    return not (path.is_absolute() or ".." in path.parts or place.startswith("~"))


def children(node: Any) -> Iterator[tuple[Any, Any]]:
    """The keys and values of a mapping, or the positions and values of a list."""
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)
