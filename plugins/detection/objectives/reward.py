"""The task reward itself: boxes drawn from what the model believes, and how good the set of them is.

A candidate k with score p_k and box b_k (sides w, h) is kept by chance and drawn a little beside where it is:

    keep_k ~ Bernoulli(s(sharpness * (logit p_k - logit threshold))),    box_k ~ Normal(b_k, spread * (w, h, w, h))
    reward = sum of the IoU of matched boxes  -  penalty * number of boxes that match nothing, crowds aside

where s is the sigmoid: a soft version of the set that a user sees, the boxes with a score above the threshold. A
heatmap's score is no probability: were it taken for one, the many weak peaks of an image would drown the right ones.

The cost is minus the reward. Nothing is differentiated but the log-probabilities, so that any reward would do;
`estimator=rloo` compares each image's sets with one another. A model is first taught by ordinary losses and then tuned
on the reward (Pinto et al. 2023). With spread = 0 boxes are not drawn and follow the slope of the IoU.
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
from plugins.detection.evaluation.matching import Truth, agreement, blamed, matched
from plugins.detection.models.detector import Candidates

SURE = 1e-6  # a score's least distance from 0 and 1


class Reward(Section):
    """What a set of boxes is worth.

    Args:
        candidates: how many boxes of each image may be kept.
        threshold: the score of even odds. sharpness: how fast odds grow with the score; 1: as the score's own.
        penalty: what a box costs that matches nothing.
        least: the IoU with an object of its class from which a box matches.
        spread: of the drawn boxes around the candidates, as a share of their sides.
    """

    candidates: Annotated[int, Field(ge=1)] = 30
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    sharpness: Annotated[float, Field(gt=0)] = 3.0
    penalty: Annotated[float, Field(ge=0)] = 0.5
    least: Annotated[float, Field(gt=0, le=1)] = 0.5
    spread: Annotated[float, Field(ge=0, lt=1)] = 0.0


def odds(scores: Tensor, how: Reward) -> Tensor:
    """The logits of being kept, of scores from 0 to 1."""
    even = math.log(how.threshold / (1 - how.threshold))
    return how.sharpness * (scores.clamp(SURE, 1 - SURE).logit() - even)


def worth(kept: Tensor, found: Tensor, penalty: float) -> Tensor:
    """The reward `[..., B]` of the boxes that are kept `[..., B, K]` (0 or 1) and the IoU of their matches."""
    false = kept * (found == 0)
    return (kept * found - penalty * false).sum(-1)


def reward_of(kept: Tensor, boxes: Tensor, labels: Tensor, truth: Truth, how: Reward) -> Tensor:
    """The reward `[..., B]` of the boxes `[..., B, K, 4]` that are kept `[..., B, K]`."""
    found = matched(kept, agreement(boxes, labels, truth), how.least)
    counted = blamed(boxes.detach(), labels, truth, found, how.least)
    return worth(kept * counted, found, how.penalty)


def set_costs(context: Context, candidates: Candidates, truth: Truth, how: Reward) -> Tensor:
    """Draw sets of boxes and charge minus their rewards; returns the rewards `[n, B]`."""
    boxes, scores, labels = candidates
    likely = Bernoulli(logits=odds(scores, how), validate_args=False)  # relaxed, it may be 1/2
    kept = context.sample("keep", likely, per_sample=False)
    if how.spread:
        sides = (boxes[..., 2:] - boxes[..., :2]).detach().clamp(min=1.0)
        # A box that is not kept does nothing: it is neither praised nor blamed.
        mine = torch.where(kept.unsqueeze(-1) > 0.5, boxes, boxes.detach())
        around = Normal(mine, how.spread * torch.cat([sides, sides], -1).expand_as(mine))
        boxes = context.sample("box", around, per_sample=True)
    reward = reward_of(kept, boxes, labels, truth, how)
    context.cost(-reward, "reward")
    return reward


def expected_reward(
    candidates: Candidates, truth: Truth, how: Reward, draws: torch.Generator, samples: int = 16
) -> Tensor:
    """The mean reward `[B]` of sets drawn for each image, nothing charged."""
    boxes, scores, labels = candidates
    shape = (samples, *scores.shape)
    chance = odds(scores, how).sigmoid()
    kept = (torch.rand(shape, generator=draws) < chance).to(scores.dtype)
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0)
    noise = torch.randn((*shape, 4), generator=draws)
    drawn = boxes + how.spread * torch.cat([sides, sides], -1) * noise
    return reward_of(kept, drawn, labels, truth, how).mean(0)


def reward_above(
    candidates: Candidates, truth: Truth, how: Reward, thresholds: Sequence[float]
) -> Tensor:
    """The reward `[T, B]` of the boxes with a score above each threshold, nothing drawn."""
    boxes, scores, labels = candidates
    limits = torch.tensor(thresholds, device=scores.device).view(-1, 1, 1)
    kept = (scores > limits).to(scores.dtype)
    return reward_of(kept, boxes, labels, truth, how)
