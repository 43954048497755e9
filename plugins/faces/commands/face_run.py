"""A trained run of a face task, as the commands load it, and the face in a picture."""

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
class FaceRun:
    """A loaded run and its task, the command's options by key, and its words (`a.jpg b.jpg`)."""

    run: Run
    task: FaceTask
    options: dict[str, str]
    words: list[str]

    def has_seen(self, file: Path) -> bool:
        """Whether a picture was trained on; one that cannot be read was not."""
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


def load_face_run(verb: str, arguments: Sequence[str], known: Sequence[str] = ()) -> FaceRun:
    """Load `run=RUN_FOLDER`; arguments that are not `key=value` are words.

    Raises:
        UserError: a run of another task, or of one without embeddings.
    """
    words = words_of(arguments)
    run, _, options = load_run(verb, [a for a in arguments if a not in words], known)
    from plugins.faces.tasks.face_task import FaceTask

    if not isinstance(run.task, FaceTask):
        raise UserError(f"run = '{run.folder}': task {run.settings.task.name} is not a face task")
    if not run.task.has_identity_embeddings:
        raise UserError(
            f"run = '{run.folder}': task {run.settings.task.name} detects faces and does not distinguish people; "
            "expected a run of faces or faces_recognition"
        )
    run.task.warn()
    return FaceRun(run, run.task, options, words)


def words_of(arguments: Sequence[str]) -> list[str]:
    """Names and pictures: arguments without `=`, and files whose name has one."""
    return [a for a in arguments if "=" not in a or Path(a).is_file()]


def embedding_of(task: FaceTask, file: str | Path, *, only: bool = False) -> Tensor:
    """The embedding `[D]` of the face with the highest score in a picture.

    Raises:
        UserError: no face, or several where there must be `only` one.
    """
    from plugins.faces.data.photographs import read_photograph

    embeddings = task.faces_in(read_photograph(Path(file)))["embeddings"]
    if not len(embeddings):
        raise UserError(f"{file}: no face was detected")
    if only and len(embeddings) > 1:
        raise UserError(f"{file}: {len(embeddings)} faces; expected a picture of one person alone")
    return embeddings[0]
