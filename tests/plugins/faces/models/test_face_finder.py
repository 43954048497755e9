"""From images to faces: shapes, alignment, the feature sources, and scenes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from plugins.detection.boxes import pairwise_iou
from plugins.detection.models.assignment import cell_centres, heat_targets
from plugins.faces.evaluation.scene_metrics import matches
from plugins.faces.models.alignment import TEMPLATE, mirrored, patches, similarity, upright
from plugins.faces.models.face_finder import (
    PATCH_EXTENT,
    FaceFinder,
    FeatureLevel,
    FeatureSource,
    Located,
    RawOutputs,
    SceneBatch,
)
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.synthetic.scenes import MAX_OVERLAP, synthetic_scenes
from plugins.faces.tasks.faces import Faces, SceneData
from plugins.faces.tasks.scene_batches import augmented

ROUTES: tuple[FeatureSource, ...] = ("joint", "aligned_features", "centre", "two_stage")
SIDE = 96
SCENES = synthetic_scenes(0, 0, 6, SIDE, 0, 10, 4)


def finder(feature_source: FeatureSource) -> FaceFinder:
    torch.manual_seed(0)
    return FaceFinder(feature_source, embedding_size=16, patch_size=12, trunk=(8, 16)).eval()


def batch() -> SceneBatch:
    s = SCENES
    return SceneBatch(s.images, s.boxes, s.landmarks, s.people, s.image_index, located())


def located() -> Located:
    return Located(SCENES.boxes, SCENES.landmarks, SCENES.image_index)


def test_the_template_is_carried_onto_itself_by_the_identity():
    matrix = similarity(torch.tensor(TEMPLATE)[None])
    assert torch.allclose(matrix[0], torch.eye(2, 3), atol=1e-6)


def test_a_turned_scaled_and_shifted_template_is_found_again():
    turn = 3.0 * torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    shift = torch.tensor([40.0, -7.0])
    matrix = similarity((torch.tensor(TEMPLATE) @ turn.T + shift)[None])
    assert torch.allclose(matrix[0], torch.cat([turn, shift[:, None]], 1), atol=1e-5)


def test_a_similarity_is_the_best_of_all_near_it():
    generator = torch.Generator().manual_seed(0)
    points = 20 * torch.tensor(TEMPLATE) + torch.randn(5, 2, generator=generator) + 30
    best = similarity(points[None])[0]
    t = torch.tensor(TEMPLATE)

    def error(matrix: torch.Tensor) -> float:
        return float((t @ matrix[:, :2].T + matrix[:, 2] - points).square().sum())

    for k in range(20):
        a, b, x, y = 0.2 * torch.randn(4, generator=generator)
        changed = best + torch.tensor([[a, -b, x], [b, a, y]])
        assert error(changed) > error(best), k


def test_a_patch_lies_upright_whatever_the_turn_in_the_image():
    """A picture whose brightness rises along the face's own axis: so it does in the patch."""
    ramp = torch.linspace(0, 1, 64)
    # Brighter downwards.
    image = ramp[None, None, :, None].expand(1, 1, 64, 64)
    for angle in (0.0, 0.9, 2.5):
        c, s = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
        turn = 12 * torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
        marks = torch.tensor(TEMPLATE) @ turn.T + 32
        patch = patches(image, torch.tensor([0]), similarity(marks[None]), 8, (64, 64))[0, 0]
        down, across = (patch[7] - patch[0]).mean(), (patch[:, 7] - patch[:, 0]).mean()
        # A patch spans 24 pixels.
        step = 24 * (7 / 8) / 63
        assert abs(down - step * c) < 0.01
        assert abs(across - step * s) < 0.01


