"""Set prediction: each object has one query, losses do not depend on the batch, a few images are memorised."""

import sys

import pytest
import torch

from framework import UserError
from plugins.detection.boxes import pairwise_iou
from plugins.detection.models.set_prediction import (
    RawOutputs,
    SetPrediction,
    frequencies,
    grid_boxes,
    set_nano,
    set_tiny,
    sine_embedding,
)
from plugins.detection.sample import Batch


def small(queries=9) -> SetPrediction:
    torch.manual_seed(0)
    model = SetPrediction(
        3, (8, 16, 32, 32), (0, 0, 1, 0), width=32, layers=2, heads=4, queries=queries
    )
    model.mean_objects_per_image = 3.0
    return model


def batch(images=3, side=64, counts=(3, 3, 3)):
    draw = torch.Generator().manual_seed(0)
    apart = torch.tensor([[2.0, 3, 21, 15], [44, 1, 60, 62], [1, 24, 35, 63]])
    return Batch(
        torch.randint(0, 256, (images, 3, side, side), generator=draw, dtype=torch.uint8),
        torch.cat([apart[:count] for count in counts]),
        torch.randint(0, 3, (sum(counts),), generator=draw),
        torch.arange(images).repeat_interleave(torch.tensor(counts)),
    )


def total(model: SetPrediction, known: Batch) -> torch.Tensor:
    return torch.stack([term.mean() for term in model.losses(known).values()]).sum()


def test_queries_and_objects_are_matched_one_to_one_by_class_and_place():
    model, known = small(), batch(images=1, counts=(2,))
    known.labels[:] = torch.tensor([0, 2])
    true = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.3, 0.3]])
    boxes = torch.tensor([[[0.7, 0.7, 0.3, 0.3], [0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2]]])
    logits = torch.zeros(1, 3, 4)
    logits[0, 2, 0] = 5.0  # of two queries at the same place the one with the right class
    image, query, thing = model.match(RawOutputs(logits, boxes), true, known)
    assert image.tolist() == [0, 0]
    assert dict(zip(query.tolist(), thing.tolist(), strict=True)) == {0: 1, 2: 0}


def test_a_perfect_set_has_no_loss_and_missing_no_object_costs_little():
    model, known = small(queries=3), batch(images=1, counts=(1,))
    true = torch.tensor([[0.3, 0.3, 0.2, 0.2]])
    logits = torch.full((1, 3, 4), -30.0)
    logits[0, 0, known.labels[0]] = logits[0, 1, 3] = logits[0, 2, 3] = 30.0
    boxes = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.9, 0.9, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1]]])
    right = model.losses_of(RawOutputs(logits, boxes), true, known)
    assert [float(v) for v in right] == pytest.approx([0, 0, 0], abs=1e-5)
    logits[0, 1, 3], logits[0, 1, 0] = 0.0, 0.0  # undecided whether there is an object
    wrong = model.losses_of(RawOutputs(logits, boxes), true, known)
    assert float(wrong[0]) == pytest.approx(0.1 * torch.tensor(2.0).log().item(), abs=1e-5)


def test_an_images_loss_does_not_depend_on_its_batch():
    model, known = small().eval(), batch(counts=(3, 0, 2))
    together = model.losses(known)
    for image in range(3):
        mine = known.image_index == image
        alone = Batch(
            known.images[image : image + 1],
            known.boxes[mine],
            known.labels[mine],
            0 * known.image_index[mine],
        )
        for name, values in model.losses(alone).items():
            torch.testing.assert_close(values[0], together[name][image], atol=1e-4, rtol=1e-4)


def test_an_image_without_objects_teaches_no_object():
    model, known = small(), batch(images=1, counts=(0,))
    total(model, known).backward()
    assert model.score.bias.grad is not None
    assert model.score.bias.grad[-1] < 0
    assert (model.score.bias.grad[:-1] > 0).all()


def test_more_objects_than_queries_are_possible():
    known = batch(images=1, counts=(3,))
    assert total(small(queries=2), known).isfinite()


@pytest.mark.slow
def test_a_few_images_are_learned_by_heart():
    model, known = small(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), 0.002)
    for _ in range(100):
        optimizer.zero_grad()
        total(model, known).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        found = model.detect(known.images, score_threshold=0.5)
    for image, one in enumerate(found):
        boxes, labels = known.objects_of(image)
        assert len(one.scores) == 3  # and nothing else, without any suppression
        agreed = pairwise_iou(one.boxes, boxes) * (one.labels.unsqueeze(1) == labels)
        assert (agreed.amax(0) > 0.7).all()


def test_candidates_are_the_queries_best_first():
    model, known = small().eval(), batch()
    found = model.candidates(known.images, 5)
    assert found.boxes.shape == (3, 5, 4)
    assert (found.scores.diff(dim=1) <= 0).all()
    assert ((found.boxes >= 0) & (found.boxes <= 64)).all()
    found.scores.sum().backward()
    assert model.score.weight.grad is not None


def test_queries_begin_spread_over_the_image():
    boxes = grid_boxes(7)
    assert boxes.shape == (7, 4)
    assert ((boxes > 0) & (boxes < 1)).all()
    assert len({tuple(box) for box in boxes[:, :2].tolist()}) == 7


def test_places_far_apart_look_different():
    near, far = (
        sine_embedding(torch.tensor([[0.5, 0.5], [0.52, 0.5], [0.9, 0.1]]), frequencies(32, 2))[
            0:2
        ],
        None,
    )
    far = sine_embedding(torch.tensor([[0.9, 0.1]]), frequencies(32, 2))[0]
    assert near.shape == (2, 32)
    assert (near[0] - near[1]).norm() < (near[0] - far).norm()


@pytest.mark.parametrize(("make", "least", "most"), [(set_nano, 6e5, 8e5), (set_tiny, 4e6, 5e6)])
def test_sizes_are_as_described_and_images_may_be_oblong(make, least, most):
    model = make(7).eval()
    assert least < sum(p.numel() for p in model.parameters()) < most
    found = model.detect(torch.zeros(1, 3, 64, 96).byte(), max_detections=4)
    assert len(found[0].scores) == 4


def test_without_scipy_the_model_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError, match=r"make install EXTRAS=detection"):
        set_nano(3)
