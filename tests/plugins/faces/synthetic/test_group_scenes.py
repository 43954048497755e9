"""Generated scenes for a detector of faces in photographs: who is in them, what is ignored, and what is no face."""

import pytest
import torch
from torch import Tensor

from framework import UserError
from framework.randomness import generator
from plugins.faces.synthetic import group_scenes as module
from plugins.faces.synthetic import textures
from plugins.faces.synthetic.camera import photographed
from plugins.faces.synthetic.distractors import (
    arm,
    ball,
    distractor,
    hand,
    piece,
    round_piece,
    stripes,
    writing,
)
from plugins.faces.synthetic.group_scenes import (
    HALF_HIDDEN,
    TOO_SMALL,
    Face,
    add_person,
    group_scenes,
    paste,
    positions,
    seen,
)
from plugins.faces.synthetic.portraits import BODY, SQUARE, Portraits, portraits
from plugins.faces.synthetic.textures import texture

SIDE = 96


def waves(seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, 8, 10, generator=random)
    fine = torch.nn.functional.interpolate(coarse, (60, 80), mode="bilinear")
    return (fine[0] * 255).to(torch.uint8)


PHOTOGRAPHS = [waves(k) for k in range(3)]


@pytest.fixture(scope="module")
def people() -> Portraits:
    return portraits(0, 12, PHOTOGRAPHS)


def test_a_person_has_a_body_below_and_a_face_with_its_landmarks_in_the_box(people):
    assert people.layers.shape == (12, 4, SQUARE + BODY, SQUARE)
    # Colours are times coverage.
    assert bool((people.layers[:, :3].int() <= people.layers[:, 3:].int() + 1).all())
    assert people.face.sum() >= 6
    for k in people.face.nonzero()[:, 0]:
        left, top, right, bottom = people.boxes[k]
        x, y = people.landmarks[k].unbind(1)
        assert bool(((x > left - 3) & (x < right + 3) & (y > top) & (y < bottom)).all())
        assert not people.unclear[k]


def test_a_scene_is_the_same_whichever_scenes_are_made_with_it(people):
    all_of_them = group_scenes(3, 10, 4, SIDE, people, PHOTOGRAPHS, 5)
    last = group_scenes(3, 13, 1, SIDE, people, PHOTOGRAPHS, 5)
    assert torch.equal(all_of_them.images[3], last.images[0])
    assert torch.equal(all_of_them.boxes[all_of_them.image_index == 3], last.boxes)
    assert not torch.equal(all_of_them.images[0], all_of_them.images[1])


def test_faces_lie_in_the_scene_and_those_that_count_are_large_enough(people):
    scenes = group_scenes(0, 0, 40, SIDE, people, PHOTOGRAPHS, 8)
    assert len(scenes) == 40
    assert len(scenes.boxes) > 40
    assert bool((scenes.boxes >= 0).all() and (scenes.boxes <= SIDE).all())
    assert bool((scenes.image_index.diff() >= 0).all())
    assert bool((scenes.people == -1).all())
    counted = scenes.boxes[~scenes.ignored]
    sides = counted[:, 2:] - counted[:, :2]
    # A part may be outside or hidden.
    assert float(sides.amax(1).min()) >= (1 - HALF_HIDDEN) * TOO_SMALL * 0.8


def test_what_is_pasted_over_a_face_hides_the_part_that_it_covers():
    face = Face(torch.tensor([10.0, 10.0, 30.0, 30.0]), torch.zeros(5, 2), False)
    scene = torch.zeros(3, 40, 40)
    paste(scene, [face], torch.ones(4, 40, 10), 10, 0)
    assert face.hidden == pytest.approx(0.5)
    assert scene[:, :, 10:20].min() == 1
    found = seen(face, 40)
    assert found is not None
    assert found.unclear
    paste(scene, [face], torch.ones(4, 40, 10), 20, 0)
    assert seen(face, 40) is None


def test_a_face_that_is_mostly_outside_is_none_and_one_that_is_partly_outside_is_clipped():
    outside = Face(torch.tensor([-16.0, 0.0, 4.0, 20.0]), torch.zeros(5, 2), False)
    assert seen(outside, 40) is None
    partly = seen(Face(torch.tensor([-2.0, 0.0, 18.0, 20.0]), torch.zeros(5, 2), False), 40)
    assert partly is not None
    assert (partly.box.tolist(), partly.unclear) == ([0, 0, 18, 20], False)


