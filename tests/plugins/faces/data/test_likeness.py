"""Copies of a picture are found by how they look; other pictures are not."""

import io

import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from plugins.faces.data.likeness import COPY, copies, nearest_copy, signatures
from plugins.faces.data.photographs import square
from plugins.faces.synthetic.crops import synthetic_crops

CROPS = synthetic_crops(0, 0, 12, 6, 64)
LEARNED = signatures(CROPS.images[CROPS.people < 6])


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "a good JPEG": lambda p: jpeg(p, 90),
    "a poor JPEG": lambda p: jpeg(p, 30),
    "half the size": lambda p: p.resize((32, 32)),
    "twice the size": lambda p: p.resize((128, 128)),
    "grey": lambda p: p.convert("L"),
    "mirrored": lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "less contrast": lambda p: ImageEnhance.Contrast(p).enhance(0.6),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "cut": lambda p: p.crop((3, 3, 61, 61)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_with_other_bytes_is_found(change):
    pictures = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in CROPS.images[:36:3]]
    changed = torch.stack([square(CHANGES[change](p).convert("RGB"), 64) for p in pictures])
    assert copies(changed, LEARNED).all()


def test_other_peoples_pictures_are_no_copies():
    others = CROPS.images[CROPS.people >= 6]
    cosines, _ = nearest_copy(others, LEARNED)
    assert cosines.max() < COPY - 0.01


def test_a_picture_knows_whose_copy_it_is_and_a_blank_one_is_no_copy():
    cosines, places = nearest_copy(CROPS.images[:36], LEARNED)
    assert cosines.min() > 0.999
    assert torch.equal(places, torch.arange(36))
    blank = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    assert not copies(blank, signatures(blank)).any()
    nothing: Tensor = signatures(blank[:0])
    assert not copies(CROPS.images[:2], nothing).any()
    assert copies(blank[:0], LEARNED).shape == (0,)
