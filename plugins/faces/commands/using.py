"""What the commands share: a run that knows faces, its banner, and the face in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from framework.commands.run_arguments import load_run
from framework.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from plugins.faces.tasks.face_task import FaceTask


@dataclass(frozen=True)
class Use:
    """A loaded run, the command's words (`a.jpg b.jpg`) and its options."""

    run: Run
    seed: int
    options: dict[str, str]
    task: FaceTask
    words: list[str]

    def has_seen(self, file: Path) -> bool:
        """Whether a picture was learned from; one that cannot be read was not."""
        from plugins.faces.data.photographs import read_photograph

        try:
            return self.task.has_seen(read_photograph(file))
        except UserError:
            return False

    def option(self, key: str, default: str | None = None) -> str:
        """An option's value.

        Raises:
            UserError: it was not given and has no default.
        """
        value = self.options.get(key, default)
        if value is None:
            raise UserError(f"'{key}=...' is missing")
        return value


def use(verb: str, arguments: Sequence[str], known: Sequence[str] = ()) -> Use:
    """Load `run=RUN_FOLDER`; what is no `key=value` is a word.

    Raises:
        UserError: a run of another task.
    """
    words = words_of(arguments)
    run, seed, options = load_run(verb, [a for a in arguments if a not in words], known)
    from plugins.faces.tasks.face_task import FaceTask

    if not isinstance(run.task, FaceTask):
        raise UserError(f"run = '{run.folder}': task {run.settings.task.name} knows no faces")
    if not run.task.tells_people:
        raise UserError(
            f"run = '{run.folder}': task {run.settings.task.name} finds faces and tells nobody apart; "
            "expected a run of faces or faces_recognition"
        )
    run.task.warn()
    return Use(run, seed, options, run.task, words)


def words_of(arguments: Sequence[str]) -> list[str]:
    """Names and pictures: what has no `=`, or is a file all the same."""
    return [a for a in arguments if "=" not in a or Path(a).is_file()]


def face_of(task: FaceTask, file: str | Path, *, only: bool = False) -> Tensor:
    """The embedding `[D]` of the surest face in a picture.

    Raises:
        UserError: no face, or several where there must be `only` one.
    """
    from plugins.faces.data.photographs import read_photograph

    found = task.faces_in(read_photograph(Path(file)))["embeddings"]
    if not len(found):
        raise UserError(f"{file}: no face was found")
    if only and len(found) > 1:
        raise UserError(f"{file}: {len(found)} faces; expected a picture of one person alone")
    return found[0]
