"""diffobj: differentiate your objective. The names a researcher or a plugin author needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework import data, media, randomness, relaxed
    from framework.capabilities import Capabilities
    from framework.commands.check import check_task
    from framework.commands.compare import compare
    from framework.commands.compare_runs import compare_runs
    from framework.commands.new_plugin import new_plugin
    from framework.commands.plugins import plugins
    from framework.commands.script import script
    from framework.errors import ProgramError, UserError
    from framework.gradients.estimate import estimate, surrogate
    from framework.gradients.estimator import Estimate, Estimator
    from framework.gradients.relaxation.straight_through import approximate
    from framework.gradients.selection.objective_check import check
    from framework.media import Image, Projection, Text, Video
    from framework.perturbation import perturbed
    from framework.plugin import Plugin
    from framework.program import Program
    from framework.recording.context import Context
    from framework.run import Run, compose, evaluate, fit, load, train
    from framework.sweeping import Sweep, sweep
    from framework.task import Task, TrainingPlan
    from framework.training.runs import runs
    from framework.tuning.tune import Study, tune

__version__ = "0.1.0"

# Where each public name lives. Loaded when first asked for: `import framework` stays light for manifests and listings.
_HOMES = {
    "Capabilities": "framework.capabilities",
    "Context": "framework.recording.context",
    "Estimate": "framework.gradients.estimator",
    "Estimator": "framework.gradients.estimator",
    "Image": "framework.media",
    "Plugin": "framework.plugin",
    "Program": "framework.program",
    "ProgramError": "framework.errors",
    "Projection": "framework.media",
    "Run": "framework.run",
    "Study": "framework.tuning.tune",
    "Sweep": "framework.sweeping",
    "Task": "framework.task",
    "Text": "framework.media",
    "TrainingPlan": "framework.task",
    "UserError": "framework.errors",
    "Video": "framework.media",
    "approximate": "framework.gradients.relaxation.straight_through",
    "check": "framework.gradients.selection.objective_check",
    "check_task": "framework.commands.check",
    "compare": "framework.commands.compare",
    "compare_runs": "framework.commands.compare_runs",
    "compose": "framework.run",
    "estimate": "framework.gradients.estimate",
    "evaluate": "framework.run",
    "fit": "framework.run",
    "load": "framework.run",
    "new_plugin": "framework.commands.new_plugin",
    "perturbed": "framework.perturbation",
    "plugins": "framework.commands.plugins",
    "runs": "framework.training.runs",
    "script": "framework.commands.script",
    "surrogate": "framework.gradients.estimate",
    "sweep": "framework.sweeping",
    "train": "framework.run",
    "tune": "framework.tuning.tune",
}
# Public modules, used as `framework.relaxed.where`.
_MODULES = {"data", "media", "randomness", "relaxed"}

__all__ = [
    "Capabilities",
    "Context",
    "Estimate",
    "Estimator",
    "Image",
    "Plugin",
    "Program",
    "ProgramError",
    "Projection",
    "Run",
    "Study",
    "Sweep",
    "Task",
    "Text",
    "TrainingPlan",
    "UserError",
    "Video",
    "approximate",
    "check",
    "check_task",
    "compare",
    "compare_runs",
    "compose",
    "data",
    "estimate",
    "evaluate",
    "fit",
    "load",
    "media",
    "new_plugin",
    "perturbed",
    "plugins",
    "randomness",
    "relaxed",
    "runs",
    "script",
    "surrogate",
    "sweep",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"framework.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'framework' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
