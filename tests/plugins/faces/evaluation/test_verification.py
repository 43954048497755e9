"""Verification measured on embeddings whose answers are known."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from framework import UserError
from plugins.faces.evaluation import verification as verification_module
from plugins.faces.evaluation.verification import (
    RESAMPLED,
    Roc,
    all_pairs,
    interval,
    pairs_roc,
    people_folds,
    ten_fold,
    verification,
)
from plugins.faces.models.networks import unit


def noise(people: int, each: int, seed: int, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    embeddings = unit(torch.randn(people * each, size, generator=generator))
    return embeddings, torch.arange(people).repeat_interleave(each)


def test_perfect_embeddings_make_no_error():
    embeddings = torch.eye(6).repeat_interleave(4, 0)
    measured = verification(embeddings, torch.arange(6).repeat_interleave(4))
    assert measured["eer"] == 0
    assert measured["tar_at_far_0.01"] == 1
    assert measured["accuracy"] == 1
    assert measured["impostor_pairs"] == 24 * 20 / 2
    assert measured["genuine_pairs"] == 6 * 6


def test_pure_noise_is_told_apart_half_of_the_time():
    """Fold accuracy and EER of uninformative embeddings: one half, over twelve repeats."""
    measured = [verification(*noise(40, 5, seed)) for seed in range(12)]
    for name in ("accuracy", "eer"):
        values = torch.tensor([f[name] for f in measured])
        z = (values.mean() - 0.5) / (values.std() / math.sqrt(len(values)))
        assert abs(values.mean() - 0.5) < 0.01 or abs(z) < 4, name


def test_choosing_the_threshold_on_the_judged_fold_itself_would_flatter_noise():
    """Why folds split people: the best threshold on the very pairs that are evaluated lies above one half."""
    embeddings, people = noise(20, 4, 3)
    curve = all_pairs(embeddings, people).roc()
    assert float(((curve.tar + 1 - curve.far) / 2).max()) > 0.5
    assert ten_fold(embeddings, people) < float(((curve.tar + 1 - curve.far) / 2).max())


def test_known_pairs_have_the_error_rates_that_can_be_counted():
    cosines = torch.tensor([0.9, 0.8, 0.7, 0.2, 0.75, 0.3, 0.1, 0.0])
    same = torch.tensor([True] * 4 + [False] * 4)
    curve = pairs_roc(cosines, same)
    assert curve.impostors == 4
    assert curve.genuines == 4
    # Accepts from 0.7 or 0.3 on: one of four wrong on either side.
    assert abs(curve.eer() - 0.25) < 1e-9
    assert curve.tar_at(0.25) == 0.75
    assert 0.3 < curve.threshold_at(0.25) < 0.75


def test_the_threshold_at_a_far_accepts_no_more_than_that():
    embeddings, people = noise(30, 4, 5)
    pairs = all_pairs(embeddings, people)
    for far in (0.3, 0.1, 0.01):
        limit = pairs.roc().threshold_at(far)
        cosines = embeddings @ embeddings.T
        different = people[:, None] != people[None, :]
        assert (cosines[different] >= limit + 1e-6).float().mean() <= far


def test_a_far_that_the_impostor_pairs_cannot_carry_is_refused():
    curve = pairs_roc(torch.tensor([0.9, 0.1, 0.2]), torch.tensor([True, False, False]))
    with pytest.raises(
        UserError, match=r"far = 0\.01 needs at least 100 impostor pairs, there are 2"
    ):
        curve.tar_at(0.01)
    with pytest.raises(UserError, match="between 0 and 1"):
        curve.threshold_at(1.5)


@pytest.mark.parametrize("pairs", [3, 99, 100, 700, 1000, 1001])
def test_the_lowest_far_that_is_told_can_be_measured(pairs):
    cosines = torch.linspace(-0.9, 0.9, pairs + 1)
    curve = pairs_roc(cosines, torch.arange(pairs + 1) == pairs)
    with pytest.raises(UserError, match="the lowest that can be measured is") as refused:
        curve.check(0.9 / pairs)
    lowest = float(str(refused.value).rpartition(" ")[2])
    curve.check(lowest)
    assert lowest < 1.2 / pairs


def test_metrics_leave_out_what_cannot_be_measured():
    measured = verification(*noise(3, 3, 0))
    assert "tar_at_far_0.1" in measured
    assert "tar_at_far_0.01" not in measured


@given(st.integers(2, 9), st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_no_person_is_in_two_folds(people, each, folds, seed):
    labels = torch.arange(people).repeat_interleave(each)[torch.randperm(people * each)]
    fold = people_folds(labels, folds, seed)
    for person in range(people):
        assert len(fold[labels == person].unique()) == 1


def test_resampled_people_weigh_as_if_their_pictures_were_there_so_often():
    """A person drawn twice counts twice; pairs of two people by the product of their counts."""
    embeddings, people = noise(3, 4, 7)
    weights = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    curve = all_pairs(embeddings, people).roc(weights)
    cosines = embeddings @ embeddings.T
    cosine_list, same = [], []
    for i in range(12):
        for j in range(i):
            a, b = int(people[i]), int(people[j])
            times = int(weights[a]) if a == b else int(weights[a] * weights[b])
            cosine_list += [float(cosines[i, j])] * times
            same += [a == b] * times
    expected = pairs_roc(torch.tensor(cosine_list), torch.tensor(same))
    assert torch.allclose(curve.tar, expected.tar)
    assert torch.allclose(curve.far, expected.far)


def test_the_interval_over_people_holds_the_measure_and_is_wider_than_one_over_pairs_would_be():
    generator = torch.Generator().manual_seed(4)
    centres = torch.randn(30, 1, 8, generator=generator)
    embeddings = unit(centres + 0.9 * torch.randn(30, 8, 8, generator=generator)).flatten(0, 1)
    people = torch.arange(30).repeat_interleave(8)
    pairs = all_pairs(embeddings, people)
    low, high = interval(pairs, Roc.eer, seed=0)
    eer = pairs.roc().eer()
    assert low < eer < high
    by_pairs = (
        2 * 1.96 * math.sqrt(eer * (1 - eer) / (pairs.roc().genuines + pairs.roc().impostors))
    )
    assert high - low > 2 * by_pairs


def test_the_interval_is_right_where_everybodys_first_picture_is_of_another_style():
    """More impostor pairs than are resampled, in an order whose period is a person's number of pictures."""
    generator = torch.Generator().manual_seed(0)
    people = torch.arange(100).repeat_interleave(10)
    centres = torch.randn(100, 32, generator=generator)
    embeddings = centres[people] + 1.2 * torch.randn(1000, 32, generator=generator)
    embeddings[::10] += 2 * torch.randn(32, generator=generator)
    pairs = all_pairs(unit(embeddings), people)
    assert len(pairs.bins) > RESAMPLED
    eer = pairs.roc().eer()
    some = pairs.subsampled(RESAMPLED, generator)
    assert len(some.bins) == RESAMPLED
    assert abs(some.roc().eer() - eer) < 0.005
    low, high = interval(pairs, Roc.eer, seed=0)
    assert low < eer < high
    assert interval(pairs, Roc.eer, seed=0) == (low, high)
    assert pairs.subsampled(len(pairs.bins), generator) is pairs


