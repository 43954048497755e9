"""Tuning a trained detector: its initial parameters, the costs, and the rewards measured beside COCO's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from framework import Context, UserError
from framework.training.checkpoints.checkpoint import list_checkpoints, load_newest
from plugins.detection.evaluation.matching import targets_of
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.models.weights import start_from_file
from plugins.detection.objectives.relaxed_precision import RelaxedPrecision, mean_average_precision
from plugins.detection.objectives.reward import Reward, expected_reward, reward_above, set_costs
from plugins.detection.sample import Batch, Sample, batches_of_one_size, collate

Criterion = Literal["losses", "reward", "average_precision"]
THRESHOLDS = [0.05 * step for step in range(1, 20)]


def load_initial_weights(model: Detector, categories: Sequence[str], run: Path) -> bool:
    """Load the parameters of an earlier run's best checkpoint, averaged where it has averages, or those of a file.

    Returns whether its labels are `categories`; where they differ, the class heads keep their values, but for the
    rows of labels that both have. Of a file, what fits is taken.

    Raises:
        UserError: there is no such run or file, its model differs, or nothing in the file fits.
    """
    if run.is_file():
        start_from_file(model, run, "task.init_from")
        return False
    if not list_checkpoints(run / "checkpoints", "best"):
        raise UserError(
            f"task.init_from = '{run}': expected the folder of a detection run with a best checkpoint "
            "(null: random weights)"
        )
    state = load_newest(run / "checkpoints", print, kind="best")
    own = model.state_dict()
    given = {**state["model"], **(state["average"] or {})}
    same = bool(state["task"].get("categories") == list(categories))
    if not same:
        heads = {name: v for name, v in own.items() if name.startswith(model.class_head_prefixes)}
        known = list(state["task"].get("categories", ()))
        given |= {
            name: with_shared_rows(value, given.get(name), categories, known)
            for name, value in heads.items()
        }
    for name in {**own, **given}:
        have, want = (list(s[name].shape) if name in s else None for s in (given, own))
        if have != want:
            raise UserError(f"task.init_from: '{name}' is {have}, the task's model expects {want}")
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


def refuse_random_weights(criterion: Criterion) -> None:
    """Check the criterion of a training that starts from random weights, if only in the class heads.

    Raises:
        UserError: the criterion has no useful gradient there: hardly a box is sampled, and none is right.
    """
    if criterion != "losses":
        raise UserError(
            f"task.criterion = '{criterion}' tunes a trained model: "
            "task.init_from=RUN_FOLDER of `diffobj train experiment=detection` with the same labels"
        )


def charge(
    context: Context,
    model: Detector,
    batch: Batch,
    criterion: Criterion,
    reward: Reward,
    relaxed: RelaxedPrecision,
) -> None:
    """Charge the model's own losses, image by image; or minus the reward of sampled boxes; or 1 - relaxed AP."""
    if criterion == "losses":
        for name, loss in model.losses(batch).items():
            context.cost(loss, name, per_sample=False, per_datum=True)
    elif criterion == "reward":
        candidates = model.candidates(batch.images, reward.candidates)
        set_costs(context, candidates, targets_of(batch), reward)
    else:
        candidates = model.candidates(batch.images, relaxed.candidates)
        precision = mean_average_precision(candidates, targets_of(batch), relaxed)
        context.cost(1 - precision, "precision")


def mean_rewards(
    model: Detector, samples: Iterable[Sample], reward: Reward, batch_size: int, seed: int
) -> dict[str, float]:
    """Mean rewards of an image: of sampled sets, of the boxes above the threshold, and above the best of 19 thresholds.

    The last one does not change where all scores merely grow or shrink. Empty for a model without candidates.
    """
    if type(model).candidates is Detector.candidates:
        return {}
    draws = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    drawn, above = [], []
    for part in batches_of_one_size(samples, batch_size, model.size_divisor):
        batch = collate(part, model.size_divisor)
        found = model.candidates(batch.images.to(device), reward.candidates)
        on_cpu = Candidates(*(tensor.cpu() for tensor in found))
        targets = targets_of(batch)
        drawn.append(expected_reward(on_cpu, targets, reward, draws))
        above.append(reward_above(on_cpu, targets, reward, [reward.threshold, *THRESHOLDS]))
    above_threshold, *others = torch.cat(above, 1).mean(1).tolist()
    return {
        "reward": float(torch.cat(drawn).mean()),
        "reward_above_threshold": above_threshold,
        "reward_at_best": max(others),
    }
