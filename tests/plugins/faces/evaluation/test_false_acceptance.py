"""A stated false acceptance rate holds on other people, and is refused where people are too few to state it."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from framework import UserError
from plugins.faces.evaluation.calibration import (
    FILE,
    Calibration,
    IdentificationRate,
    load_calibration,
    no_calibration,
)
from plugins.faces.evaluation.clustering import clusters
from plugins.faces.evaluation.false_acceptance import impostors, listed_impostors, people_for
from plugins.faces.evaluation.identification import identification_rates
from plugins.faces.models.networks import unit


def features(
    people: int, each: int, generator: torch.Generator, world: str = "even"
) -> tuple[Tensor, Tensor]:
    """Pictures of people drawn at random: evenly on a sphere, in four groups of alike people, or in unequal light."""
    size, noise = 24, 0.75
    centres = torch.randn(people, size, generator=generator)
    if world == "groups":
        styles = 0.8 * torch.randn(4, size, generator=torch.Generator().manual_seed(6))
        centres += styles[torch.randint(4, (people,), generator=generator)]
    pictures = centres.repeat_interleave(each, 0)
    pictures += noise * torch.randn(pictures.shape, generator=generator)
    if world == "light":
        dark = torch.rand(len(pictures), 1, generator=generator) ** 3
        pictures = (1 - dark) * pictures + 5 * dark * torch.eye(size)[0]
    return unit(pictures), torch.arange(people).repeat_interleave(each)


def true_cosines(world: str, generator: torch.Generator) -> Tensor:
    """Of 1,200 other people, sorted."""
    fresh, _ = features(1200, 1, generator, world)
    upper, lower = torch.triu_indices(1200, 1200, 1)
    return (fresh @ fresh.T)[upper, lower].sort().values


@pytest.mark.slow
@pytest.mark.parametrize("world", ["even", "groups", "light"])
def test_the_false_acceptance_rate_of_other_people_is_at_most_the_stated_one(world):
    """In 95 of 100 repetitions and more, for 5, 15 and 100 people and every rate that is accepted."""
    generator = torch.Generator().manual_seed(0)
    cosines = true_cosines(world, generator)
    for people, fars in ((5, (0.3, 0.1)), (15, (0.1, 0.03, 0.01)), (100, (0.01, 0.001))):
        held = dict.fromkeys(fars, 0)
        for _ in range(100):
            measured = impostors(*features(people, 10, generator, world))
            for far in fars:
                bound = torch.tensor(measured.bound(far, 0.99))
                held[far] += 1 - int(torch.searchsorted(cosines, bound)) / len(cosines) <= far
        assert min(held.values()) >= 95, (people, held)


def test_fifteen_people_bound_a_rate_of_one_in_a_hundred():
    """The same at one size, in half a second."""
    generator = torch.Generator().manual_seed(1)
    cosines = true_cosines("even", generator)
    held, plain = 0, 0
    for _ in range(20):
        measured = impostors(*features(15, 4, generator))
        bound = torch.tensor(measured.threshold_at(0.01))
        held += 1 - int(torch.searchsorted(cosines, bound)) / len(cosines) <= 0.01
        quantile = measured.quantiles(0.01)[0].float()
        plain += 1 - int(torch.searchsorted(cosines, quantile)) / len(cosines) <= 0.01
    assert held >= 19
    # What counting pairs as independent does.
    assert plain < 15


def test_pairs_of_people_count_and_not_pictures():
    for each in (2, 30):
        measured = impostors(*features(5, each, torch.Generator().manual_seed(0)))
        assert measured.person_pairs == 10
        assert measured.cosines == 10 * each**2
        with pytest.raises(UserError, match=r"far = 0\.01 needs 100 pairs of people, so 15 people"):
            measured.check(0.01)
        measured.check(0.1)
    with pytest.raises(UserError, match=r"4 people: a threshold needs 5 people or more"):
        impostors(*features(4, 5, torch.Generator().manual_seed(0))).threshold_at(0.2)
    with pytest.raises(UserError, match="between 0 and 1"):
        measured.threshold_at(1.5)


@pytest.mark.parametrize("people", [5, 15, 46, 100])
def test_the_number_of_people_for_a_rate_makes_that_many_pairs(people):
    far = 2 / (people * (people - 1))
    assert people_for(far) == people
    assert people_for(far * 0.999) == people + 1


def test_a_pair_of_people_counts_once_however_many_pictures_they_have():
    """Two people alike with many pictures, all others orthogonal: one of ten pairs is accepted."""
    embeddings = torch.cat(
        [torch.eye(5)[:1].repeat(9, 1), torch.eye(5)[:1].repeat(9, 1), torch.eye(5)[1:4]]
    )
    people = torch.tensor([0] * 9 + [1] * 9 + [2, 3, 4])
    measured = impostors(embeddings, people)
    assert measured.far_at(0.9) == pytest.approx(0.1)
    low, high = measured.interval_at(0.9)
    assert low == 0
    assert 0.1 < high < 0.6


def test_the_jackknife_gives_a_means_standard_error():
    """Pairs whose cosine is the sum of two people's effects: the variance of the mean is 4 / P of the effects'."""
    generator, mean = torch.Generator().manual_seed(3), []
    estimated = []
    for _ in range(100):
        effects = 0.1 * torch.randn(20, generator=generator)
        first, second = torch.triu_indices(20, 20, 1)
        cosines = (effects[first] + effects[second]).tanh()
        measured = listed_impostors(cosines, first.tolist(), second.tolist())
        mean.append(float(measured.moments[1] / measured.moments[0]))
        left = measured.moments - measured.moments_by_person
        values = left[:, 1] / left[:, 0]
        estimated.append(19 / 20 * float((values - values.mean()).square().sum()))
    assert torch.tensor(mean).var().item() == pytest.approx(4 / 20 * 0.01, rel=0.5)
    assert sum(estimated) / 100 == pytest.approx(4 / 20 * 0.01, rel=0.15)


def test_all_pairs_and_the_same_pairs_listed_have_the_same_threshold():
    embeddings, people = features(12, 3, torch.Generator().manual_seed(0))
    upper, lower = torch.triu_indices(36, 36, 1)
    different = people[upper] != people[lower]
    cosines = (embeddings[upper] * embeddings[lower]).sum(1)[different]
    listed = listed_impostors(
        cosines, people[upper][different].tolist(), people[lower][different].tolist()
    )
    whole = impostors(embeddings, people)
    assert listed.person_pairs == whole.person_pairs == 66
    for far in (0.3, 0.05):
        assert listed.threshold_at(far) == pytest.approx(whole.threshold_at(far), abs=0.002)


def test_people_who_differ_too_much_have_no_threshold():
    embeddings = torch.eye(5)[:2].repeat_interleave(6, 0)
    people = torch.arange(6).repeat_interleave(2)
    with pytest.raises(UserError, match="the 6 people differ too much"):
        impostors(embeddings, people).threshold_at(0.1)


def test_stricter_rates_have_higher_thresholds():
    curve = impostors(*features(30, 5, torch.Generator().manual_seed(0))).curve(0.0)
    fars, thresholds = zip(*curve, strict=True)
    assert list(fars) == sorted(fars)
    assert list(thresholds) == sorted(thresholds, reverse=True)
    assert fars[0] == pytest.approx(2 / (30 * 29))


def test_false_positives_of_a_gallery_are_counted_over_everybody_in_it():
    embeddings, people = features(60, 6, torch.Generator().manual_seed(0))
    rates = identification_rates(embeddings, people)
    by = {(rate.gallery, rate.fpir): rate for rate in rates}
    assert by[1, 0.1].threshold < by[10, 0.1].threshold < by[50, 0.1].threshold
    assert by[10, 0.03].threshold >= by[10, 0.3].threshold
    assert by[10, 0.03].fnir >= by[10, 0.3].fnir
    assert (50, 0.03) not in by
    perfect = identification_rates(
        torch.eye(8).repeat_interleave(4, 0), torch.arange(8).repeat_interleave(4)
    )
    assert perfect
    assert all(rate.fnir == 0 for rate in perfect)


def test_the_union_bound_keeps_a_gallerys_false_positives_at_the_stated_rate():
    generator = torch.Generator().manual_seed(2)
    measured = impostors(*features(60, 5, generator))
    usual = calibration(thresholds=measured.curve(0.0))
    exceeded = 0
    for _ in range(20):
        gallery, _ = features(10, 4, generator)
        means = gallery.unflatten(0, (10, 4)).mean(1)
        strangers, _ = features(400, 1, generator)
        accepted = (strangers @ means.T).amax(1) >= usual.identification_threshold(0.05, 10)
        exceeded += float(accepted.double().mean()) > 0.05
    assert exceeded <= 1


def calibration(**fields: object) -> Calibration:
    usual: dict[str, object] = {
        "threshold": 0.4,
        "far": 0.01,
        "confidence": 0.99,
        "far_estimate": 0.004,
        "far_interval": (0.0, 0.008),
        "tar": 0.9,
        "data": "/people",
        "people": 15,
        "pictures": 30,
        "person_pairs": 105,
        "impostor_pairs": 420,
        "genuine_pairs": 15,
        "model": "abc",
        "made": "2026-05-01",
        "thresholds": [(0.01, 0.4), (0.1, 0.2)],
        "identification": [IdentificationRate(gallery=5, fpir=0.1, threshold=0.3, fnir=0.2)],
    }
    return Calibration.model_validate(usual | fields)


def test_a_threshold_is_only_taken_with_its_far_its_data_and_its_model(tmp_path: Path):
    path = tmp_path / FILE
    assert load_calibration(path, "abc") is None
    assert "no threshold without data" in str(no_calibration(tmp_path))
    calibration().save(path)
    assert load_calibration(path, "abc") == calibration()
    with pytest.raises(UserError, match="another checkpoint"):
        load_calibration(path, "xyz")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threshold", 1.5),
        ("threshold", math.nan),
        ("threshold", "0.4"),
        ("far", 0),
        ("data", ""),
        ("people", -3),
        ("people", True),
        ("thresholds", []),
        ("thresholds", [[0.1, 2.0]]),
        ("model", "a\nb"),
        ("made", "yesterday"),
        ("tar", None),
        ("colour", 3),
    ],
)
def test_a_calibration_with_a_field_that_cannot_be_is_refused_in_one_line(tmp_path, field, value):
    path = tmp_path / FILE
    content = json.loads(calibration().model_dump_json()) | {field: value}
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=field) as refused:
        load_calibration(path, "abc")
    assert str(refused.value).isprintable()
    for text in ("", "[" * 100_000, "{"):
        path.write_text(text)
        with pytest.raises(UserError, match="writes it again") as refused:
            load_calibration(path, "abc")
        assert str(refused.value).isprintable()


def test_identification_is_stricter_than_verification_and_the_more_the_larger_the_gallery():
    usual = calibration()
    assert usual.identification_threshold(0.1, 1) == 0.2
    assert usual.identification_threshold(0.1, 2) == 0.4
    with pytest.raises(
        UserError, match=r"fpir = 0.1 in a gallery of 100 .* 46 people, it was on 15: none"
    ):
        usual.identification_threshold(0.1, 100)
    with pytest.raises(UserError, match=r"the lowest here is fpir=0.2"):
        usual.identification_threshold(0.1, 20)
    with pytest.raises(UserError, match="between 0 and 1"):
        usual.identification_threshold(0.0, 1)


def test_faces_are_grouped_while_they_are_near_on_average():
    embeddings = unit(
        torch.tensor([[1.0, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [0, 0, 1], [1, 0.05, 0]])
    )
    assert clusters(embeddings, 0.8) == [[0, 2, 4], [1], [3]]
    assert clusters(embeddings, -1.0) == [[0, 1, 2, 3, 4]]
    assert clusters(embeddings[:1], 0.5) == [[0]]
    assert clusters(embeddings[:0], 0.5) == []
