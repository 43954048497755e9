"""Loops as users of diffvg write them run with one import replaced, and reach their targets."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

# The one import that is replaced.
import plugins.sketching.pydiffvg as pydiffvg

SIDE = 64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
    random.seed(0)


def render(shapes, shape_groups, background=None):
    scene_args = pydiffvg.RenderFunction.serialize_scene(SIDE, SIDE, shapes, shape_groups)
    return pydiffvg.RenderFunction.apply(SIDE, SIDE, 2, 2, 0, background, *scene_args)


def on_white(img):
    return img[:, :, 3:4] * img[:, :, :3] + torch.ones(SIDE, SIDE, 3) * (1 - img[:, :, 3:4])


def circle():
    return pydiffvg.Circle(radius=torch.tensor(16.0), center=torch.tensor([32.0, 32.0]))


def oval():
    return pydiffvg.Ellipse(radius=torch.tensor([20.0, 10.0]), center=torch.tensor([32.0, 30.0]))


def rectangle():
    return pydiffvg.Rect(p_min=torch.tensor([14.0, 12.0]), p_max=torch.tensor([50.0, 40.0]))


def blob():
    points = [
        [20.0, 14],
        [40, 8],
        [54, 26],
        [48, 40],
        [40, 54],
        [18, 50],
        [8, 40],
        [12, 24],
        [16, 20],
    ]
    return pydiffvg.Path(torch.tensor([2, 2, 2]), torch.tensor(points), is_closed=True)


@pytest.mark.parametrize("make", [circle, oval, rectangle, blob])
def test_a_single_shape_moves_to_its_target(make):
    """The first of diffvg's examples: place, form and colour of one shape."""
    shape = make()
    group = pydiffvg.ShapeGroup(torch.tensor([0]), fill_color=torch.tensor([0.3, 0.6, 0.3, 1.0]))
    target = render([shape], [group]).clone()
    names = [n for n, v in vars(shape).items() if torch.is_tensor(v) and v.is_floating_point()]
    names.remove("stroke_width")
    learned = []
    for name in names:
        moved = 0.85 * getattr(shape, name) + 3.0
        setattr(shape, name, moved.detach().clone().requires_grad_())
        learned.append(getattr(shape, name))
    group.fill_color = torch.tensor([0.3, 0.2, 0.8, 1.0], requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": learned, "lr": 0.5}, {"params": [group.fill_color], "lr": 0.05}]
    )
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (render([shape], [group]) - target).pow(2).sum()
        loss.backward()
        optimizer.step()
        group.fill_color.data.clamp_(0.0, 1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
    assert group.fill_color.tolist() == pytest.approx([0.3, 0.6, 0.3, 1.0], abs=0.03)


@pytest.mark.slow
def test_a_gradients_colours_and_ends_are_learned():
    """A fill in a linear gradient whose stops and ends start elsewhere."""

    def scene(begin, end, colours):
        paint = pydiffvg.LinearGradient(begin, end, torch.tensor([0.0, 1.0]), colours)
        return [rectangle()], [pydiffvg.ShapeGroup(torch.tensor([0]), paint)]

    colours = torch.tensor([[0.9, 0.1, 0.1, 1.0], [0.1, 0.3, 0.9, 1.0]])
    target = render(*scene(torch.tensor([14.0, 12.0]), torch.tensor([50.0, 40.0]), colours))
    begin = torch.tensor([20.0, 30.0], requires_grad=True)
    end = torch.tensor([40.0, 30.0], requires_grad=True)
    learned = torch.full((2, 4), 0.5, requires_grad=True)
    with torch.no_grad():
        learned[:, 3] = 1
    optimizer = torch.optim.Adam(
        [{"params": [begin, end], "lr": 0.5}, {"params": [learned], "lr": 0.02}]
    )
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (render(*scene(begin, end, learned)) - target).pow(2).mean()
        loss.backward()
        optimizer.step()
        learned.data.clamp_(0, 1)
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


@pytest.mark.slow
def test_a_painting_by_random_strokes_comes_nearer_to_its_picture():
    """Random cubic strokes whose points, widths and colours follow a photograph, as in painterly rendering."""
    y, x = torch.meshgrid(torch.arange(SIDE) / SIDE, torch.arange(SIDE) / SIDE, indexing="ij")
    target = torch.stack([x, y, 0.5 + 0.5 * torch.sin(9 * x)], -1)
    shapes, shape_groups = [], []
    for _ in range(48):
        start = torch.tensor([random.random(), random.random()])
        points = start + 0.3 * (torch.rand(4, 2) - 0.5)
        path = pydiffvg.Path(
            num_control_points=torch.tensor([2]),
            points=(points * SIDE).contiguous(),
            stroke_width=torch.tensor(3.0),
            is_closed=False,
        )
        shapes.append(path)
        colour = torch.rand(4)
        shape_groups.append(
            pydiffvg.ShapeGroup(torch.tensor([len(shapes) - 1]), None, stroke_color=colour)
        )
    points_vars, width_vars, colour_vars = [], [], []
    for path in shapes:
        path.points.requires_grad = True
        points_vars.append(path.points)
        path.stroke_width.requires_grad = True
        width_vars.append(path.stroke_width)
    for group in shape_groups:
        group.stroke_color.requires_grad = True
        colour_vars.append(group.stroke_color)
    rates = ((points_vars, 1.0), (width_vars, 0.1), (colour_vars, 0.05))
    optimizers = [torch.optim.Adam(learned, lr=rate) for learned, rate in rates]
    losses = []
    for _ in range(40):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = (on_white(render(shapes, shape_groups)) - target).pow(2).mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        for path in shapes:
            path.stroke_width.data.clamp_(1.0, 6.0)
        for group in shape_groups:
            group.stroke_color.data.clamp_(0.0, 1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


@pytest.mark.slow
def test_paths_are_added_round_by_round_where_the_error_is():
    """Layer by layer: each round starts a small closed path at the largest error, and all are refined."""
    target = torch.ones(SIDE, SIDE, 3)
    target[8:40, 10:30] = torch.tensor([0.8, 0.2, 0.1])
    target[30:56, 34:58] = torch.tensor([0.1, 0.4, 0.7])
    paper = torch.ones(SIDE, SIDE, 4)
    shapes: list[Any] = []
    shape_groups: list[Any] = []
    losses: list[float] = []
    for _ in range(2):
        with torch.no_grad():
            now = render(shapes, shape_groups, paper)[..., :3]
            error = (now - target).pow(2).sum(-1)
            near = torch.nn.functional.avg_pool2d(error[None], 9, 1, 4)[0]
            row, column = divmod(int(near.argmax()), SIDE)
        turn = torch.arange(12) * (2 * torch.pi / 12)
        points = torch.stack([turn.cos(), turn.sin()], 1) * 6 + torch.tensor(
            [column + 0.5, row + 0.5]
        )
        shapes.append(pydiffvg.Path(torch.tensor([2] * 4), points, True, torch.tensor(0.0)))
        colour = torch.tensor([*target[row, column].tolist(), 1.0])
        shape_groups.append(pydiffvg.ShapeGroup(torch.tensor([len(shapes) - 1]), colour))
        for shape, group in zip(shapes, shape_groups, strict=True):
            shape.points.requires_grad = group.fill_color.requires_grad = True
        optimizer = torch.optim.Adam(
            [
                {"params": [shape.points for shape in shapes], "lr": 1.0},
                {"params": [group.fill_color for group in shape_groups], "lr": 0.01},
            ]
        )
        for _ in range(60):
            optimizer.zero_grad()
            loss = (render(shapes, shape_groups, paper)[..., :3] - target).pow(2).mean()
            loss.backward()
            optimizer.step()
            for group in shape_groups:
                group.fill_color.data.clamp_(0.0, 1.0)
        losses.append(loss.item())
    assert losses[1] < 0.3 * losses[0]
    assert losses[1] < 0.01


@pytest.mark.slow
def test_a_few_black_strokes_sketch_an_object():
    """Black cubic strokes of one width whose points alone are learned, against a blurred target."""
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    ring = ((x - 32).hypot(y - 32) - 20).abs() < 1.5
    target = 1 - ring.float()
    shapes, shape_groups = [], []
    for k in range(8):
        turn = torch.tensor(k * torch.pi / 4)
        start = torch.tensor([32.0, 32.0]) + 16 * torch.stack([turn.cos(), turn.sin()])
        points = start + 10 * (torch.rand(4, 2) - 0.5)
        shapes.append(pydiffvg.Path(torch.tensor([2]), points, False, torch.tensor(1.5)))
        black = torch.tensor([0.0, 0.0, 0.0, 1.0])
        shape_groups.append(pydiffvg.ShapeGroup(torch.tensor([k]), None, stroke_color=black))
        shapes[-1].points.requires_grad = True
    optimizer = torch.optim.Adam([shape.points for shape in shapes], lr=0.7)

    def seen(picture):
        return torch.nn.functional.avg_pool2d(picture[None, None], 5, 2)

    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        loss = (seen(on_white(render(shapes, shape_groups)).mean(-1)) - seen(target)).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0]
