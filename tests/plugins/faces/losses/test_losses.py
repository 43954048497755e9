"""Identity losses: closed forms, and the mistakes that published ones are known for."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from framework import UserError
from framework.plugin import registry
from framework.training.updates.optimization import adamw
from plugins.faces.losses.class_losses import (
    AdaFace,
    ArcFace,
    CosFace,
    CurricularFace,
    MagFace,
    NormalisedSoftmax,
    Softmax,
    SubCentreArcFace,
)
from plugins.faces.losses.identity_loss import IdentityLoss, make_loss
from plugins.faces.losses.pair_losses import BatchHardTriplet, Contrastive, SemiHardTriplet, SupCon
from plugins.faces.models.networks import unit

NAMES = registry().names("faces.losses")
ANGULAR = ["arcface", "sub_centre_arcface", "adaface", "magface", "curricularface"]
D, PEOPLE = 16, 5


def build_loss(name: str, **options: object) -> IdentityLoss:
    torch.manual_seed(1)
    return make_loss({"name": name, **options}, D, PEOPLE, "task.loss")


def faces(count: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    return torch.randn(count, D, requires_grad=True), torch.arange(count) % PEOPLE


def on_plane(*degrees: float) -> torch.Tensor:
    angles = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_all_twelve_losses_are_registered():
    assert len(NAMES) == 12


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_finite_and_reaches_the_features(name):
    features, people = faces()
    loss = build_loss(name)(features, people)
    loss.backward()
    assert loss.isfinite()
    assert loss.shape == ()
    assert features.grad is not None
    assert features.grad.isfinite().all()
    assert features.grad.any()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"softmax", "magface", "adaface"}))
def test_a_loss_of_directions_does_not_change_when_features_are_scaled(name):
    features, people = faces()
    loss = build_loss(name).eval()
    assert torch.allclose(loss(features, people), loss(7.5 * features, people), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_people_numbered_minus_one_have_no_identity_gradient(name):
    features, people = faces()
    people = people.clone()
    people[:4] = -1
    build_loss(name)(features, people).backward()
    assert features.grad is not None
    assert not features.grad[:4].any()
    assert features.grad[4:].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_unknown_people_costs_nothing_and_has_a_gradient_of_nothing(name):
    features, people = faces()
    loss = build_loss(name)(features, torch.full_like(people, -1))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize(
    "name", ["contrastive", "triplet_batch_hard", "triplet_semi_hard", "supcon"]
)
@pytest.mark.parametrize("people", [[0, 1, 2, 3], [2, 2, 2, 2]])
def test_a_batch_without_positives_or_negatives_costs_nothing(name, people):
    features = torch.randn(4, D, requires_grad=True)
    loss = build_loss(name)(features, torch.tensor(people))
    loss.backward()
    assert loss.item() == 0
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize("name", ["cosface", *sorted(set(ANGULAR) - {"sub_centre_arcface"})])
def test_without_margin_and_with_scale_one_the_logits_are_the_cosines(name):
    options = {"reward": 0.0} if name == "magface" else {}
    loss = build_loss(name, margin=0.0, scale=1.0, **options).eval()
    features, people = faces()
    prototypes = dict(loss.named_parameters())["prototypes"]
    cosines = unit(features) @ unit(prototypes).T
    if name == "curricularface":
        cosines = torch.where(cosines > cosines.gather(1, people[:, None]), cosines**2, cosines)
    assert torch.allclose(loss(features, people), cross_entropy(cosines, people), atol=1e-6)


def test_cosface_in_closed_form():
    loss = CosFace(2, 2, scale=4.0, margin=0.3)
    with torch.no_grad():
        loss.prototypes.copy_(on_plane(0, 90))
    value = loss(3 * on_plane(30), torch.tensor([0])).item()
    own, other = 4 * (math.cos(math.pi / 6) - 0.3), 4 * math.sin(math.pi / 6)
    assert abs(value - math.log(1 + math.exp(other - own))) < 1e-6


def test_arcface_in_closed_form():
    loss = ArcFace(2, 2, scale=4.0, margin=0.3)
    with torch.no_grad():
        loss.prototypes.copy_(on_plane(0, 90))
    value = loss(on_plane(30), torch.tensor([0])).item()
    own, other = 4 * math.cos(math.pi / 6 + 0.3), 4 * math.sin(math.pi / 6)
    assert abs(value - math.log(1 + math.exp(other - own))) < 1e-6


def test_straight_through_hands_the_scale_itself_to_the_own_cosine():
    """d logit / d cosine == s, whatever the angle."""
    loss = ArcFace(2, 2, scale=4.0, margin=0.5, gradient="straight_through")
    cosines = torch.tensor([[0.9, 0.1], [-0.7, 0.4]], requires_grad=True)
    logits = loss.logits(cosines, torch.tensor([0, 0]), torch.ones(2), 1.0)
    logits[:, 0].sum().backward()
    assert cosines.grad is not None
    assert torch.equal(cosines.grad[:, 0], torch.tensor([4.0, 4.0]))


def test_of_several_centres_the_nearest_counts():
    loss = SubCentreArcFace(2, 2, scale=4.0, margin=0.0, sub_centres=2)
    with torch.no_grad():
        loss.prototypes.copy_(on_plane(0, 180, 90, 270))
    assert torch.allclose(
        loss.cosines(on_plane(170).float()),
        torch.tensor([[math.cos(math.radians(10)), math.cos(math.radians(80))]]),
        atol=1e-6,
    )


def test_adaface_takes_the_margin_by_angle_for_long_features_and_as_a_difference_for_short_ones():
    loss = AdaFace(2, 2, margin=0.4).eval()
    with torch.no_grad():
        loss.mean_length.fill_(2.0)
        loss.deviation.fill_(0.1)
    own, lengths = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([9.0, 2.0, 0.1])
    t = math.acos(0.5)
    expected = [math.cos(t - 0.4) - 0.8, 0.5 - 0.4, math.cos(t + 0.4)]
    assert torch.allclose(loss.margin_cosine(own, lengths, 0.4), torch.tensor(expected), atol=1e-5)


@pytest.mark.parametrize("angle", [0.02, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0])
def test_adafaces_gradient_is_that_of_its_value_and_never_pushes_a_face_away_from_its_person(angle):
    loss = AdaFace(2, 2, margin=0.4, gradient="exact").eval()
    with torch.no_grad():
        loss.mean_length.fill_(2.0)
        loss.deviation.fill_(0.1)
    # z = 1: the angle with the margin is t - m.
    target = torch.tensor([math.cos(angle)], dtype=torch.float64, requires_grad=True)
    loss.margin_cosine(target, torch.tensor([9.0]), 0.4).sum().backward()
    free = torch.tensor([math.cos(angle)], dtype=torch.float64, requires_grad=True)
    (free.acos() - 0.4).cos().sum().backward()
    assert target.grad is not None
    assert free.grad is not None
    found, unclipped = target.grad.item(), free.grad.item()
    if angle < 0.4:
        # Below t = m z the cosine of t - m z falls as the face comes closer to its person.
        assert unclipped < 0
        assert 0 <= found < 0.06
    else:
        assert found == pytest.approx(unclipped, rel=1e-5)


def test_magface_gives_longer_features_a_greater_margin_and_draws_at_their_length():
    loss = MagFace(D, PEOPLE, margin=0.4)
    own = torch.tensor([0.5, 0.5])
    short, long_ = loss.margin_cosine(own, torch.tensor([2.0, 8.0]), 0.4).tolist()
    assert abs(short - math.cos(math.acos(0.5) + 0.2)) < 1e-6
    assert abs(long_ - math.cos(math.acos(0.5) + 0.4)) < 1e-6
    lengths = torch.tensor([4.0], requires_grad=True)
    loss.margin_cosine(own[:1], lengths, 0.4).sum().backward()
    assert lengths.grad is not None
    assert lengths.grad.item() < 0


def test_curricularface_counts_near_strangers_more_as_it_goes():
    loss = CurricularFace(2, 3, scale=1.0, margin=0.0).eval()
    cosines, people = torch.tensor([[0.5, 0.8, 0.1]]), torch.tensor([0])
    early = loss.logits(cosines, people, torch.ones(1), 1.0)
    loss.progress.fill_(0.7)
    later = loss.logits(cosines, people, torch.ones(1), 1.0)
    assert torch.allclose(early, torch.tensor([[0.5, 0.64, 0.1]]))
    assert torch.allclose(later, torch.tensor([[0.5, 0.8 * 1.5, 0.1]]))


def test_contrastive_in_closed_form():
    embeddings, people = on_plane(0, 60, 90), torch.tensor([0, 0, 1])
    distances = [2 * math.sin(math.radians(a) / 2) for a in (90, 30)]
    # 60 degrees: distance 1.
    expected = 1.0 + sum(max(0.0, 1.2 - d) ** 2 for d in distances) / 2
    assert abs(Contrastive(2, 2, margin=1.2)(embeddings, people).item() - expected) < 1e-5


def test_batch_hard_triplets_in_closed_form():
    embeddings, people = on_plane(0, 60, 90), torch.tensor([0, 0, 1])
    far, near = 2 * math.sin(math.radians(45)), 2 * math.sin(math.radians(15))
    expected = (max(0.0, 1 - far + 0.5) + max(0.0, 1 - near + 0.5)) / 2
    assert abs(BatchHardTriplet(2, 2, margin=0.5)(embeddings, people).item() - expected) < 1e-5


def test_semi_hard_triplets_take_the_nearest_stranger_beyond_ones_own():
    embeddings, people = on_plane(0, 30, -20, 50, 120), torch.tensor([0, 0, 1, 2, 3])
    square = {a: 2 - 2 * math.cos(math.radians(a)) for a in (20, 30, 50, 90, 120)}
    # From 0: strangers at 20 (too near), 50 and 120.
    first = square[30] - square[50] + 0.9
    # From 30: strangers at 50, 20 (too near) and 90.
    second = square[30] - square[50] + 0.9
    expected = (max(0.0, first) + max(0.0, second)) / 2
    assert abs(SemiHardTriplet(2, 4, margin=0.9)(embeddings, people).item() - expected) < 1e-5


def test_supcon_in_closed_form():
    embeddings, people = on_plane(0, 60, 90), torch.tensor([0, 0, 1])
    t = 0.5
    c = {a: math.exp(math.cos(math.radians(a)) / t) for a in (30, 60, 90)}
    expected = -(math.log(c[60] / (c[60] + c[90])) + math.log(c[60] / (c[60] + c[30]))) / 2
    assert abs(SupCon(2, 2, temperature=t)(embeddings, people).item() - expected) < 1e-5


def test_chance_is_the_loss_of_features_that_say_nothing():
    people = torch.arange(20) % 160
    assert abs(Softmax(D, 160).loss_at_chance(people) - math.log(160)) < 1e-9
    cosface = CosFace(D, 160, scale=10.0, margin=0.4)
    assert abs(cosface.loss_at_chance(people) - math.log(1 + 159 * math.exp(4.0))) < 1e-4
    assert abs(cosface.loss_at_chance(people, 0.0) - math.log(160)) < 1e-5
    arcface = ArcFace(D, 160, scale=10.0, margin=0.4)
    assert (
        abs(arcface.loss_at_chance(people) - math.log(1 + 159 * math.exp(10 * math.sin(0.4))))
        < 1e-4
    )
    twice = torch.arange(8) // 2
    assert abs(SupCon(D, 4).loss_at_chance(twice) - math.log(7)) < 1e-5


def test_running_statistics_take_no_note_of_chance():
    loss = AdaFace(D, PEOPLE)
    before = loss.mean_length.clone()
    loss.loss_at_chance(torch.arange(4))
    assert torch.equal(loss.mean_length, before)
    assert loss.training


def test_weight_decay_leaves_class_prototypes_alone():
    loss = NormalisedSoftmax(D, PEOPLE)
    layer = torch.nn.Linear(D, D)
    optimizer = adamw([*layer.parameters(), *loss.parameters()], weight_decay=0.5)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(loss.prototypes)] == 0
    assert {decay[id(p)] for p in layer.parameters()} == {0.5}


def test_an_unknown_loss_an_unknown_option_and_another_plugins_loss_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"task.loss.name = 'arcfase'.*did you mean 'arcface'"):
        build_loss("arcfase")
    with pytest.raises(UserError, match=r"unknown key 'task.loss.margn'; did you mean 'margin'"):
        build_loss("cosface", margn=0.2)
    with pytest.raises(UserError, match=r"task\.loss\.margin = -1\.0"):
        build_loss("cosface", margin=-1.0)
