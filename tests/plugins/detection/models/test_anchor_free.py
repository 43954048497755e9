"""The anchor-free family: exact boxes from maps, a loss of each image, sizes as described."""

import pytest
import torch
from torch import nn

from plugins.detection.models.aligned import aligned_nano, aligned_tiny
from plugins.detection.models.anchor_free import (
    AnchorFree,
    Maps,
    clip_boxes,
    decode_boxes,
    nano,
    peaks_of,
    small,
    tiny,
)
from plugins.detection.sample import Batch


def batch(images=2, side=64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    count = 3 * images
    low = (side - 30) * torch.rand(count, 2, generator=draw)
    boxes = torch.cat([low, low + 6 + 20 * torch.rand(count, 2, generator=draw)], 1)
    return Batch(
        torch.randint(0, 256, (images, 3, side, side), generator=draw, dtype=torch.uint8),
        boxes,
        torch.randint(0, 3, (count,), generator=draw),
        torch.arange(images).repeat_interleave(3),
    )


def total(model: AnchorFree, known: Batch) -> torch.Tensor:
    return torch.stack([term.mean() for term in model.losses(known).values()]).sum()


def part(whole: Batch, first: int, last: int) -> Batch:
    mine = (whole.image_index >= first) & (whole.image_index < last)
    return Batch(
        whole.images[first:last],
        whole.boxes[mine],
        whole.labels[mine],
        whole.image_index[mine] - first,
    )


def test_a_given_peak_is_the_exact_box():
    logits, distances = torch.full((1, 2, 4, 6), -9.0), torch.zeros(1, 4, 4, 6)
    logits[0, 1, 2, 3] = 3.0  # the cell's centre is (28, 20)
    distances[0, :, 2, 3] = torch.tensor([10.5, 3.25, 7.0, 11.0])
    boxes, scores, labels = peaks_of(Maps(logits, distances, 8), 5)
    assert boxes[0, 0].tolist() == [17.5, 16.75, 35.0, 31.0]
    assert scores[0, 0].item() == pytest.approx(torch.tensor(3.0).sigmoid().item())
    assert labels[0, 0] == 1


def test_only_the_highest_of_neighbours_is_a_peak():
    logits = torch.full((1, 1, 5, 5), -50.0)
    logits[0, 0, 2, 1:4] = torch.tensor([1.0, 2.0, 1.5])
    _, scores, _ = peaks_of(Maps(logits, torch.ones(1, 4, 5, 5), 8), 3)
    assert (scores[0] > 0.5).sum() == 1


@pytest.mark.parametrize("side", [1.0, 4.0, 40.0, 300.0])
def test_any_box_can_be_predicted_by_the_cell_of_its_centre(side):
    centre = torch.tensor([27.9, 16.1])  # near the corner of cell (2, 3), whose centre is (28, 20)
    box = torch.cat([centre - side / 2, centre + side / 2])
    cell = torch.tensor([28.0, 20.0])
    distances_to_sides = torch.cat([cell - box[:2], box[2:] - cell])
    outputs = (distances_to_sides / 8 + 0.5).log()
    assert outputs.isfinite().all()
    distances = (8 * (outputs.exp() - 0.5)).view(1, 4, 1, 1).expand(1, 4, 4, 6)
    torch.testing.assert_close(decode_boxes(distances, 8)[0, 2 * 6 + 3], box, atol=1e-4, rtol=1e-5)


def test_an_images_loss_does_not_depend_on_its_batch():
    """Four batches of 2 equal one of 8: losses are not divided by the batch's number of objects."""
    model = nano(3).eval()  # batch normalisation apart
    model.mean_objects_per_image = 3.0
    whole = batch(8)
    together = model.losses(whole)
    for name, values in together.items():
        parts = [model.losses(part(whole, i, i + 2))[name] for i in range(0, 8, 2)]
        torch.testing.assert_close(values, torch.cat(parts), atol=1e-5, rtol=1e-4)


def test_an_image_without_objects_has_a_loss_and_a_gradient():
    model = nano(3)
    none = torch.zeros(0).long()
    empty = Batch(torch.zeros(1, 3, 64, 64).byte(), torch.zeros(0, 4), none, none)
    total(model, empty).backward()
    assert model.score.bias is not None
    assert model.score.bias.grad is not None
    assert (model.score.bias.grad > 0).all()  # lower scores everywhere


@pytest.mark.parametrize(
    ("make", "least", "most", "strides"),
    [(nano, 3e5, 5e5, (8,)), (tiny, 2e6, 3e6, (8, 16)), (small, 8.5e6, 9.5e6, (8, 16, 32))],
)
def test_sizes_and_levels_are_as_described(make, least, most, strides):
    model = make(7)
    assert least < sum(p.numel() for p in model.parameters()) < most
    assert model.strides == strides
    maps = model.eval()(torch.zeros(1, 3, 64, 96).byte())
    assert [tuple(m.logits.shape) for m in maps] == [(1, 7, 64 // s, 96 // s) for s in strides]
    assert all(len(m.distances[0]) == 4 for m in maps)


@pytest.mark.slow
def test_three_images_are_learned_by_heart_on_two_levels():
    torch.manual_seed(0)
    model = AnchorFree(3, (8, 16, 32, 32), (0, 0, 1, 1), 2, 32, 32)
    model.mean_objects_per_image = 3.0
    random = batch(3)
    apart = torch.tensor([[2.0, 3, 21, 15], [44, 1, 60, 62], [1, 24, 35, 63]])
    known = Batch(random.images, apart.repeat(3, 1), random.labels, random.image_index)
    optimizer = torch.optim.AdamW(model.parameters(), 0.003)
    for _ in range(150):
        optimizer.zero_grad()
        total(model, known).backward()
        optimizer.step()
    with torch.no_grad():
        model.train()  # three images: their own statistics
        found = model.detect(known.images, score_threshold=0.3)
    for image, one in enumerate(found):
        boxes, labels = known.objects_of(image)
        for box, label in zip(boxes, labels, strict=True):
            near = (one.boxes - box).abs().amax(1) < 2
            assert (near & (one.labels == label)).any()


def test_detections_come_best_first_inside_the_image_and_above_the_threshold():
    torch.manual_seed(0)
    for make in (nano, tiny):
        model = make(3).eval()
        nn.init.normal_(model.score.weight, std=0.5)
        found = model.detect(batch().images, max_detections=7, score_threshold=0.02)
        for one in found:
            assert len(one.scores) <= 7
            assert (one.scores.diff() <= 0).all()
            assert (one.scores >= 0.02).all()
            assert ((one.boxes >= 0) & (one.boxes <= 64)).all()


def test_frozen_parts_do_not_change():
    model: AnchorFree = nano(3)
    model.freeze(["pyramid.stages.0", "pyramid.stages.1*"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    model.train()
    for _ in range(2):
        total(model, batch()).backward()
        optimizer.step()
    for name, value in model.state_dict().items():
        frozen = name.startswith(("pyramid.stages.0", "pyramid.stages.1"))
        assert torch.equal(value, before[name]) == frozen, name


@pytest.mark.parametrize("make", [nano, tiny, aligned_nano, aligned_tiny])
def test_candidates_are_the_detections(make):
    """Boxes that non-maximum suppression removes come last, with the score 0."""
    torch.manual_seed(0)
    model = make(2).eval()
    nn.init.normal_(model.score.weight, std=0.3)
    with torch.no_grad():
        model.distance.bias.copy_(
            model.distance.bias.abs() + 1
        )  # large boxes: neighbours predict nearly the same
    images = batch().images
    candidates, seen = model.candidates(images, 30), model.detect(images, 30, score_threshold=1e-6)
    peaks = sum(int((level > 0).sum()) for level in model.peaks(model(images), 30)[1])
    for boxes, scores, labels, found in zip(*candidates, seen, strict=True):
        there = scores > 0
        peaks -= int(there.sum())
        assert len(scores) == 30
        assert (scores.diff() <= 0).all()
        assert torch.equal(scores[there], found.scores)
        assert torch.equal(labels[there], found.labels)
        torch.testing.assert_close(clip_boxes(boxes[there], images), found.boxes)
    assert (peaks > 0) == model.needs_nms == (make is not nano)  # some were suppressed
    candidates.scores.sum().backward()
    assert model.score.weight.grad is not None
