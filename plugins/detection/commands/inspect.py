"""diffobj inspect: look at a data set before a step: diffobj inspect task.data.root=FOLDER

    diffobj inspect [task=detection] task.data.root=FOLDER [output=inspection] [task.KEY=VALUE ...]
    diffobj inspect task=faces_recognition task.data.root=FOLDER
    diffobj inspect task=face_detection task.annotations=label.txt task.images=FOLDER

Counts objects for each class and split, backgrounds, tiny boxes, near copies and leaks between splits, says what AP a
perfect model could reach with this input size, model and cap on detections, and lists labels that look wrong. Prints
Markdown; writes it, the same as JSON, and contact sheets into `output`. Of faces it says what cannot be read, who has
one picture only, and which pictures are there twice. In Python: `plugins.detection.inspection.data_set.inspect`,
`plugins.faces.inspection.inspect_people` and `inspect_list`. Any task with `inspect(options)` can be inspected.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.errors import UserError
from framework.plugin import registry
from framework.run import compose


def run(arguments: Sequence[str]) -> int:
    """Read the folder, print the report, and write it."""
    own = [a for a in arguments if a.startswith("output=")]
    overrides = [a for a in arguments if a not in own]
    if not any(a.startswith(("task=", "experiment=")) for a in overrides):
        overrides = ["task=detection", *overrides]
    settings = compose(*overrides)
    from framework.config.validation import check_options

    task = registry().component("tasks", settings.task.name).load()
    if not hasattr(task, "inspect"):
        raise UserError(
            f"task = '{settings.task.name}': it has no data of yours to inspect; expected detection, "
            "faces_recognition or face_detection"
        )
    found = task.inspect(check_options(task, settings.task.options, "task"))
    print(found.markdown(), end="")
    folder = Path(own[-1].partition("=")[2] if own else "inspection").expanduser()
    written = [path.name for path in found.save(folder)]
    print(f"\n{folder}/: {', '.join(written)}")
    return 0
