"""Steps whose gradient is not finite: skipped, gone back before, or the end (`trainer.on_nonfinite`).

Where the parameters themselves have grown beyond all bounds, a program may raise whatever it likes: there is no
gradient then, and no later step will have one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from framework import ranks
from framework.atomic import write_atomically
from framework.batch import leaves
from framework.config.explanation import first_line
from framework.errors import UserError
from framework.gradients.estimator import Estimate
from framework.sharding import own_part
from framework.training.checkpoints import checkpoint
from framework.training.checkpoints.whole_state import own_parts, put_back_learned

if TYPE_CHECKING:
    from framework.training.trainer import Trainer


def skip_step(trainer: Trainer, log: Callable[[str], None]) -> None:
    """Leave the model as it was before this step; after too many in a row, go back or give up.

    Raises:
        UserError: there were too many, and nothing to go back to.
    """
    trainer.rollback.restore()
    progress = trainer.progress
    progress.skipped += 1
    progress.skipped_in_a_row += 1
    # float16 looks for its scale.
    if trainer.scaler.is_enabled() and trainer.scaler.get_scale() > 1:
        return
    act(trainer, log)


def act(trainer: Trainer, log: Callable[[str], None]) -> None:
    """Go back or give up after too many skipped steps in a row.

    Raises:
        UserError: there were too many, and nothing to go back to.
    """
    progress, answer = trainer.progress, trainer.options.on_nonfinite
    patience = 1 if answer == "stop" else trainer.options.nonfinite_patience
    if progress.skipped_in_a_row < patience:
        return
    # Once only from the same place.
    if answer == "roll_back" and progress.rolled_back != progress.finite:
        roll_back(trainer, log)
    else:
        give_up(trainer)


def diverged(parameters: Iterable[Tensor]) -> bool:
    """Whether the norm of this process's parts of the parameters is not finite."""
    numbers = [own_part(v.detach()) for v in parameters if v.is_floating_point()]
    norm = torch.nn.utils.get_total_norm(numbers)
    return not math.isfinite(norm.item())


def without_estimate(trainer: Trainer, error: Exception, log: Callable[[str], None]) -> Estimate:
    """The estimate of a step at which the program has raised an error since the parameters have diverged: NaN.

    Raises:
        UserError: there is nothing to go back to.
        Exception: the error itself, where the parameters are sound.
    """
    [grown] = ranks.largest(diverged(trainer.parameters.values()))
    if isinstance(error, UserError) or not grown:
        raise error
    trainer.rollback.restore()
    progress = trainer.progress
    progress.skipped += 1
    progress.skipped_in_a_row += 1
    if trainer.options.on_nonfinite != "roll_back" or progress.rolled_back == progress.finite:
        give_up(trainer, f", as the parameters have diverged ({described(error)})")
    roll_back(trainer, log)
    return Estimate(objective=torch.tensor(math.nan), evaluations=0, biased=False)


def described(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def roll_back(trainer: Trainer, log: Callable[[str], None]) -> None:
    """Go on from the newest checkpoint whose parameters had a finite gradient, with the data of the steps to come.

    Raises:
        UserError: there is none.
    """
    folder, progress = trainer.folder.checkpoints, trainer.progress
    state: dict[str, Any] | None = None
    own = own_parts(trainer)
    if ranks.rank() == 0:
        with suppress(UserError):
            state = checkpoint.load_newest(folder, log, up_to=progress.finite, into=own)
    step = ranks.of_first(state and state["step"])
    if step is None:
        give_up(trainer, "; there is no checkpoint with a finite gradient to go back to")
    # The one that the first has taken, and no other.
    state = state or checkpoint.load(folder / f"{checkpoint.name('step', step)}.pt", into=own)
    put_back_learned(trainer, state)
    # Those after it would pass for sound as soon as the gradient is finite again.
    if ranks.rank() == 0:
        checkpoint.delete_after(folder, state["step"], "step")
    trainer.saving.step = state["step"]
    log(
        f"step {progress.step + 1}: {in_a_row(trainer)}; back to the parameters of step {state['step']}"
    )
    progress.rolled_back = progress.finite
    progress.skipped_in_a_row = 0


def give_up(trainer: Trainer, why: str = "") -> NoReturn:
    """End the training, the batch under way kept for a look at it.

    Raises:
        UserError: always.
    """
    tensors = list(leaves(trainer.batch))
    if tensors and ranks.rank() == 0:
        buffer = io.BytesIO()
        torch.save(tensors, buffer)
        write_atomically(trainer.folder.path / "nonfinite_batch.pt", buffer.getvalue())
    kept = "; nonfinite_batch.pt holds the batch" if tensors else ""
    raise UserError(
        f"step {trainer.progress.step + 1}: {in_a_row(trainer)}{why}; "
        f"a smaller optimizer.learning_rate or trainer.clip_norm may help{way_back(trainer)}{kept}"
    )


def way_back(trainer: Trainer) -> str:
    """How a resume comes to sound parameters, where it would begin with others."""
    progress, saved = trainer.progress, checkpoint.list_checkpoints(trainer.folder.checkpoints)
    sound = [path for path in saved if path.stem <= checkpoint.name("step", progress.finite)]
    if trainer.options.on_nonfinite == "roll_back" or not sound:
        return ""
    step = int(sound[-1].stem.rpartition("_")[2])
    return f", with trainer.on_nonfinite=roll_back a resume goes back to step {step}"


def in_a_row(trainer: Trainer) -> str:
    times = trainer.progress.skipped_in_a_row
    return f"the gradient was not finite {f'{times} times in a row' if times > 1 else ''}".rstrip()