def test_an_upright_patch_is_what_lies_in_its_square():
    image = torch.arange(64.0).expand(1, 2, 64, 64)
    # X and y of each pixel.
    image = torch.stack([image[0, 0], image[0, 0].T])[None]
    square = upright(torch.tensor([[20.0, 30.0]]), torch.tensor([4.0]))
    patch = patches(image, torch.tensor([0]), square, 4, (64, 64))[0]
    assert torch.allclose(patch[0, 0], torch.tensor([16.5, 18.5, 20.5, 22.5]), atol=1e-4)
    assert torch.allclose(patch[1, :, 0], torch.tensor([26.5, 28.5, 30.5, 32.5]), atol=1e-4)


def test_patches_are_cut_where_the_route_says():
    """By the box, by the landmarks, or of one size; all around the same head."""
    boxes, marks = SCENES.boxes, SCENES.landmarks
    middle, height = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 3] - boxes[:, 1]
    joint, aligned, centre = (
        finder(feature_source).patch_matrices(located())
        for feature_source in ("joint", "aligned_features", "centre")
    )
    assert torch.allclose(joint[:, :, 2], middle)
    assert torch.allclose(joint[:, 0, 0], PATCH_EXTENT * height)
    assert torch.equal(aligned, similarity(marks))
    assert torch.allclose(centre[:, :, 2], middle)
    # Of 12 places.
    assert torch.allclose(centre[:, 1, 1], torch.full((len(boxes),), 12.0))
    assert not joint[:, 0, 1].any()
    size = aligned[:, :, 0].norm(dim=1) / joint[:, 0, 0]
    assert (size.log().abs() < 0.3).all()


def test_a_joint_feature_needs_no_landmarks():
    model, b = finder("joint"), batch()
    unknown = located()._replace(landmarks=b.landmarks * torch.nan)
    with torch.no_grad():
        outputs = model.raw_outputs(b.images)
        assert torch.equal(
            model.features(outputs, b.images, unknown), model.features(outputs, b.images, located())
        )


def test_mirroring_swaps_left_and_right_landmarks():
    marks = torch.tensor(TEMPLATE) * 20 + 50
    other = mirrored(marks, 100.0)
    assert (other[0, 0] < other[1, 0]) & (other[3, 0] < other[4, 0])
    assert torch.allclose(mirrored(other, 100.0), marks)
    assert torch.allclose(other[:, 0], 100 - marks[[1, 0, 2, 4, 3], 0])


@pytest.mark.parametrize("feature_source", ROUTES)
def test_faces_are_always_tensors_even_where_there_are_none(feature_source):
    model = finder(feature_source)
    detections = model(torch.zeros(2, 3, 70, 45, dtype=torch.uint8), score_threshold=0.9)
    assert len(detections) == 2
    for one in detections:
        assert {n: tuple(v.shape) for n, v in one.items()} == {
            "boxes": (0, 4),
            "scores": (0,),
            "landmarks": (0, 5, 2),
            "embeddings": (0, 16),
        }


@pytest.mark.parametrize("feature_source", ROUTES)
def test_embeddings_have_norm_one_and_scores_fall_and_boxes_stay_inside(feature_source):
    with torch.no_grad():
        detections = finder(feature_source)(SCENES.images, score_threshold=0.0)
    for one in detections:
        assert torch.allclose(
            one["embeddings"].norm(dim=1), torch.ones(len(one["boxes"])), atol=1e-5
        )
        assert (one["scores"].diff() <= 0).all()
        assert one["boxes"].min() >= 0
        assert one["boxes"].max() <= SIDE


@pytest.mark.parametrize("feature_source", ROUTES)
def test_a_face_is_described_alike_alone_and_in_a_batch(feature_source):
    model = finder(feature_source)
    with torch.no_grad():
        together = model(SCENES.images, score_threshold=0.0, max_detections=3)[2]
        alone = model(SCENES.images[2:3], score_threshold=0.0, max_detections=3)[0]
    for name in together:
        assert torch.allclose(together[name], alone[name], atol=1e-4), name


