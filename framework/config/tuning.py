"""Which estimators an experiment's settings were chosen for, and what becomes of them under another one.

An experiment's own settings suit its default estimator; `experiment_estimator/EXPERIMENT_ESTIMATOR.yaml` holds those
of further ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from framework.config.schema import Settings
from framework.plugin import registry

# The group of settings for pairs of an experiment and an estimator.
PAIRS = "experiment_estimator"


def drop_foreign_options(
    config: Any,
    choices: Mapping[str, Any],
    overrides: Iterable[str],
    options: Mapping[str, Mapping[str, list[Path]]],
) -> None:
    """Drop the experiment's options of its default estimator that the chosen one does not have.

    What an override sets is kept, to be refused by its name.

    Args:
        options: the files of every configuration option, {group: {option: [file, ...]}}.
    """
    from omegaconf import open_dict

    experiment, estimator = choices.get("experiment"), choices.get("estimator")
    default, section = experiment_settings(experiment, options)
    if estimator == default or not section:
        return
    component = registry().component("estimators", config.estimator.name)
    (file,) = options["estimator"][str(estimator)]
    known = {*read(file), *(component.options() or ())}
    given = {override.lstrip("+").partition("=")[0] for override in overrides}
    with open_dict(config):
        for name in section:
            if name not in known and f"estimator.{name}" not in given:
                config.estimator.pop(name, None)


def untuned_notice(
    settings: Settings,
    choices: Mapping[str, Any],
    options: Mapping[str, Mapping[str, list[Path]]],
) -> str:
    """One line where the experiment was tuned for other estimators than the chosen one; else nothing."""
    experiment, estimator = choices.get("experiment"), choices.get("estimator")
    default, section = experiment_settings(experiment, options)
    pairs = options.get(PAIRS, {})
    tuned = {name for name in options["estimator"] if f"{experiment}_{name}" in pairs}
    if default is None or estimator in {default, *tuned} or not (section or tuned):
        return ""
    *others, last = sorted({default, *tuned})
    names = f"{', '.join(others)} and {last}" if others else last
    return (
        f"experiment {experiment} is tuned for {names}; with estimator {estimator} it runs untuned: "
        f"trainer.steps={settings.trainer.steps}, "
        f"optimizer.learning_rate={settings.optimizer.options.get('learning_rate')}"
    )


def experiment_settings(
    experiment: Any, options: Mapping[str, Mapping[str, list[Path]]]
) -> tuple[str | None, dict[str, Any]]:
    """An experiment's default estimator and its `estimator` section; None and nothing where it has none."""
    files = options.get("experiment", {}).get(str(experiment), [])
    written = read(files[0]) if files else {}
    defaults = [entry for entry in written.get("defaults", []) if isinstance(entry, dict)]
    chosen = [
        str(entry["override /estimator"]) for entry in defaults if "override /estimator" in entry
    ]
    return (chosen[-1] if chosen else None), dict(written.get("estimator") or {})


def read(file: Path) -> dict[str, Any]:
    """A YAML file, interpolations unresolved."""
    from omegaconf import OmegaConf

    written = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return {str(key): value for key, value in written.items()} if isinstance(written, dict) else {}
