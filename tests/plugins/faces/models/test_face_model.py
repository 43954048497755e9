"""Photographs are looked at in several sizes, so that small faces of large photographs are found."""

import pytest
import torch
from PIL import Image
from torch import Tensor

from plugins.faces.losses.identity_loss import make_loss
from plugins.faces.models.face_finder import FaceFinder
from plugins.faces.models.face_model import FaceModel
from plugins.faces.models.in_several_sizes import (
    LARGEST_FACE,
    LARGEST_SIDE,
    UNSEEN,
    Look,
    agreed,
    part_of_a_face,
)


class Squares(FaceModel):
    """A model that detects each white square of 10 to 200 pixels, best at 30, and notes the sizes that it gets."""

    def __init__(self) -> None:
        super().__init__(
            FaceFinder("joint", embedding_size=4), make_loss({"name": "softmax"}, 4, 2, "loss")
        )
        self.sizes: list[tuple[int, int]] = []

    def forward(
        self,
        images: Tensor,
        max_detections: int = 50,
        score_threshold: float = 0.3,
        mirrored: bool = False,
    ) -> list[dict[str, Tensor]]:
        self.sizes.append((images.shape[-1], images.shape[-2]))
        lit = images[0].float().mean(0) > 127
        boxes, middle = [], lit.shape[1] // 2
        for first, half in ((0, lit[:, :middle]), (middle, lit[:, middle:])):
            rows, columns = half.any(1).nonzero()[:, 0], half.any(0).nonzero()[:, 0] + first
            if len(rows) >= 10:
                boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        height = found[:, 3] - found[:, 1]
        scores = (1 - (height / 30).clamp(min=0.01).log().abs() / 4).clamp(0.3, 1)
        count = len(found)
        return [
            {
                "boxes": found,
                "scores": scores,
                "landmarks": torch.zeros(count, 5, 2),
                "embeddings": torch.eye(4)[:1].repeat(count, 1),
            }
        ]


def test_a_small_face_of_a_large_photograph_is_found_and_a_large_one_once():
    photograph = Image.new("RGB", (1000, 700))
    photograph.paste("white", (100, 100, 120, 120))
    photograph.paste("white", (600, 200, 1000, 600))
    model = Squares()
    faces = model.faces_in(photograph, 160)
    assert [width for width, _ in model.sizes] == [80, 160, 320, 640, 1000]
    assert len(faces["boxes"]) == 2
    small = faces["boxes"][(faces["boxes"][:, 3] - faces["boxes"][:, 1]) < 50]
    assert (small[0] - torch.tensor([100.0, 100, 120, 120])).abs().max() < 3
    large = faces["boxes"][(faces["boxes"][:, 3] - faces["boxes"][:, 1]) > 50]
    assert (large[0] - torch.tensor([600.0, 200, 1000, 600])).abs().max() < 10
    assert (faces["scores"].diff() <= 0).all()
    assert LARGEST_FACE < 400


def test_a_photograph_is_never_enlarged_beyond_the_training_nor_looked_at_without_end():
    model = Squares()
    model.faces_in(Image.new("RGB", (80, 40)), 160)
    assert model.sizes == [(80, 40), (160, 80)]
    model.sizes.clear()
    model.faces_in(Image.new("RGB", (9000, 30)), 320)
    assert [width for width, _ in model.sizes] == [160, 320, 640, 1280, LARGEST_SIDE]


def test_a_nose_is_a_part_of_its_face_unless_it_is_the_surer_one():
    face, nose, beside = [0.0, 0, 100, 100], [40.0, 40, 60, 60], [90.0, 0, 130, 40]
    boxes = torch.tensor([face, nose, beside])
    for scores, parts in (([0.8, 0.7, 0.6], [0, 1, 0]), ([0.5, 0.9, 0.6], [0, 0, 0])):
        assert part_of_a_face(boxes, torch.tensor(scores)).tolist() == parts


def test_what_one_size_alone_shows_is_less_certain_than_what_two_show():
    both, alone, tiny = [0.0, 0, 60, 60], [100.0, 0, 160, 60], [200.0, 0, 214, 14]
    boxes, scores = torch.tensor([both, alone, tiny]), torch.tensor([0.8, 0.7, 0.6])
    full = Look(1.0, {"boxes": boxes, "scores": scores})
    half = Look(0.5, {"boxes": boxes[:1] + 2, "scores": torch.tensor([0.5])})
    quarter = Look(0.25, {"boxes": boxes[:1], "scores": torch.tensor([0.9])})
    # At a quarter of the size 15 pixels are too few, as are 14 at any; that is no witness.
    found = agreed(dict(full.faces), [full, half, quarter], 0.3)
    assert torch.allclose(found["scores"], torch.tensor([(0.8 + 0.5) / 2, 0.6, (0.7 + UNSEEN) / 2]))
    assert found["boxes"].tolist() == [both, tiny, alone]
    assert len(agreed(dict(full.faces), [full, half], 0.5)["boxes"]) == 2


def test_a_face_that_fills_a_photograph_is_looked_for_at_half_the_trainings_size():
    photograph = Image.new("RGB", (400, 400))
    photograph.paste("white", (0, 10, 190, 390))
    faces = Squares().faces_in(photograph, 160)
    # At 80 pixels it is 76 high; at 160 it is 152, and of a lower score here.
    assert len(faces["boxes"]) == 1
    assert abs(float(faces["boxes"][0, 3]) - 390) < 6


def test_a_score_of_both_ways_is_the_mean_of_those_in_the_image_and_in_its_mirror_image():
    torch.manual_seed(0)
    finder = FaceFinder("two_stage", embedding_size=0, widths=(8, 8, 8), blocks=(0, 0, 0)).eval()
    torch.nn.init.normal_(finder.score.weight, std=3.0)
    images = torch.randint(0, 255, (1, 3, 64, 64)).float()
    with torch.no_grad():
        plain = finder.raw_outputs(images).logits.sigmoid()
        turned = finder.raw_outputs(images.flip(3)).logits.flip(3).sigmoid()
        (found,) = finder(images, score_threshold=0.0, mirrored=True)
    assert float(found["scores"].max()) == pytest.approx(float(((plain + turned) / 2).max()))
    assert found["embeddings"].shape == (len(found["boxes"]), 0)
