"""A trained detector tuned further: where it begins, what is minimised, and what is measured beside COCO's numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import torch

from framework import Context, UserError
from framework.training.checkpoint import list_checkpoints, load_newest
from plugins.detection.evaluation.matching import truth_of
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.objectives.relaxed_precision import RelaxedPrecision, mean_average_precision
from plugins.detection.objectives.reward import Reward, expected_reward, reward_above, set_costs
from plugins.detection.sample import Batch, Sample, alike, collate

Criterion = Literal["losses", "reward", "average_precision"]
THRESHOLDS = [0.05 * step for step in range(1, 20)]


def begin_with(model: Detector, categories: Sequence[str], run: Path) -> bool:
    """Take the parameters of an earlier run's best checkpoint, averaged where they were.

    Returns whether its labels are `categories`, too; where they are others, the layers for them stay as they are.

    Raises:
        UserError: there is no such run, or its model is another one.
    """
    if not list_checkpoints(run / "checkpoints", "best"):
        raise UserError(
            f"task.start = '{run}': expected the folder of a detection run with a best checkpoint "
            "(null: random weights)"
        )
    state = load_newest(run / "checkpoints", print, kind="best")
    own = model.state_dict()
    given = {**state["model"], **(state["average"] or {})}
    same = bool(state["task"].get("categories") == list(categories))
    if not same:
        given |= {name: v for name, v in own.items() if name.startswith(model.class_parts)}
    for name in {**own, **given}:
        have, want = (list(s[name].shape) if name in s else None for s in (given, own))
        if have != want:
            raise UserError(f"task.start: '{name}' is {have}, the task's model expects {want}")
    model.load_state_dict(given)
    return same


def refuse_random_weights(criterion: Criterion) -> None:
    """For a training that begins with random weights, if only for the labels.

    Raises:
        UserError: the criterion has no slope there: hardly a box is drawn, none of them right.
    """
    if criterion != "losses":
        raise UserError(
            f"task.criterion = '{criterion}' tunes a trained model: "
            "task.start=RUN_FOLDER of `diffobj train experiment=detection` with the same labels"
        )


def charge(
    context: Context,
    model: Detector,
    batch: Batch,
    criterion: Criterion,
    reward: Reward,
    relaxed: RelaxedPrecision,
) -> None:
    """Charge the model's own losses, image by image; or minus the reward of drawn boxes; or 1 - relaxed precision."""
    if criterion == "losses":
        for name, loss in model.losses(batch).items():
            context.cost(loss, name)
    elif criterion == "reward":
        candidates = model.candidates(batch.images, reward.candidates)
        set_costs(context, candidates, truth_of(batch), reward)
    else:
        candidates = model.candidates(batch.images, relaxed.candidates)
        precision = mean_average_precision(candidates, truth_of(batch), relaxed)
        context.cost(1 - precision, "precision")


def rewards(
    model: Detector, samples: Iterable[Sample], how: Reward, batch_size: int, seed: int
) -> dict[str, float]:
    """The mean reward of an image's drawn sets; of its boxes above the threshold; and above the best of 19 thresholds.

    The last one does not profit from scores that were merely made larger or smaller. Nothing of a model that offers no
    candidates.
    """
    if type(model).candidates is Detector.candidates:
        return {}
    draws = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    drawn, above = [], []
    for part in alike(samples, batch_size, model.multiple):
        batch = collate(part, model.multiple)
        found = model.candidates(batch.images.to(device), how.candidates)
        on_cpu = Candidates(*(tensor.cpu() for tensor in found))
        truth = truth_of(batch)
        drawn.append(expected_reward(on_cpu, truth, how, draws))
        above.append(reward_above(on_cpu, truth, how, [how.threshold, *THRESHOLDS]))
    clear, *others = torch.cat(above, 1).mean(1).tolist()
    return {
        "reward": float(torch.cat(drawn).mean()),
        "reward_above_threshold": clear,
        "reward_at_best": max(others),
    }
