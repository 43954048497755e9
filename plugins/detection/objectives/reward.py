"""The task reward: sets of boxes sampled from the model's scores, and the reward of each set.

A candidate k with score p_k and box b_k (sides w, h) is kept at random, and its box may be perturbed:

    keep_k ~ Bernoulli(s(sharpness * (logit p_k - logit threshold))),    box_k ~ Normal(b_k, box_std * (w, h, w, h))
    reward = sum of the IoU of matched boxes  -  penalty * number of false positives outside crowds

where s is the sigmoid: a soft version of the set that a user sees, the boxes with a score above the threshold. A
heatmap's score is not a probability: taken for one, the many weak peaks of an image would outnumber the right ones.

The cost is minus the reward. Only the log-probabilities are differentiated, so that any reward can be used;
`estimator=rloo` compares each image's sets with one another. A model is first trained by ordinary losses and then tuned
on the reward (Pinto et al. 2023). With box_std = 0 boxes are not sampled and follow the gradient of the IoU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from framework import Context
from framework.config.schema import Section
from framework.config.types import Count, FractionBelowOne, NonNegative, Positive
from plugins.detection.evaluation.matching import Targets, class_iou, matched_iou, not_ignored
from plugins.detection.models.detector import Candidates

# Scores are clamped to this distance from 0 and 1.
SCORE_EPSILON = 1e-6


class Reward(Section):
    """The reward of a set of boxes.

    Args:
        candidates: boxes of each image that may be kept.
        threshold: the score at which a box is kept with probability 1/2.
        sharpness: slope of the logit of being kept over the score's logit; 1: that of the score itself.
        penalty: cost of a false positive.
        iou_threshold: the lowest IoU with an object of its class at which a box matches.
        box_std: standard deviation of sampled boxes, as a fraction of their sides; 0: boxes are not sampled.
    """

    candidates: Count = 30
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    sharpness: Positive = 3.0
    penalty: NonNegative = 0.5
    iou_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    box_std: FractionBelowOne = 0.0


def keep_logits(scores: Tensor, options: Reward) -> Tensor:
    """The logits of keeping boxes with scores from 0 to 1."""
    even = math.log(options.threshold / (1 - options.threshold))
    return options.sharpness * (scores.clamp(SCORE_EPSILON, 1 - SCORE_EPSILON).logit() - even)


def set_reward(kept: Tensor, found: Tensor, penalty: float) -> Tensor:
    """The reward `[..., B]` of boxes that are kept `[..., B, K]` (0 or 1), given the IoU of their matches."""
    false = kept * (found == 0)
    return (kept * found - penalty * false).sum(-1)


def reward_of(
    kept: Tensor, boxes: Tensor, labels: Tensor, targets: Targets, options: Reward
) -> Tensor:
    """The reward `[..., B]` of the boxes `[..., B, K, 4]` that are kept `[..., B, K]`."""
    found = matched_iou(kept, class_iou(boxes, labels, targets), options.iou_threshold)
    counted = not_ignored(boxes.detach(), labels, targets, found, options.iou_threshold)
    return set_reward(kept * counted, found, options.penalty)


def set_costs(
    context: Context, candidates: Candidates, targets: Targets, options: Reward
) -> Tensor:
    """Sample sets of boxes and charge minus their rewards; returns the rewards `[n, B]`."""
    boxes, scores, labels = candidates
    # A relaxed draw may be 1/2, which validation would refuse.
    keep = Bernoulli(logits=keep_logits(scores, options), validate_args=False)
    kept = context.sample("keep", keep, per_sample=False, per_datum=True)
    if options.box_std:
        sides = (boxes[..., 2:] - boxes[..., :2]).detach().clamp(min=1.0)
        # A box that is not kept has no effect: it gets no gradient.
        mine = torch.where(kept.unsqueeze(-1) > 0.5, boxes, boxes.detach())
        around = Normal(mine, options.box_std * torch.cat([sides, sides], -1).expand_as(mine))
        boxes = context.sample("box", around, per_sample=True, per_datum=True)
    reward = reward_of(kept, boxes, labels, targets, options)
    context.cost(-reward, "reward", per_sample=True, per_datum=True)
    return reward


def expected_reward(
    candidates: Candidates,
    targets: Targets,
    options: Reward,
    draws: torch.Generator,
    samples: int = 16,
) -> Tensor:
    """The mean reward `[B]` of sampled sets of each image, without charging."""
    boxes, scores, labels = candidates
    shape = (samples, *scores.shape)
    probability = keep_logits(scores, options).sigmoid()
    kept = (torch.rand(shape, generator=draws) < probability).to(scores.dtype)
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    noise = torch.randn((*shape, 4), generator=draws)
    drawn = boxes + options.box_std * torch.cat([sides, sides], -1) * noise
    return reward_of(kept, drawn, labels, targets, options).mean(0)


def reward_above(
    candidates: Candidates, targets: Targets, options: Reward, thresholds: Sequence[float]
) -> Tensor:
    """The reward `[T, B]` of the boxes with a score above each threshold, without sampling."""
    boxes, scores, labels = candidates
    limits = torch.tensor(thresholds, device=scores.device).view(-1, 1, 1)
    kept = (scores > limits).to(scores.dtype)
    return reward_of(kept, boxes, labels, targets, options)
