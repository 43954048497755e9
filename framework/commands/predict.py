"""diffobj predict: use a trained run: diffobj predict run=RUN_FOLDER input=photo.jpg

    diffobj predict run=RUN_FOLDER [input=IMAGE|FOLDER|VIDEO] [output=FOLDER] [checkpoint=best|last] [seed=N]
                    [task.KEY=VALUE ...]

What the input may be is the task's to say: a detector takes images, a game agent plays and takes none.
The files are written to RUN_FOLDER/predictions, or to output=FOLDER, each as soon as it is made; the folder's path
is the last line printed. In Python: `framework.Run.predict`, of what `framework.load` returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from framework.commands.run_arguments import load_run
from framework.errors import UserError


def run(arguments: Sequence[str]) -> int:
    """Load a checkpoint's parameters and write what the task makes of the input."""
    given = next((a.removeprefix("input=") for a in arguments if a.startswith("input=")), None)
    source = None if given is None else Path(given).expanduser()
    if source is not None and not source.exists():
        raise UserError(f"input = '{given}': there is no such file or folder")
    run, seed, options = load_run("predict", arguments, known=("input", "output"))
    folder = Path(options.get("output", run.folder / "predictions")).expanduser()
    for media in run.predict(source, seed=seed):
        print(media.save(folder), flush=True)
    print(folder.resolve())
    return 0
