"""Rewards of drawn sets: their value by hand, their expectation, and their gradient by enumeration."""

import itertools
import math

import pytest
import torch

from framework.gradients.registered import make_estimator
from framework.program import Program
from plugins.detection.evaluation.matching import Targets, class_iou, matched_iou
from plugins.detection.models.detector import Candidates
from plugins.detection.objectives.reward import (
    Reward,
    expected_reward,
    keep_logits,
    reward_above,
    set_costs,
    set_reward,
)

BOXES = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 42], [50, 50, 60, 60]]])
LABELS = torch.tensor([[0, 0, 1, 1]])
TARGETS = Targets(torch.tensor([[[0.0, 0, 10, 10], [30, 30, 40, 40]]]), torch.tensor([[0, 1]]))
OPTIONS = Reward(candidates=4, threshold=0.5, sharpness=1.0, penalty=0.3, box_std=0.0)


def exact_reward(scores, penalty=0.3, shift=0.0):
    """The expectation by going through all 16 sets of boxes."""
    total = torch.zeros((), dtype=scores.dtype)
    agreed = class_iou(BOXES + shift, LABELS, TARGETS).to(scores.dtype)
    for bits in itertools.product((0.0, 1.0), repeat=4):
        kept = torch.tensor([bits], dtype=scores.dtype)
        chance = torch.where(kept[0] > 0, scores, 1 - scores).prod()
        total = total + chance * set_reward(kept, matched_iou(kept, agreed, 0.5), penalty)[0]
    return total


def test_a_set_is_worth_its_matches_less_its_false_positives():
    kept = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    agreed = class_iou(BOXES, LABELS, TARGETS)
    found = matched_iou(kept.unsqueeze(1), agreed, 0.5).squeeze(1)
    mean_rewards = set_reward(kept, found, 0.3)
    expected = [1 + 10 / 12 - 2 * 0.3, 9 / 11, 0.0]
    assert mean_rewards.tolist() == pytest.approx(expected)


def test_odds_are_even_at_the_threshold_and_grow_with_the_score():
    options = Reward(threshold=0.3, sharpness=2.0)
    scores = torch.tensor([0.3, 0.5, 1.0, 0.0])
    found = keep_logits(scores, options)
    assert found[0].item() == pytest.approx(0, abs=1e-6)
    assert found[1].item() == pytest.approx(-2 * math.log(0.3 / 0.7))
    assert found.isfinite().all()
    plain = Reward(threshold=0.5, sharpness=1.0)
    assert keep_logits(scores[:2], plain).sigmoid().tolist() == pytest.approx([0.3, 0.5])


def test_the_expected_reward_is_that_of_all_sets():
    scores = torch.tensor([[0.9, 0.5, 0.7, 0.2]])
    draws = torch.Generator().manual_seed(0)
    found = expected_reward(Candidates(BOXES, scores, LABELS), TARGETS, OPTIONS, draws, 20_000)
    assert found.item() == pytest.approx(exact_reward(scores[0].double()).item(), abs=0.02)


def test_the_reward_above_a_threshold_is_that_of_its_boxes():
    candidates = Candidates(BOXES, torch.tensor([[0.9, 0.5, 0.7, 0.2]]), LABELS)
    found = reward_above(candidates, TARGETS, OPTIONS, [0.1, 0.6, 0.95])
    expected = [1 + 10 / 12 - 2 * 0.3, 1 + 10 / 12, 0]
    assert found[:, 0].tolist() == pytest.approx(expected)


def program(parameters):
    """Sets drawn of candidates whose scores and boxes are the parameters."""

    def function(context, parameters, batch):
        scores = parameters["logits"].sigmoid().unsqueeze(0)
        boxes = BOXES + parameters["shift"]
        set_costs(context, Candidates(boxes, scores, LABELS), batch.targets, batch.options)

    return Program(function, batch_axes=1)


