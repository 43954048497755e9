"""Saving: which checkpoints a run makes and which of its earlier ones it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framework.memory import out_of_memory_in_one_line
from framework.training.checkpoints import checkpoint, sharded
from framework.training.stopping import Progress

KEPT = "what was saved before is as it was, and resume= goes on from it"


class Saving:
    """The checkpoints of one run.

    Args:
        writes: whether this process writes them; of several that train together one does, and all take note.
        divided: whether the model is divided among processes, each of which writes its part.

    Attributes:
        step: that of the newest checkpoint; None: there is none.
        best: that of the best one which the newest checkpoint names; 0: it names none.
    """

    def __init__(
        self, folder: Path, keep: int, *, writes: bool = True, divided: bool = False
    ) -> None:
        self.folder, self.keep = folder, keep
        self.writes, self.divided = writes, divided
        self.step: int | None = None
        self.best = 0
        # Whether something but a step has changed since, such as by an evaluation.
        self.changed = False

    def resumed(self, progress: Progress) -> None:
        """Take note of the checkpoint that a run goes on from."""
        self.step, self.best = progress.step, int(progress.best.get("step", 0))

    def save(self, progress: Progress, state: Callable[[], dict[str, Any]]) -> None:
        """Save this step, unless it is saved already, and delete the oldest checkpoints."""
        if self.step == progress.step and not self.changed:
            return
        # What each of several processes holds is brought together by it.
        self.write(checkpoint.name("step", progress.step), state)
        self.resumed(progress)
        self.changed = False
        self.delete_old(progress)

    def delete_old(self, progress: Progress) -> None:
        """Delete all checkpoints but those that the newest one needs beside it; a kill may have come before."""
        if not self.writes:
            return
        checkpoint.prune(self.folder, self.keep, progress.finite)
        # The best one of a run that was evaluated at its end only is not named.
        if self.best:
            checkpoint.keep_best(self.folder, {self.best})

    def save_best(
        self,
        progress: Progress,
        metrics: Mapping[str, float],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        """Save this step as the best so far.

        The one that was best before stays while the newest checkpoint names it: a resume goes on from there.
        """
        before = progress.best
        progress.best = {"step": progress.step, **metrics}
        try:
            self.write(checkpoint.name("best", progress.step), state)
        except BaseException:
            progress.best = before
            raise
        if self.writes:
            checkpoint.keep_best(self.folder, {progress.step, self.best})

    def write(self, name: str, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint: one process what all have, and each its parts of a divided model.

        Raises:
            UserError: the disk is full, or the memory, which holds a copy meanwhile; earlier checkpoints stay.
        """
        with out_of_memory_in_one_line(f"{self.folder / name}.pt: not saved", KEPT):
            given = state()
            if self.divided:
                given = sharded.save(self.folder, name, given)
            if self.writes:
                checkpoint.save(self.folder, name, given)
        if self.writes and self.divided:
            sharded.delete_shards(self.folder, name, but=given["shards"]["folder"])
            sharded.delete_unfinished(self.folder)
