"""The scenes that the weights in the package learn, and the data set that is cut out of photographs."""

import numpy
import pytest
import torch

from experiments.detection_weights import photographs
from experiments.detection_weights.__main__ import halved
from experiments.detection_weights.scenes import Scenes
from framework import UserError

TEXTURES = [
    numpy.random.default_rng(n).uniform(0, 255, (90 + 20 * n, 120, 3)).astype(numpy.float32)
    for n in range(3)
]


def test_a_scene_depends_on_its_number_only_and_its_boxes_lie_in_it() -> None:
    source = Scenes("train", 30, 64, TEXTURES)
    samples = [source.sample(index) for index in range(30)]
    again = Scenes("train", 3, 64, TEXTURES).sample(2)
    assert torch.equal(again.image, samples[2].image)
    assert torch.equal(again.boxes, samples[2].boxes)
    for sample in samples:
        assert sample.image.shape == (3, 64, 64)
        assert bool((sample.boxes[:, :2] < sample.boxes[:, 2:]).all())
        assert bool((sample.boxes >= 0).all())
        assert bool((sample.boxes <= 64).all())
    counts = [len(sample.boxes) for sample in samples]
    assert min(counts) == 0
    assert max(counts) <= 8
    assert not torch.equal(Scenes("test", 1, 64, TEXTURES).sample(0).image, samples[0].image)


def test_what_half_precision_cannot_hold_is_no_weight() -> None:
    assert halved("a", torch.tensor([0.1, -3.0])).dtype == torch.float16
    with pytest.raises(ValueError, match="a: its values do not fit"):
        halved("a", torch.tensor([1e6]))


def test_a_photograph_that_no_wheel_ships_is_refused_in_one_line() -> None:
    for name, expected in (
        ("nowhere/a.png", "the package nowhere is not installed"),
        ("matplotlib/a.png", "the installed matplotlib does not ship this photograph"),
    ):
        with pytest.raises(UserError, match=expected):
            photographs.photograph(name)
    assert photographs.photograph("matplotlib/grace_hopper.jpg").shape[2] == 3


def test_things_cut_out_of_photographs_are_where_their_boxes_are() -> None:
    pytest.importorskip("skimage")
    from experiments.detection_weights.cut_outs import CutOuts, things

    assert len(things("coin")) == 16
    assert [len(things(name)) for name in ("cup", "cat", "badge")] == [1, 1, 1]
    source = CutOuts("train", 20)
    samples = [source.sample(index) for index in range(20)]
    assert all(sample.image.shape == (3, 240, 320) for sample in samples)
    assert {label for sample in samples for label in sample.labels.tolist()} == {0, 1, 2, 3}
    # The cup is red, the ground beside it is not.
    for sample in samples:
        for box in sample.boxes[sample.labels == 1].int().tolist():
            inside = sample.image[:, box[1] : box[3], box[0] : box[2]].float().mean((1, 2))
            assert inside[0] > inside[2] + 15
