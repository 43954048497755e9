"""What a command of this plugin works with: a trained run of a face task, its options and its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework import UserError
from framework.commands.main import keyed
from framework.commands.run_arguments import load_run

if TYPE_CHECKING:
    from plugins.faces.analysis.analysis import FaceAnalysis


@dataclass(frozen=True)
class FaceRun:
    """What analyses faces, the command's options by key, and its words (`a.jpg b.jpg`)."""

    faces: FaceAnalysis
    options: dict[str, str]
    words: list[str]

    def option(self, key: str, default: str | None = None) -> str:
        """An option's value.

        Raises:
            UserError: it was not given and has no default.
        """
        value = self.options.get(key, default)
        if value is None:
            raise UserError(f"'{key}=...' is missing")
        return value


@contextmanager
def face_run(verb: str, arguments: Sequence[str], known: Sequence[str] = ()) -> Iterator[FaceRun]:
    """Load `run=RUN_FOLDER` and use it inside the block; arguments that are not `key=value` are words.

    With `detector=` (bundled, mtcnn, a run's folder, a network's file) the faces that it finds are cut out for the run,
    and with `embedder=FILE` in place of `run=` for the network in that file.

    Raises:
        UserError: a run of another task, or of one without embeddings.
    """
    words = words_of(arguments)
    rest = [a for a in arguments if a not in words]
    if any(a.startswith("embedder=") for a in rest):
        options = keyed(rest, ("embedder", "detector", *known))
        from plugins.faces.analysis.pipeline import FacePipeline

        if "detector" not in options:
            raise UserError(
                "embedder=FILE needs detector=: bundled, mtcnn, a run's folder or a network's file"
            )
        sources = {key: options.pop(key) for key in ("detector", "embedder")}
        yield FaceRun(FacePipeline.of(**sources), options, words)
        return
    run, _, options = load_run(verb, rest, ("detector", *known))
    from plugins.faces.tasks.face_task import FaceTask
    from plugins.faces.tasks.recognition import Recognition

    if not isinstance(run.task, FaceTask):
        raise UserError(f"run = '{run.folder}': task {run.settings.task.name} is not a face task")
    if not run.task.has_identity_embeddings:
        raise UserError(
            f"run = '{run.folder}': task {run.settings.task.name} detects faces and does not distinguish people; "
            "expected a run of faces or faces_recognition"
        )
    run.task.warn()
    detector = options.pop("detector", None)
    faces: FaceAnalysis = run.task
    if detector is not None:
        if not isinstance(run.task, Recognition):
            raise UserError(
                f"detector = '{detector}': run = '{run.folder}' has one of its own; "
                "expected a run of faces_recognition"
            )
        faces = run.task.with_detector(detector)
    with run.in_use():
        yield FaceRun(faces, options, words)


def words_of(arguments: Sequence[str]) -> list[str]:
    """Names and pictures: arguments without `=`, and files whose name has one."""
    return [a for a in arguments if "=" not in a or Path(a).is_file()]


def number(options: dict[str, str], key: str, default: float) -> float:
    """A rate from the command line.

    Raises:
        UserError: no number between 0 and 1.
    """
    text = options.get(key)
    if text is None:
        return default
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < 1:
        raise UserError(f"{key} = '{text}': expected a fraction between 0 and 1, such as 0.01")
    return rate