@pytest.mark.parametrize("feature_source", ROUTES)
def test_identity_reaches_the_shared_layers_except_where_nothing_is_shared(feature_source):
    model, b = finder(feature_source), batch()
    outputs = model.raw_outputs(b.images)
    model.features(outputs, b.images, located()).square().sum().backward()
    shared = next(model.pyramid.parameters()).grad
    reached = shared is not None and bool(shared.any())
    assert reached == (feature_source != "two_stage")


def test_late_features_are_shared_by_every_layer_and_early_ones_by_the_first():
    choices: tuple[tuple[FeatureLevel, bool], ...] = (
        ("early", False),
        ("late", True),
        ("both", True),
    )
    for shared, whole in choices:
        model, b = (
            FaceFinder(
                "joint", feature_level=shared, embedding_size=16, patch_size=12, trunk=(8, 16)
            ),
            batch(),
        )
        model.features(model.raw_outputs(b.images), b.images, located()).square().sum().backward()
        for number, stage in enumerate(model.pyramid.stages):
            reached = all(p.grad is not None and bool(p.grad.any()) for p in stage.parameters())
            assert reached == (whole or number == 0), (shared, number)


def test_landmarks_carry_a_gradient_from_the_feature():
    model, b = finder("aligned_features"), batch()
    marks = b.landmarks.clone().requires_grad_()
    faces = located()._replace(landmarks=marks)
    model.features(model.raw_outputs(b.images), b.images, faces).square().sum().backward()
    assert marks.grad is not None
    assert marks.grad.isfinite().all()
    assert marks.grad.any()


def test_a_hand_made_peak_is_read_as_the_exact_box_and_landmarks(monkeypatch):
    """Place (5, 7) of a map of stride 4 has its centre at (30, 22)."""
    model = finder("joint")
    blank = model.raw_outputs(SCENES.images[:1])
    logits = torch.full_like(blank.logits, -9.0)
    logits[0, 0, 5, 7] = 3.0
    distances = torch.tensor([10.0, 11, 12, 13])[None, :, None, None].expand(1, 4, 24, 24)
    offsets = torch.arange(10.0)[None, :, None, None].expand(1, 10, 24, 24) / 8
    outputs = RawOutputs(logits, distances, offsets, blank.fine, blank.wide)
    monkeypatch.setattr(model, "raw_outputs", lambda images: outputs)
    (detections,) = model(SCENES.images[:1])
    assert detections["boxes"].tolist() == [[20, 11, 42, 35]]
    expected = torch.tensor([30.0, 22]) + torch.arange(10.0).reshape(5, 2)
    assert torch.allclose(detections["landmarks"][0], expected)
    assert torch.allclose(detections["scores"], torch.tensor([3.0]).sigmoid())


def test_losses_vanish_of_exact_predictions():
    model, b = finder("joint"), batch()
    outputs = model.raw_outputs(b.images)
    shape = outputs.logits.shape
    target = heat_targets(
        b.boxes,
        torch.zeros_like(b.people),
        b.image_index,
        (len(b.images), 1, shape[2], shape[3]),
        4,
    )
    centres = cell_centres(shape[2], shape[3], 4)
    places = shape[2] * shape[3]
    distances, marks = (torch.zeros(len(b.images), n, places) for n in (4, 10))
    for thing, cell in zip(target.object.tolist(), target.cell.tolist(), strict=True):
        box, centre, image = b.boxes[thing], centres[cell], int(b.image_index[thing])
        distances[image, :, cell] = torch.cat([centre - box[:2], box[2:] - centre])
        marks[image, :, cell] = ((b.landmarks[thing] - centre) / 8).flatten()
    right = RawOutputs(
        torch.where(target.heat == 1, 15.0, -15.0),
        distances.reshape(-1, 4, *shape[2:]),
        marks.reshape(-1, 10, *shape[2:]),
        outputs.fine,
        outputs.wide,
    )
    losses = model.losses(right, b)
    assert losses["box"] < 1e-5
    assert losses["landmarks"] < 1e-5
    assert losses["centre"] < 1e-3
    assert all(loss > 0.1 for loss in model.losses(outputs, b).values())