def test_a_face_too_close_to_the_camera_is_background_and_one_nearly_so_is_ignored(people):
    who = int(people.face.nonzero()[0, 0])
    for height, expected in ((60.0, [False]), (120.0, [True]), (200.0, [])):
        faces: list[Face] = []
        add_person(torch.zeros(3, 160, 160), faces, people, who, height, 80.0, 80.0)
        assert [face.unclear for face in faces] == expected
        for face in faces:
            assert float(face.box[3] - face.box[1]) == pytest.approx(height, rel=0.02)
            assert float(face.box[[0, 2]].mean()) == pytest.approx(80, abs=1)


def test_people_who_stand_farther_up_are_pasted_first():
    found = [positions(160, 8, generator(0, "positions", k)) for k in range(60)]
    assert any(not places for places in found)
    for places in found:
        assert [y + h for h, _, y in places] == sorted(y + h for h, _, y in places)


@pytest.mark.parametrize("shape", [arm, ball, hand, round_piece])
def test_shapes_are_covered_in_part(shape):
    coverage, colours = shape(PHOTOGRAPHS, 40, torch.Generator().manual_seed(1))
    assert coverage.shape == (40, 40)
    assert 0.05 < float(coverage.mean()) < 0.95
    assert 0 <= float(coverage.min()) <= float(coverage.max()) <= 1
    assert colours.shape[0] == 3


def test_whatever_distracts_is_colours_times_coverage():
    random = torch.Generator().manual_seed(0)
    made = [distractor(PHOTOGRAPHS, 24, random) for _ in range(40)]
    made += [piece(PHOTOGRAPHS, 24, random), writing(24, random), stripes(24, random)]
    for layers in made:
        assert layers.shape[0] == 4
        assert bool((layers[:3] <= layers[3:] + 1e-5).all() and (layers >= 0).all())


def test_a_camera_keeps_the_size_and_sometimes_loses_the_colours():
    scene = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    pictures = [photographed(scene, generator(0, "camera", k)) for k in range(30)]
    assert {tuple(picture.shape) for picture in pictures} == {(3, 32, 32)}
    spread = torch.tensor([float(p.float().std(0).mean()) for p in pictures])
    # Grain and JPEG leave a little colour in what is grey.
    assert 2 <= int((spread < 12).sum()) <= 14


def test_a_texture_has_any_size_and_comes_from_photographs_of_any_size():
    random = torch.Generator().manual_seed(0)
    for source in (PHOTOGRAPHS[0], PHOTOGRAPHS[0][:, :3, :3]):
        crop = texture([source], 7, 50, random)
        assert crop.shape == (3, 7, 50)
        assert 0 <= float(crop.min()) <= float(crop.max()) <= 1


def test_too_few_installed_photographs_are_refused_with_the_packages_that_bring_them(monkeypatch):
    textures.textures.cache_clear()
    monkeypatch.setattr(
        textures, "PHOTOGRAPHS", {"no_such_package": ("a.png",), "json": ("b.png",)}
    )
    with pytest.raises(
        UserError, match=r"^0 photographs .* make install EXTRAS=textures"
    ) as refused:
        textures.textures()
    assert "\n" not in str(refused.value)
    textures.textures.cache_clear()


def test_a_wall_a_photograph_two_or_one_out_of_focus_is_behind_everybody():
    backs = [module.backdrop(PHOTOGRAPHS, SIDE, generator(0, "b", k)) for k in range(20)]
    assert {tuple(back.shape) for back in backs} == {(3, SIDE, SIDE)}
    assert all(0 <= float(b.min()) <= float(b.max()) <= 1 for b in backs)


def test_a_picture_of_a_face_covers_a_rectangle_about_it(people):
    who = int(people.face.nonzero()[0, 0])
    wall = torch.full((3, SQUARE + BODY, SQUARE), 0.5)
    scene, faces = torch.zeros(3, 160, 160), list[Face]()
    add_person(scene, faces, people, who, 60.0, 80.0, 80.0, wall)
    covered = (scene.amax(0) > 0).nonzero()
    left, top, right, bottom = faces[0].box.tolist()
    assert covered.amin(0).tolist() == pytest.approx([top, left], abs=6)
    assert covered.amax(0).tolist() == pytest.approx([bottom, right], abs=6)
    assert float(scene.amax(0)[int(top) : int(bottom), int(left) : int(right)].min()) > 0
