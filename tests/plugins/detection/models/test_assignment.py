"""Assignment: which cell learns which object."""

import itertools

import pytest
import torch

from plugins.detection.models.assignment import (
    cell_centres,
    centre_sampling,
    heat_targets,
    hungarian,
    level_of,
    task_aligned,
)


def targets(*boxes, labels=None, image_index=None, classes=2, images=1, cells=8, stride=8):
    count = len(boxes)
    return heat_targets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels or [0] * count, dtype=torch.int64),
        torch.tensor(image_index or [0] * count, dtype=torch.int64),
        (images, classes, cells, cells),
        stride,
    )


def test_cells_have_their_centres_half_a_stride_in():
    assert cell_centres(2, 3, 8).tolist() == [
        [4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12],
    ]  # fmt: skip


def test_heat_is_one_at_the_centre_cell_only_and_falls_by_the_formula():
    found = targets((12, 8, 60, 32), labels=[1])  # centre (36, 20): cell column 4, row 2
    heat = found.heat[0, 1]
    assert heat[2, 4] == 1
    assert (heat == 1).sum() == 1
    assert found.heat[0, 0].sum() == 0
    sx = 48 / 48  # width / 6 stride
    assert heat[2, 5].item() == pytest.approx(torch.tensor(-1 / (2 * sx**2)).exp().item())


def test_an_objects_weights_sum_to_one():
    found = targets((4, 4, 60, 60), (40, 2, 50, 12), (1, 1, 3, 3))
    total = torch.zeros(3).index_add(0, found.object, found.weight)
    torch.testing.assert_close(total, torch.ones(3))


def test_of_two_concentric_boxes_the_smaller_has_the_centre():
    for order in ((0, 1), (1, 0)):
        boxes = [(0, 0, 64, 64), (24, 24, 40, 40)]
        found = targets(*[boxes[i] for i in order])
        small = order.index(1)
        centre = (found.cell == 4 * 8 + 4).nonzero().item()
        assert found.object[centre] == small
        assert set(found.object.tolist()) == {0, 1}  # the larger one keeps its outer cells


def test_objects_of_other_images_and_classes_do_not_meet():
    found = targets((0, 0, 16, 16), (0, 0, 16, 16), labels=[0, 1], image_index=[0, 1], images=2)
    assert found.heat[0, 0, 1, 1] == 1
    assert found.heat[1, 1, 1, 1] == 1
    assert found.heat[0, 1].sum() == found.heat[1, 0].sum() == 0


def test_a_centre_on_the_images_edge_has_a_cell():
    found = targets((60, 60, 68, 68))
    assert found.heat[0, 0, 7, 7] == 1


def test_no_objects_no_heat():
    found = targets()
    assert found.heat.sum() == 0
    assert len(found.object) == 0


def test_boxes_go_to_the_level_that_suits_their_size():
    sides = torch.tensor([3.0, 64.0, 65.0, 128.0, 129.0, 4000.0])
    boxes = torch.stack([0 * sides, 0 * sides, sides, sides / 2], 1)
    assert level_of(boxes, (8, 16, 32)).tolist() == [0, 0, 1, 1, 2, 2]
    assert level_of(boxes, (8,)).tolist() == [0] * 6


def test_centre_sampling_takes_points_inside_and_near_the_centre():
    points = torch.tensor([[20.0, 20.0], [31.0, 20.0], [33.0, 20.0], [20.0, 28.0]])
    box = torch.tensor([[0.0, 12.0, 40.0, 28.0]])
    inside = centre_sampling(points, box, stride=8, radius=1.5)  # 12 pixels around (20, 20)
    assert inside[:, 0].tolist() == [True, True, False, False]


def test_task_alignment_takes_the_best_points_inside():
    points = torch.tensor([[5.0, 5.0], [6.0, 5.0], [7.0, 5.0], [50.0, 50.0]])
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    found = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 5], [0, 0, 10, 10]]
    )  # the last one is a perfect box from outside
    scores = torch.tensor([[0.9], [0.9], [0.9], [1.0]])
    assigned, target = task_aligned(scores, found, points, boxes, torch.tensor([0]), top_k=2)
    assert assigned.tolist() == [0, 0, -1, -1]
    assert target[0].item() == pytest.approx(1.0)  # scaled to the best IoU
    assert target[1].item() == pytest.approx(0.9**6, rel=1e-4)
    assert target[2:].tolist() == [0, 0]


def test_a_point_claimed_by_two_objects_learns_the_one_it_locates_better():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20]])
    found = torch.tensor([[0.0, 0, 19, 20]])
    assigned, _ = task_aligned(
        torch.ones(1, 1), found, torch.tensor([[5.0, 5.0]]), boxes, torch.tensor([0, 0])
    )
    assert assigned.tolist() == [1]


def test_task_alignment_without_objects_assigns_nothing():
    assigned, target = task_aligned(
        torch.ones(3, 1),
        torch.ones(3, 4),
        torch.ones(3, 2),
        torch.zeros(0, 4),
        torch.zeros(0).long(),
    )
    assert assigned.tolist() == [-1] * 3
    assert target.tolist() == [0] * 3


@pytest.mark.parametrize("seed", range(5))
def test_the_hungarian_matching_is_the_best_of_all(seed):
    cost = torch.rand(4, 6, generator=torch.Generator().manual_seed(seed))
    rows, columns = hungarian(cost)
    best = min(
        sum(cost[row, column].item() for row, column in enumerate(chosen))
        for chosen in itertools.permutations(range(6), 4)
    )
    assert cost[rows, columns].sum().item() == pytest.approx(best)
    assert len(set(columns.tolist())) == 4


def test_the_hungarian_matching_survives_what_is_not_finite():
    cost = torch.tensor([[float("nan"), 1.0], [float("inf"), 2.0]])
    _, columns = hungarian(cost)
    assert sorted(columns.tolist()) == [0, 1]
