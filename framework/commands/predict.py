"""diffobj predict: use a trained run: diffobj predict run=RUN_FOLDER input=photo.jpg

    diffobj predict run=RUN_FOLDER [input=IMAGE|FOLDER|VIDEO] [output=FOLDER] [checkpoint=best|last] [seed=N]
                    [task.KEY=VALUE ...]

What the input may be is the task's to say: a detector takes images, a game agent plays and takes none.
The files are written to RUN_FOLDER/predictions, or to output=FOLDER, each as soon as it is made; the folder's path
is the last line printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.commands.trained import trained
from framework.errors import UserError


def run(arguments: Sequence[str]) -> int:
    """Load a checkpoint's parameters and write what the task makes of the input."""
    given = next((a.removeprefix("input=") for a in arguments if a.startswith("input=")), None)
    source = None if given is None else Path(given).expanduser()
    if source is not None and not source.exists():
        raise UserError(f"input = '{given}': there is no such file or folder")
    run = trained("predict", arguments, known=("input", "output"))
    from framework.randomness import key

    folder = Path(run.options.get("output", run.folder / "predictions")).expanduser()
    with run.in_use():
        for media in run.task.predict(source, key(run.seed, "predict") % 2**31):
            print(media.save(folder), flush=True)
    print(folder.resolve())
    return 0
