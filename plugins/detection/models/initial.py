"""What training starts from: an earlier run, a user's file, or the weights that come with the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from framework import UserError, runs
from framework.errors import suggestion
from framework.training.checkpoints.checkpoint import list_checkpoints, load_newest
from plugins.detection.models.detector import Detector
from plugins.detection.models.weights import start_from_file

# `task.init_from` by this name takes the package's own weights, by `./pretrained` a folder that is called so.
PRETRAINED = "pretrained"
# As for `run=`.
LATEST = "latest"
# Made by `python -m experiments.detection_weights`, which describes them.
FILES: Mapping[str, str] = MappingProxyType({"nano": "nano.pt"})


def load_initial_weights(
    model: Detector, name: str, categories: Sequence[str], init_from: str
) -> tuple[bool, str]:
    """Load the parameters that `task.init_from` names: averaged ones where a run's checkpoint has averages.

    Args:
        name: the model's registered name.
        categories: the names of labels 0, 1, ...

    Returns:
        whether the parameters are those of a run with the same labels, and what the user should know, or nothing. Of
        a run with others the class heads' rows of labels that both have are taken; of a file what fits.

    Raises:
        UserError: there is no such run or file, its model differs, or nothing in the file fits.
    """
    if init_from == PRETRAINED:
        if name not in FILES:
            raise UserError(
                f"task.init_from = '{PRETRAINED}': no weights come with task.model = '{name}'; "
                f"{suggestion(name, FILES)}"
            )
        path = Path(__file__).parent / "pretrained" / FILES[name]
        start_from_file(model, path, "task.init_from")
        return False, ""
    run = Path(init_from).expanduser()
    if run.is_file():
        start_from_file(model, run, "task.init_from")
        return False, ""
    run = run_with_best(init_from)
    said = [] if run == Path(init_from).expanduser() else [f"the newest run there, {run}"]
    same_labels = load_run(model, categories, run)
    if not same_labels:
        said.append("its labels differ; those that it lacks start from random weights")
    return same_labels, f"task.init_from = '{init_from}': {'; '.join(said)}" if said else ""


def run_with_best(init_from: str) -> Path:
    """The folder of the run that is meant: its own, or the newest inside a folder, or "latest" below outputs.

    One that has no best checkpoint yet, such as the run that is beginning, is passed over.

    Raises:
        UserError: there is no run with a best checkpoint.
    """
    folder = Path(init_from).expanduser()
    latest = init_from == LATEST and not folder.exists()
    inside: list[Path] = []
    with suppress(UserError):
        inside = [found.folder for found in (runs() if latest else runs(folder))]
    for run in (folder, *inside):
        if list_checkpoints(run / "checkpoints", "best"):
            return run
    raise UserError(
        f"task.init_from = '{folder}': expected the folder of a detection run with a best checkpoint, a file of "
        f"parameters, or {PRETRAINED} (null: random weights)"
    )


def load_run(model: Detector, categories: Sequence[str], run: Path) -> bool:
    """Load a run's best parameters; returns whether its labels are `categories`.

    Raises:
        UserError: its model differs.
    """
    state = load_newest(run / "checkpoints", print, kind="best")
    own = model.state_dict()
    given = {**state["model"], **(state["average"] or {})}
    known = list(state["task"].get("categories", ()))
    same = known == list(categories)
    if not same:
        heads = {name: v for name, v in own.items() if name.startswith(model.class_head_prefixes)}
        given |= {
            name: with_shared_rows(value, given.get(name), categories, known)
            for name, value in heads.items()
        }
    for name in {**own, **given}:
        have, want = (list(s[name].shape) if name in s else None for s in (given, own))
        if have != want:
            raise UserError(
                f"task.init_from = '{run}': its '{name}' is {have}, the task's model expects {want}"
            )
    model.load_state_dict(given)
    return same


def with_shared_rows(
    own: Tensor, given: Tensor | None, categories: Sequence[str], known: Sequence[str]
) -> Tensor:
    """A class head's tensor with the rows of labels that the earlier run had, too, and of what comes after the labels.

    Args:
        own, given: `[C + extra, ...]`, this model's and the earlier one's; equal extra rows, such as "no object".
        categories, known: the names of labels 0, 1, ... here and there.
    """
    extra = len(own) - len(categories) if own.ndim else -1
    fits = given is not None and given.ndim == own.ndim and given.shape[1:] == own.shape[1:]
    if given is None or not fits or extra < 0 or len(given) - len(known) != extra or extra > 1:
        return own
    rows = own.clone()
    for label, name in enumerate(categories):
        if name in known:
            rows[label] = given[known.index(name)]
    if extra:
        rows[len(categories) :] = given[len(known) :]
    return rows
