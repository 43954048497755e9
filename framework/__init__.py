"""diffobj: differentiate your objective. The names a researcher or a plugin author needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from framework.context import Context
    from framework.errors import ProgramError, UserError
    from framework.gradients.estimate import estimate, surrogate
    from framework.gradients.estimator import Estimate, Estimator
    from framework.gradients.relaxation.straight_through import approximate
    from framework.media import Image, Text, Video
    from framework.perturbation import perturbed
    from framework.plugin import Plugin
    from framework.program import Program
    from framework.task import Task

__version__ = "0.1.0"

# Loaded when first asked for: `import framework` must stay light for manifests and listings.
_HOMES = {
    "Context": "framework.context",
    "Estimate": "framework.gradients.estimator",
    "Estimator": "framework.gradients.estimator",
    "Image": "framework.media",
    "Plugin": "framework.plugin",
    "Program": "framework.program",
    "ProgramError": "framework.errors",
    "Task": "framework.task",
    "Text": "framework.media",
    "UserError": "framework.errors",
    "Video": "framework.media",
    "approximate": "framework.gradients.relaxation.straight_through",
    "estimate": "framework.gradients.estimate",
    "perturbed": "framework.perturbation",
    "surrogate": "framework.gradients.estimate",
}

__all__ = [
    "Context",
    "Estimate",
    "Estimator",
    "Image",
    "Plugin",
    "Program",
    "ProgramError",
    "Task",
    "Text",
    "UserError",
    "Video",
    "approximate",
    "estimate",
    "perturbed",
    "surrogate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'framework' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
