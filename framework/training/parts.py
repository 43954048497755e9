"""What several processes that train together cannot do: all the work of all, or wait for each other without end."""

from __future__ import annotations

import zlib
from typing import Any

import torch

from framework import ranks
from framework.batch import leaves
from framework.errors import ProgramError
from framework.program import Program


def refuse_uneven_runs(program: Program) -> None:
    """Refuse a program that processes run more or less often, with a model that all have to run at once.

    Raises:
        ProgramError: it plays episodes, or runs once for each sample.
    """
    runs = (
        (program.recorded_trajectories, "plays episodes"),
        (
            program.one_sample_at_a_time,
            "runs one sample at a time",
        ),
    )
    for given, what in runs:
        if given:
            raise ProgramError(
                f"trainer.sharding = full: the task {what}, so that processes would run the model more or less often, "
                "and wait for each other; expected trainer.sharding=none"
            )


def refuse_same_batch(program: Program, batch: Any) -> bool:
    """Refuse to give several processes one batch: each would do the work of all.

    Raises:
        ProgramError: names what gives each its part.
    """
    if program.batch_axes or program.recorded_trajectories:
        own = 0
        for tensor in leaves(batch):
            values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            own = zlib.crc32(values.numpy().tobytes(), own)
        first, last = ranks.largest(own, -own)
        if first == -last:
            raise ProgramError(
                f"the task gives each of {ranks.size()} processes the same batch: `batches` has to return this "
                "process's part, as framework.data.batches does (framework.ranks.part tells which)"
            )
    return True
