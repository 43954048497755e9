"""Triton's lines are those of torch's kernel, and so are their gradients."""

from __future__ import annotations

import pytest
import torch

from framework.errors import ProgramError
from plugins.sketching.raster.render import render
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


def test_what_it_does_not_render_is_refused_in_one_line():
    with interpreted():
        with pytest.raises(ProgramError, match=r"'triton' renders soft lines of one ink.*'torch'"):
            render(LINE, 1.0, 8, backend="triton", composition="max")
        with pytest.raises(ProgramError, match=r"'triton' renders float32, not float64"):
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