def test_losses_of_images_without_faces_are_finite_and_only_about_centres():
    model = finder("aligned_features").train()
    images = torch.zeros(2, 3, SIDE, SIDE)
    none = torch.zeros(0, dtype=torch.long)
    nowhere = Located(torch.zeros(0, 4), torch.zeros(0, 5, 2), none)
    empty = SceneBatch(images, nowhere.boxes, nowhere.landmarks, none, none, nowhere)
    losses = model.losses(model.raw_outputs(images), empty)
    assert losses["centre"] > 0
    assert losses["box"] == losses["landmarks"] == 0
    torch.stack(list(losses.values())).sum().backward()


def test_faces_without_known_landmarks_have_no_landmark_loss():
    model, b = finder("joint"), batch()
    unknown = SceneBatch(
        b.images, b.boxes, b.landmarks * torch.nan, b.people, b.image_index, b.jittered
    )
    losses = model.losses(model.raw_outputs(b.images), unknown)
    assert losses["landmarks"] == 0
    assert losses["box"] > 0


def test_each_face_is_matched_with_its_surest_detection_only():
    true = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    detections = torch.tensor([[0.0, 0, 9, 10], [0, 0, 10, 10], [50, 50, 60, 60], [20, 21, 30, 30]])
    assert matches(detections, true) == [(0, 0), (3, 1)]
    assert matches(detections[:0], true) == []
    assert matches(detections, true[:0]) == []


def test_scenes_hold_faces_of_ten_to_sixty_pixels_that_hide_little_of_each_other():
    scenes = synthetic_scenes(0, 0, 40, 160, 0, 30, 8)
    height = scenes.boxes[:, 3] - scenes.boxes[:, 1]
    assert height.min() > 8
    assert height.max() < 63
    assert (height < 20).any()
    assert (height > 40).any()
    assert scenes.image_index.diff().min() >= 0
    counts = torch.bincount(scenes.image_index, minlength=40)
    # Some are empty.
    assert counts.min() == 0
    assert counts.max() > 5
    for scene in range(40):
        boxes = scenes.boxes[scenes.image_index == scene]
        alike = pairwise_iou(boxes, boxes) - torch.eye(len(boxes))
        assert (alike < MAX_OVERLAP + 0.15).all()
        people = scenes.people[scenes.image_index == scene]
        assert len(people.unique()) == len(people)


def test_a_scene_is_the_same_whichever_scenes_it_is_drawn_with():
    alone = synthetic_scenes(0, 3, 1, SIDE, 0, 10, 4)
    assert (alone.images[0].int() - SCENES.images[3].int()).abs().max() <= 1
    assert torch.allclose(alone.boxes, SCENES.boxes[SCENES.image_index == 3], atol=1e-3)


def test_chosen_scenes_keep_their_faces():
    some = SCENES.chosen(torch.tensor([4, 1]))
    assert torch.equal(some.images, SCENES.images[[4, 1]])
    assert torch.equal(some.boxes[some.image_index == 0], SCENES.boxes[SCENES.image_index == 4])
    assert torch.equal(some.people[some.image_index == 1], SCENES.people[SCENES.image_index == 1])


def test_mirrored_scenes_have_their_boxes_and_landmarks_where_the_faces_are():
    flipped = 0
    for number in range(8):
        draw = torch.Generator().manual_seed(number)
        b = augmented(SCENES, number, 0.0, draw)
        for k in range(len(SCENES)):
            mine = b.image_index == k
            same = torch.equal(b.boxes[mine], SCENES.boxes[mine])
            gain = SCENES.images[k].float().mean((1, 2)) / b.images[k].mean((1, 2)).clamp(min=1)
            straight = (b.images[k] * gain[:, None, None] - SCENES.images[k].float()).abs().mean()
            turned = (
                (b.images[k] * gain[:, None, None] - SCENES.images[k].flip(2).float()).abs().mean()
            )
            if mine.any():
                assert same == bool(straight < turned)
                flipped += not same
                left, right = b.landmarks[mine, 0, 0], b.landmarks[mine, 1, 0]
                assert (
                    (left < right) == (SCENES.landmarks[mine, 0, 0] < SCENES.landmarks[mine, 1, 0])
                ).all()
                inside = (b.landmarks[mine, 2] > b.boxes[mine, :2]) & (
                    b.landmarks[mine, 2] < b.boxes[mine, 2:]
                )
                assert inside.all()
    assert flipped > 5