def test_one_person_or_no_second_picture_is_refused():
    with pytest.raises(UserError, match="two people"):
        all_pairs(torch.eye(3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(UserError, match="two pictures of one"):
        all_pairs(torch.eye(3), torch.arange(3))


def test_many_pictures_are_compared_in_the_same_order_as_few(monkeypatch):
    """Row blocks: bins and people of every pair as in the upper triangle, row by row."""
    embeddings, people = noise(7, 5, 2)
    whole = all_pairs(embeddings, people)
    monkeypatch.setattr(verification_module, "ROWS", 4)
    monkeypatch.setattr(verification_module, "AT_ONCE", 10)
    blocks = all_pairs(embeddings, people)
    upper, lower = torch.triu_indices(35, 35, 1)
    different = people[upper] != people[lower]
    for pairs in (whole, blocks):
        assert torch.equal(pairs.first.long(), people[upper][different])
        assert torch.equal(pairs.second.long(), people[lower][different])
        cosines = (embeddings @ embeddings.T)[upper, lower]
        assert torch.equal(pairs.bins.long(), verification_module.bin_of(cosines)[different])
        assert pairs.genuine.sum() == 7 * 10
    assert torch.equal(whole.roc().far, blocks.roc().far)
    assert torch.equal(whole.roc().tar, blocks.roc().tar)


SCRIPT = """
import resource, sys, torch
from plugins.faces.evaluation.clustering import clusters
from plugins.faces.evaluation.verification import Roc, all_pairs, interval
from plugins.faces.models.networks import unit
import scipy.cluster.hierarchy
torch.set_num_threads(1)
random = torch.Generator().manual_seed(0)
people = torch.arange(1000).repeat_interleave(10)
noise = torch.randn(10_000, 128, generator=random)
faces = unit(torch.randn(1000, 128, generator=random)[people] + 0.5 * noise)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "pairs":
    pairs = all_pairs(faces, people)
    assert pairs.roc().eer() < 0.001
    interval(pairs, Roc.eer, 0, repeats=2)
else:
    assert len(clusters(faces, 0.5)) == 1000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the largest memory is in kilobytes on Linux")
@pytest.mark.parametrize("what", ["pairs", "clusters"])
def test_ten_thousand_faces_take_less_than_a_gigabyte(what):
    command = [sys.executable, "-c", SCRIPT, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.0
