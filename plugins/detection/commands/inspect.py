"""diffobj inspect: look at a data set before a step: diffobj inspect task.data.root=FOLDER

    diffobj inspect [task=detection] task.data.root=FOLDER [output=inspection] [task.KEY=VALUE ...]

Counts objects for each class and split, backgrounds, tiny boxes, near copies and leaks between splits, says what AP a
perfect model could reach with this input size, model and cap on detections, and lists labels that look wrong. Prints
Markdown; writes it, the same as JSON, and contact sheets into `output`. In Python:
`plugins.detection.inspection.data_set.inspect`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.run import compose


def run(arguments: Sequence[str]) -> int:
    """Read the folder, print the report, and write it."""
    own = [a for a in arguments if a.startswith("output=")]
    overrides = [a for a in arguments if a not in own]
    if not any(a.startswith(("task=", "experiment=")) for a in overrides):
        overrides = ["task=detection", *overrides]
    settings = compose(*overrides)
    if settings.task.name != "detection":
        raise UserError(
            f"task = '{settings.task.name}': only the data of task=detection is inspected"
        )
    from framework.config.validation import check_options
    from plugins.detection.inspection.data_set import inspect
    from plugins.detection.task import Detection

    options = check_options(Detection, settings.task.options, "task")
    chosen = ("model", "model_options", "max_detections")
    known = {name: options[name] for name in chosen if name in options}
    found = inspect(options["data"], **known)
    print(found.markdown(), end="")
    folder = Path(own[-1].partition("=")[2] if own else "inspection").expanduser()
    found.save(folder)
    print(
        f"\n{folder}/: inspection.md, inspection.json, {', '.join(f'{p.name}.png' for p in found.pictures)}"
    )
    return 0