def test_an_embedder_gives_unit_norms_for_half_precision_and_for_nothing():
    assert torch.allclose(
        unit(torch.randn(3, 8).half() * 100).norm(dim=1), torch.ones(3), atol=1e-6
    )
    tiny = unit(torch.full((1, 8), 1e-4).half())
    assert torch.allclose(tiny.norm(dim=1), torch.ones(1), atol=1e-6)
    zero = torch.zeros(1, 8, requires_grad=True)
    unit(zero).sum().backward()
    assert unit(zero).isfinite().all()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_an_embedding_is_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    model = Embedder(32, embedding_size=8, widths=(8, 16)).eval()
    images = torch.randint(0, 255, (5, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(model(images)[2], model(images[2:3])[0], atol=1e-5)


def test_an_even_light_forgets_exposure_and_contrast():
    torch.manual_seed(0)
    model = Embedder(32, embedding_size=8, widths=(8,), standardise=True).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(unit(model(image)), unit(model(0.8 * image + 0.1)), atol=0.15)
        assert model.prepared(0.3 * image).mean().abs() < 1e-5


def test_nothing_is_learned_of_places_in_ignored_boxes():
    """No slope there, but at the centre of a face; elsewhere the very same one."""
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 255
    face, other = torch.tensor([[8.0, 8, 32, 32]]), torch.tensor([[16.0, 16, 80, 72]])
    # Between the centres of places.
    small = torch.tensor([[85.0, 85, 87, 87]])
    unknown, first = torch.tensor([-1]), torch.tensor([0])
    landmarks = torch.full((1, 5, 2), torch.nan)
    batch = SceneBatch(images, face, landmarks, unknown, first, Located(face, landmarks, first))
    ignoring = replace(
        batch, ignored=torch.cat([other, small]), ignored_image_index=torch.tensor([0, 0])
    )
    network = finder("joint")

    def slope(batch: SceneBatch) -> torch.Tensor:
        outputs = network.raw_outputs(batch.images)
        loss = network.losses(outputs, batch)["centre"]
        return torch.autograd.grad(loss, outputs.logits)[0][0, 0]

    before, after = slope(batch), slope(ignoring)
    hidden = torch.zeros(SIDE // 4, SIDE // 4, dtype=torch.bool)
    # Places whose centres lie within half a place of the boxes.
    hidden[3:19, 3:21] = True
    hidden[21, 21] = True
    # The face's own.
    hidden[5, 5] = False
    assert (before != 0).all()
    assert torch.equal(after, torch.where(hidden, 0.0, before))


def test_the_margin_waits_for_its_batch(monkeypatch):
    task = Faces(data=SceneData(side=96, scenes=4, people=10), margin_start=3, embedding_size=8)
    identity: Any = task.model.identity
    scales: list[float] = []

    def margin_cosine(target: torch.Tensor, lengths: torch.Tensor, margin: float) -> torch.Tensor:
        scales.append(margin / identity.margin)
        return target

    monkeypatch.setattr(identity, "margin_cosine", margin_cosine)
    context: Any = SimpleNamespace(cost=lambda value, name: None)
    for number in (0, 2, 3):
        task.objective(context, replace(batch(), number=number))
    # The loss, then the loss at chance.
    assert scales == [0.0] * 4 + [1.0] * 2
