"""Aligned assignment: scores that are qualities, distances that are distributions."""

import pytest
import torch

from plugins.detection.boxes import pairwise_iou
from plugins.detection.models.aligned import Aligned, aligned_nano, aligned_tiny
from plugins.detection.sample import Batch


def small(levels=2, **options) -> Aligned:
    torch.manual_seed(0)
    model = Aligned(3, (8, 16, 32, 32), (0, 0, 1, 1), levels, 32, 32, **options)
    model.mean_objects_per_image = 3.0
    return model


def batch(counts=(3, 3, 3)) -> Batch:
    draw = torch.Generator().manual_seed(0)
    apart = torch.tensor([[2.0, 3, 21, 15], [44, 1, 60, 62], [1, 24, 35, 63]])
    images = len(counts)
    return Batch(
        torch.randint(0, 256, (images, 3, 64, 64), generator=draw, dtype=torch.uint8),
        torch.cat([apart[:count] for count in counts]),
        torch.randint(0, 3, (sum(counts),), generator=draw),
        torch.arange(images).repeat_interleave(torch.tensor(counts)),
    )


def total(model: Aligned, known: Batch) -> torch.Tensor:
    return torch.stack([term.mean() for term in model.losses(known).values()]).sum()


@pytest.mark.slow
def test_a_few_images_are_learned_by_heart_and_scores_are_the_quality_reached():
    model, known = small(), batch()
    optimizer = torch.optim.AdamW(model.parameters(), 0.005)
    for _ in range(200):
        optimizer.zero_grad()
        total(model, known).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
    with torch.no_grad():
        found = model.detect(
            known.images, score_threshold=0.3
        )  # in training mode: their own statistics
    for image, one in enumerate(found):
        boxes, labels = known.objects_of(image)
        agreed = pairwise_iou(one.boxes, boxes) * (one.labels.unsqueeze(1) == labels)
        best, which = agreed.max(0)
        assert (best > 0.7).all()
        assert ((one.scores[which] - best).abs() < 0.25).all()


def test_an_images_loss_does_not_depend_on_its_batch_and_no_object_lowers_all_scores():
    model, known = small().eval(), batch((3, 0, 2))
    together = model.losses(known)
    for image in range(3):
        boxes, labels = known.objects_of(image)
        alone = Batch(
            known.images[image : image + 1], boxes, labels, torch.zeros(len(labels)).long()
        )
        for name, values in model.losses(alone).items():
            torch.testing.assert_close(values[0], together[name][image], atol=1e-5, rtol=1e-4)
    assert together["box"][1] == together["distance"][1] == 0
    total(model, batch((0, 0))).backward()
    assert model.score.bias is not None
    assert model.score.bias.grad is not None
    assert (model.score.bias.grad > 0).all()


def test_a_certain_distribution_has_its_distance():
    model = small(levels=1).eval()
    logits = torch.full((4, 17), -100.0)
    for side, cells in enumerate((1, 2, 3, 4)):
        logits[side, cells] = 100.0
    torch.nn.init.zeros_(model.distance.weight)
    model.distance.bias = torch.nn.Parameter(logits.flatten())
    found = model(batch().images)[0].distances[0, :, 3, 3]
    torch.testing.assert_close(found, torch.tensor([8.0, 16.0, 24.0, 32.0]))


@pytest.mark.parametrize(
    ("make", "least", "most"), [(aligned_nano, 3e5, 5e5), (aligned_tiny, 2e6, 3e6)]
)
def test_sizes_are_as_described(make, least, most):
    model = make(7).eval()
    assert least < sum(p.numel() for p in model.parameters()) < most
    found = model.detect(torch.zeros(1, 3, 64, 96).byte(), max_detections=4)
    assert len(found[0].scores) <= 4
