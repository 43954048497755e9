"""The trained runs that come with the demo: `runs/NAME.zip`, each a run folder with its best checkpoint.

`python -m experiments.demo_runs` trains and packs them.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import framework
from framework.config.validation import check_options
from framework.errors import UserError
from framework.plugin import registry

if TYPE_CHECKING:
    from framework.config.schema import Settings
    from framework.run import Run
    from framework.task import Task

PACKED = Path(__file__).with_name("runs")
# A network that was trained for minutes is unsure of much.
SHOWN = {"detection": ("task.display_threshold=0.4",)}


class Runs:
    """Trained runs by name, unpacked and loaded when they are first asked for.

    Attributes:
        folder: a temporary folder for files of this demo; removed by `close`.
    """

    def __init__(self) -> None:
        self._place = tempfile.TemporaryDirectory(
            prefix="diffobj-demo-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._place.name)
        self._loaded: dict[str, Run] = {}

    def close(self) -> None:
        self._place.cleanup()

    def trained(self, name: str) -> Run:
        """A run that comes with the demo.

        Raises:
            UserError: it is not there, or an extra that its plugin needs is not.
        """
        if name not in self._loaded:
            archive = PACKED / f"{name}.zip"
            if not archive.is_file():
                raise UserError(
                    f"{archive} is missing: python -m experiments.demo_runs {name} (in a checkout) makes it"
                )
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(self.folder / name)
            self._loaded[name] = framework.load(self.folder / name, overrides=SHOWN.get(name, ()))
        return self._loaded[name]

    def untrained(self, name: str) -> Run:
        """The same run with first parameters, as if nothing had been learnt."""
        run = self.trained(name)
        task = new_task(run.settings)
        task.model.to(run.device)
        return replace(run, task=task, step=0)


def new_task(settings: Settings, **options: Any) -> Task:
    """The task of a configuration, untrained.

    Args:
        options: of the task's, in place of the configuration's.

    Raises:
        UserError: an option that it does not have or refuses, or a missing extra.
    """
    factory = registry().component("tasks", settings.task.name).load()
    task: Task = factory(**check_options(factory, settings.task.options | options, "task"))
    return task