class Given:
    """A batch of one image."""

    def __init__(self, options: Reward) -> None:
        self.options, self.targets = options, TARGETS
        self.images = torch.zeros(1, 1)

    __dataclass_fields__ = {"images": None}  # noqa: RUF012  what the program counts its data by


def gradients(estimator, options, times, samples=8):
    """Estimates `[times, 4]` of the logits' gradient and `[times]` of the shift's."""
    made = make_estimator(estimator, samples)
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0], requires_grad=True)
    shift = torch.full((), 0.4, requires_grad=True)
    parameters = {"logits": logits, "shift": shift}
    found = []
    for _ in range(times):
        made.backward(program(parameters), parameters, Given(options))
        found.append(torch.cat([gradient_of(logits), gradient_of(shift).reshape(1)]))
    return torch.stack(found)


def gradient_of(value: torch.Tensor) -> torch.Tensor:
    """The gradient that was left there, taken away."""
    assert value.grad is not None
    gradient, value.grad = value.grad, None
    return gradient


def test_leave_one_out_finds_the_gradient_of_the_expected_reward():
    torch.manual_seed(0)
    found = gradients("rloo", OPTIONS, 40, samples=64)[:, :4]
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0], dtype=torch.float64, requires_grad=True)
    (true,) = torch.autograd.grad(-exact_reward(logits.sigmoid(), shift=0.4), logits)
    error = (found.mean(0) - true).abs()
    assert (error / (found.std(0) / len(found) ** 0.5) < 4).all()
    assert true[0] < -0.01  # a box that finds something is to be kept
    assert true[3] > 0.01  # one that finds nothing is not


@pytest.mark.slow
def test_drawn_boxes_are_pulled_where_the_reward_is():
    """All boxes are shifted by 0.4: back is better, with drawn boxes and by the slope of the IoU alike."""
    torch.manual_seed(0)
    drawn = gradients(
        "rloo", Reward(candidates=4, threshold=0.5, sharpness=1.0, penalty=0.3, box_std=0.05), 600
    )[:, 4]
    slope = gradients("rloo", OPTIONS, 100)[:, 4]
    assert slope.mean() > 0.01
    assert drawn.mean() / (drawn.std() / len(drawn) ** 0.5) > 4


@pytest.mark.parametrize(
    "estimator",
    [
        *("reinforce", "gumbel"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("straight_through", "disarm")),
    ],
)
def test_other_estimators_serve_it_by_name(estimator):
    torch.manual_seed(0)
    found = gradients(estimator, OPTIONS, 30)
    assert found.isfinite().all()
    assert found[:, 3].mean() > 0  # a box that finds nothing is to be kept less often


def test_a_box_in_a_crowd_of_its_class_is_not_blamed():
    """It lies in the crowd by half; what matches an object counts there, too, and another class is blamed."""
    half = [
        [0.0, 40, 20, 60],
        [9, 40, 29, 60],
    ]  # by 10 / 20 and by 1 / 20 of its width in the crowd
    boxes = torch.tensor([[[0.0, 0, 10, 10], *half, [50, 50, 60, 60]]])
    labels = torch.tensor([[0, 0, 0, 1]])
    crowds = Targets(torch.tensor([[[0.0, 0, 10, 90], [45, 45, 80, 80]]]), torch.tensor([[0, 0]]))
    targets = TARGETS._replace(crowds=crowds)
    candidates = Candidates(boxes, torch.full((1, 4), 0.9), labels)
    (with_crowds,) = reward_above(candidates, targets, OPTIONS, [0.5])[0].tolist()
    (without,) = reward_above(candidates, TARGETS, OPTIONS, [0.5])[0].tolist()
    assert with_crowds == pytest.approx(1 - 2 * 0.3)
    assert without == pytest.approx(1 - 3 * 0.3)
    draws = torch.Generator().manual_seed(0)
    sure = Candidates(boxes, torch.tensor([[1.0, 1.0, 0.0, 0.0]]), labels)
    assert expected_reward(sure, targets, OPTIONS, draws).item() == pytest.approx(1)
