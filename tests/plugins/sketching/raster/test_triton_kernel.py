"""What Triton's kernels render is what torch's does, and so are the gradients."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from framework.errors import ProgramError
from plugins.sketching.raster.render import COMPOSITIONS, PROFILES, render
from plugins.sketching.raster.request import Composition
from plugins.sketching.raster.step import render_and_loss
from tests.kernels import interpreted

LINE = torch.tensor([[[1.0, 1.0], [5.0, 5.0]]])


@pytest.mark.parametrize(
    ("vertices", "size", "batch"), [(1, (12, 18), (2,)), (4, (18, 14), ())], ids=["dots", "curves"]
)
def test_picture_and_gradients_are_those_of_torch(vertices, size, batch):
    draw = torch.Generator().manual_seed(0)
    places = 24 * torch.rand(*batch, 5, vertices, 2, generator=draw) - 3
    # One stroke is far outside, one has a piece of no length, and one is below the least width.
    places[..., 0, :, :] += 500
    if vertices > 2:
        places[..., 1, 1, :] = places[..., 1, 0, :]
    width = 0.1 + 3 * torch.rand(*batch, 5, generator=draw)
    width[..., 2] = 0.01
    opacity = torch.rand(*batch, 5, generator=draw)
    weight = torch.randn(*batch, *size, generator=draw)
    found = []
    with interpreted():
        for backend in ("torch", "triton"):
            given = [t.clone().requires_grad_() for t in (places, width, opacity)]
            picture = render(given[0], given[1], size, opacity=given[2], backend=backend)
            (picture * weight).sum().backward()
            found.append([picture.detach(), *(t.grad for t in given if t.grad is not None)])
    assert len(found[0]) == 4
    assert found[0][0].max() > 0.1
    for right, own in zip(*found, strict=True):
        # Ink of less than 1e-5 may be left out.
        assert (own - right).abs().max() < 1e-4 * right.abs().max()


def compared(size: tuple[int, int], vertices: int, coloured: bool, **how: Any) -> list[float]:
    """The largest difference from torch's kernel of a picture and of each gradient, over its largest number."""
    draw = torch.Generator().manual_seed(0)
    given = {
        "points": torch.rand(4, vertices, 2, generator=draw) * torch.tensor([24.0, 20.0]) - 4,
        "width": 0.3 + 3 * torch.rand(4, generator=draw),
        "opacity": torch.rand(4, generator=draw),
        "colour": torch.rand(4, 3, generator=draw),
        "taper": 0.2 + 0.8 * torch.rand(4, vertices, generator=draw),
    }
    left_out = {"colour": not coloured, "taper": not how.pop("tapered", False)}
    given = {name: tensor for name, tensor in given.items() if not left_out.get(name)}
    found = []
    with interpreted():
        for backend in ("torch", "triton"):
            leaves = {name: tensor.clone().requires_grad_() for name, tensor in given.items()}
            picture = render(size=size, **leaves, **how, backend=backend)  # type: ignore[arg-type]
            weight = torch.randn(picture.shape, generator=torch.Generator().manual_seed(1))
            (picture * weight).sum().backward()
            found.append([picture.detach(), *(leaf.grad for leaf in leaves.values())])
    return [
        float((own - right).abs().max() / right.abs().max().clamp(min=1e-6))
        for right, own in zip(*found, strict=True)
        if own is not None and right is not None
    ]


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_every_composition_is_that_of_torch(composition):
    lines = compared((12, 17), 3, True, composition=composition)
    fills = compared((12, 17), 4, False, composition=composition, filled=True, profile="flat")
    assert len(lines) == 5
    assert max(lines) < 1e-4
    assert max(fills) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("composition", COMPOSITIONS)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize(
    ("vertices", "how"),
    [
        (1, {}),
        (2, {}),
        (4, {}),
        (5, {"filled": True}),
        (5, {"filled": True, "fill_rule": "evenodd"}),
        (4, {"tapered": True}),
    ],
    ids=["dots", "lines", "curves", "nonzero", "evenodd", "tapered"],
)
def test_all_that_is_rendered_is_that_of_torch(composition, profile, coloured, vertices, how):
    for size in ((12, 17), (34, 37)):
        named = {**how, "composition": composition, "profile": profile}
        assert max(compared(size, vertices, coloured, **named)) < 1e-4


def test_lines_and_fills_of_several_lengths_and_contours_are_those_of_torch():
    line = torch.tensor([[2.0, 3.0], [18.0, 5.0], [8.0, 15.0]])
    outer = torch.tensor([[2.0, 2.0], [17.0, 3.0], [15.0, 18.0], [3.0, 15.0]])
    hole = torch.tensor([[6.0, 6.0], [12.0, 7.0], [7.0, 12.0]])
    found = []
    with interpreted():
        for backend in ("torch", "triton"):
            parts = [part.clone().requires_grad_() for part in (line, outer, hole)]
            shapes: list[Tensor | list[Tensor]] = [parts[0], [parts[1], parts[2]]]
            picture = render(
                shapes, 1.2, 20, filled=[False, True], fill_rule="evenodd", backend=backend
            )
            picture.square().sum().backward()
            found.append([picture.detach(), *(part.grad for part in parts)])
    for right, own in zip(*found, strict=True):
        assert (own - right).abs().max() < 1e-4 * right.abs().max()


def test_of_equal_inks_the_latest_stroke_has_the_gradient_and_a_transparent_one_has_some():
    """As numba's kernel has it; torch's divides it among them."""
    twice = LINE.expand(2, 2, 2).clone()
    with interpreted():
        for shade, right in (([0.5, 0.5], [False, True]), ([0.0, 0.0], [False, True])):
            opacity = torch.tensor(shade, requires_grad=True)
            ink = render(twice, 1.0, 8, opacity=opacity, composition="max", backend="triton")
            ink.sum().backward()
            assert opacity.grad is not None
            assert (opacity.grad > 0).tolist() == right


def test_ink_upon_opaque_ink_has_a_finite_gradient_in_every_composition():
    with interpreted():
        for composition in get_args(Composition):
            leaves = [LINE.expand(6, 2, 2).clone(), torch.ones(6, 2)]
            points, colour = (leaf.requires_grad_() for leaf in leaves)
            picture = render(
                points, 5.0, 8, colour=colour, composition=composition, backend="triton"
            )
            picture.sum().backward()
            for leaf in leaves:
                assert leaf.grad is not None
                assert leaf.grad.isfinite().all()


def test_another_type_is_refused_in_one_line():
    with (
        interpreted(),
        pytest.raises(ProgramError, match=r"'triton' renders float32, not float64; .*'torch'"),
    ):
        render(LINE.double(), 1.0, 8, backend="triton")


def test_without_triton_it_is_refused_and_nothing_else_is_missing(monkeypatch):
    monkeypatch.setattr("plugins.sketching.raster.render.find_spec", lambda name: None)
    with pytest.raises(ProgramError, match=r"'triton' needs Triton, .*backend='torch'"):
        render(LINE, 1.0, 8, backend="triton")
    assert render(LINE, 1.0, 8).max() > 0.5


def test_no_strokes_leave_the_paper_and_a_step_is_that_of_autograd():
    with interpreted():
        assert not render(torch.zeros(0, 2, 2), 1.0, 8, backend="triton").any()
        target = torch.zeros(8, 8)
        own, right = (render_and_loss(LINE, 1.0, target, backend=b) for b in ("triton", "torch"))
    torch.testing.assert_close(own.loss, right.loss)
    torch.testing.assert_close(own.points, right.points)
