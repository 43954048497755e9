"""diffobj doctor: rank labels that are probably missing or wrong: diffobj doctor run=RUN_FOLDER

    diffobj doctor run=RUN_FOLDER [folds=0] [steps=N] [output=FOLDER] [checkpoint=best|last] [task.KEY=VALUE ...]

Held-out images are judged by the run's model. `folds=3` trains three models on two thirds of the training images each,
for `steps` (the run's own number by default), to judge the other third by; without folds the run's model judges them,
which may have learned their mistakes. Prints the first 50; writes all, and pictures, into `output` (RUN/doctor).
In Python: `plugins.detection.inspection.doctor.diagnose`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.commands.run_arguments import load_run
from framework.errors import UserError


def run(arguments: Sequence[str]) -> int:
    """Load a run, print its doubtful labels, and write them."""
    loaded, _, options = load_run("doctor", arguments, ("folds", "steps", "output"))
    from plugins.detection.inspection.doctor import diagnose

    numbers = {}
    for name in ("folds", "steps"):
        text = options.get(name, "0")
        if not text.isdecimal():
            raise UserError(f"{name} = '{text}': expected a whole number")
        numbers[name] = int(text)
    found = diagnose(loaded, folds=numbers["folds"], steps=numbers["steps"] or None)
    print(found.markdown(), end="")
    folder = (
        Path(options["output"]).expanduser() if "output" in options else loaded.folder / "doctor"
    )
    found.save(folder)
    print(f"\n{folder}/: doctor.md, doctor.json (all {len(found.doubts)}), doctor.png")
    return 0
