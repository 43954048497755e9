"""Tuning a trained detector: the costs, and the rewards measured beside COCO's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch

from framework import Context, UserError
from plugins.detection.evaluation.matching import targets_of
from plugins.detection.models.detector import Candidates, Detector
from plugins.detection.objectives.relaxed_precision import RelaxedPrecision, mean_average_precision
from plugins.detection.objectives.reward import Reward, expected_reward, reward_above, set_costs
from plugins.detection.sample import Batch, Sample, batches_of_one_size, collate

Criterion = Literal["losses", "reward", "average_precision"]
THRESHOLDS = [0.05 * step for step in range(1, 20)]


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
