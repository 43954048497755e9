"""A photograph's subject is where a mask is white, or where the photograph stands out; the rest is paper."""

from __future__ import annotations

import numpy
import pytest
import torch
from PIL import Image as Pillow

from framework.errors import UserError
from plugins.sketching.images.subject import Subject, mask_of, saliency


def disc(height: int = 60, width: int = 90) -> torch.Tensor:
    """A striped disc on a plain ground: the photograph, `[3, H, W]`."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    inside = (x - 45.0).hypot(y - 30.0) < 15
    stripes = torch.where(x % 6 < 3, 0.9, 0.1)
    return torch.where(inside, stripes, 0.6).expand(3, -1, -1).clone()


def test_outside_a_mask_there_is_paper_and_no_edge(tmp_path):
    mask = numpy.zeros((60, 90), numpy.uint8)
    mask[:, :45] = 255
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    photo = disc()
    found = mask_of(str(tmp_path / "mask.png"), photo)
    assert torch.equal(found, torch.from_numpy(mask / 255).float())
    whole = Subject.of(photo, 1.0, 0.0)
    subject = whole.masked(found, (0.9, 0.8, 0.7))
    assert torch.equal(subject.lightness[:, :45], whole.lightness[:, :45])
    assert (subject.lightness[:, 45:] == 1).all()
    assert (subject.guide.edges[:, 45:] == 0).all()
    torch.testing.assert_close(subject.photo[:, 9, 80], torch.tensor([0.9, 0.8, 0.7]))


def test_a_mask_of_another_size_is_scaled_and_a_black_one_refused(tmp_path):
    Pillow.new("L", (9, 6), 255).save(tmp_path / "white.png")
    assert (mask_of(str(tmp_path / "white.png"), disc()) == 1).all()
    Pillow.new("L", (9, 6), 0).save(tmp_path / "black.png")
    with pytest.raises(UserError, match=r"black.png': all black; the subject is white"):
        mask_of(str(tmp_path / "black.png"), disc())
    with pytest.raises(UserError, match=r"none.png"):
        mask_of(str(tmp_path / "none.png"), disc())


def test_what_stands_out_is_salient():
    found = saliency(disc())
    assert found.shape == (60, 90)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert found[25:35, 40:50].mean() > 0.7
    assert found[:8].mean() < 0.3
    assert found[:, :10].mean() < 0.3


@pytest.mark.parametrize("size", [(1, 1), (3, 200)])
def test_the_smallest_photographs_have_a_subject(size):
    assert torch.isfinite(saliency(torch.full((3, *size), 0.4))).all()
