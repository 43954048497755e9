"""Synthetic people: the same whoever asks, never two alike, with boxes and landmarks where the face is."""

import math
import time

import pytest
import torch
from torch.nn.functional import cosine_similarity

from plugins.faces.synthetic.crops import FIRST_UNSEEN, rendered_faces, synthetic_crops
from plugins.faces.synthetic.people import NORMAL, TRAITS, UNIFORM, circumstances, traits
from plugins.faces.synthetic.rendering import RenderedFaces, render


def plain(people: int = 6, **changed: float) -> dict[str, torch.Tensor]:
    """People looking straight ahead in even light, with nothing in the way."""
    look = traits(0, range(people)) | circumstances(0, range(people), [0] * people)
    quiet = {"yaw": 0, "pitch": 0, "roll": 0, "glasses": 0, "occlusion": 0, "hat": 0, "noise": 0}
    for name, value in {**quiet, **changed}.items():
        look[name] = torch.full((people,), float(value))
    return look


def shown(look: dict[str, torch.Tensor], side: int = 64) -> RenderedFaces:
    count = len(look["yaw"])
    return render(look, side, torch.full((count, 2), side / 2), torch.full((count,), side * 0.4))


def test_a_picture_depends_on_its_person_and_number_and_not_on_who_is_rendered_with_it():
    together = rendered_faces(0, [3, 8, 5], [0, 1, 2], 48)
    alone = rendered_faces(0, [8], [1], 48)
    assert torch.allclose(together.colours[1], alone.colours[0], atol=1e-5)
    assert not torch.allclose(
        together.colours[0], rendered_faces(1, [3], [0], 48).colours[0], atol=0.1
    )


def test_a_person_keeps_the_traits_and_changes_the_circumstances_from_picture_to_picture():
    assert all(
        torch.equal(a, b)
        for a, b in zip(traits(0, [7]).values(), traits(0, [7]).values(), strict=True)
    )
    first, second = circumstances(0, [7, 7], [0, 1]), circumstances(0, [7, 7], [1, 0])
    for name in [*NORMAL, *UNIFORM]:
        assert torch.equal(first[name], second[name].flip(0)), name
        assert first[name][0] != first[name][1], name


def test_no_two_people_are_alike():
    look = torch.stack(
        list(traits(0, [*range(300), *range(FIRST_UNSEEN, FIRST_UNSEEN + 300)]).values()), 1
    )
    spread = torch.tensor([high - low for low, high in TRAITS.values()])
    scaled = look / spread
    distance = torch.cdist(scaled, scaled) + 100 * torch.eye(len(look))
    # Of the square, for uniform traits.
    mean, deviation = len(TRAITS) / 6, math.sqrt(len(TRAITS) * 7 / 180)
    assert abs(distance.square().triu(1)[distance.triu(1) > 0].mean() - mean) < 0.1
    assert distance.min() ** 2 > max(0.25, mean - 5.1 * deviation)


def test_traits_keep_to_their_ranges():
    for name, values in traits(0, range(500)).items():
        low, high = TRAITS[name]
        assert low <= values.min(), name
        assert values.max() <= high, name


def test_the_box_encloses_the_head_to_a_pixel():
    for look in (plain(), plain(yaw=0.5, pitch=0.2), plain(roll=0.4)):
        rendered = shown(look)
        for face, box in zip(rendered.face, rendered.boxes, strict=True):
            rows, columns = (face > 0.5).nonzero(as_tuple=True)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (box - torch.tensor([float(e) for e in edges])).abs().max() < 1.5


def test_landmarks_lie_on_the_features():
    """Where a feature is given another colour, the picture changes most about its landmark."""
    look = plain(yaw=0.25, roll=0.2, lids=-1, mouth_open=-0.1, smile=0)
    for trait, marks in (("iris_lightness", (0, 1)), ("lip_red", (3, 4))):
        changed = dict(look)
        changed[trait] = look[trait] + 0.6
        before, after = shown(look, 96), shown(changed, 96)
        change = (after.colours - before.colours).abs().sum(1)
        rows, columns = (torch.arange(96) + 0.5 for _ in range(2))
        total = change.sum((1, 2))
        x = (change * columns).sum((1, 2)) / total
        y = (change * rows[:, None]).sum((1, 2)) / total
        middle = before.landmarks[:, list(marks)].mean(1)
        assert (torch.stack([x, y], 1) - middle).abs().max() < 3, trait


def test_landmarks_come_in_order_from_left_to_right_and_from_top_to_bottom():
    marks = shown(plain(roll=0.1, yaw=-0.2)).landmarks
    assert (marks[:, 0, 0] < marks[:, 1, 0]).all()
    assert (marks[:, 3, 0] < marks[:, 4, 0]).all()
    assert (marks[:, :2, 1].amax(1) < marks[:, 2, 1]).all()
    assert (marks[:, 2, 1] < marks[:, 3:, 1].amin(1)).all()


def test_the_face_turns_with_the_yaw():
    left, right = shown(plain(yaw=-0.5)).landmarks, shown(plain(yaw=0.5)).landmarks
    # The nose, of a head of 51 pixels.
    assert (right[:, 2, 0] - left[:, 2, 0] > 8).all()


def test_crops_are_bytes_with_everybody_in_order():
    crops = synthetic_crops(0, 5, 4, 3, 32)
    assert crops.images.shape == (12, 3, 32, 32)
    assert crops.images.dtype == torch.uint8
    assert torch.equal(crops.people, torch.arange(4).repeat_interleave(3))
    assert crops.names == ("synthetic 5", "synthetic 6", "synthetic 7", "synthetic 8")
    later = synthetic_crops(0, 5, 4, 2, 32, first_picture=1)
    assert (
        later.images.int() - crops.images.reshape(4, 3, 3, 32, 32)[:, 1:].flatten(0, 1).int()
    ).abs().max() <= 1


def test_some_people_of_crops_are_numbered_anew():
    crops = synthetic_crops(0, 0, 4, 2, 16)
    some = crops.of([2, 0])
    assert some.names == ("synthetic 2", "synthetic 0")
    assert some.people.tolist() == [0, 0, 1, 1]
    assert torch.equal(some.images, crops.images[[4, 5, 0, 1]])


def test_pixels_alone_hardly_tell_synthetic_people_apart():
    """Were they to, learning would show nothing: one person's pictures are little more alike than two people's."""
    crops = synthetic_crops(0, 0, 30, 4, 32)
    x = crops.images.float().flatten(1)
    x = x - x.mean(0)
    alike = cosine_similarity(x[:, None], x[None], dim=-1)
    same = (crops.people[:, None] == crops.people[None]) & ~torch.eye(len(x), dtype=torch.bool)
    different = crops.people[:, None] != crops.people[None]
    better = (alike[same][:, None] > alike[different][None, :2000]).float().mean()
    assert 0.5 < better < 0.8


@pytest.mark.slow
def test_a_crop_of_48_pixels_costs_less_than_8_milliseconds():
    synthetic_crops(0, 0, 2, 32, 48)
    began = time.process_time()
    synthetic_crops(0, 0, 10, 32, 48)
    assert (time.process_time() - began) / 320 < 0.008
