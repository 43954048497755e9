"""Whitened components: differences within a person count little, and they stand beside a network's features."""

import pytest
import torch

from plugins.faces.evaluation.verification import verification
from plugins.faces.models.descriptors import (
    DARK,
    DESCRIPTORS,
    LENGTHS,
    NEIGHBOURS,
    PATTERN_CELLS,
    SIDE,
    UNIFORM,
    described,
    gradients,
    pattern_numbers,
    patterns,
    pixels,
)
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.models.recogniser import (
    Network,
    Recogniser,
    TrainingData,
    descriptors_beside,
    weight_beside,
)
from plugins.faces.models.whitened import (
    COMPONENTS,
    RIDGE,
    Whitened,
    components,
    grey_of,
    principal,
)
from plugins.faces.synthetic.crops import synthetic_crops
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition

CROPS = synthetic_crops(0, 0, 11, 4, 48)


def test_the_scatter_within_people_becomes_even():
    random = torch.Generator().manual_seed(0)
    people = torch.arange(40).repeat_interleave(50)
    noise = torch.randn(2000, 5, generator=random, dtype=torch.float64)
    noise *= torch.tensor([9.0, 3.0, 1.0, 0.5, 0.3])
    x = torch.randn(40, 5, generator=random, dtype=torch.float64)[people] + noise
    mean, projection = components(x, people)
    assert torch.allclose(mean.double(), x.mean(0), atol=1e-6)
    z = (x - x.mean(0)) @ projection.double()
    means = torch.stack([z[people == person].mean(0) for person in range(40)])
    scatter = (z - means[people]).T @ (z - means[people]) / len(z)
    spread = torch.linalg.eigvalsh(scatter)
    # By the ridge, directions of little scatter have less than 1.
    within = torch.linalg.eigvalsh(torch.diag(noise.square().mean(0)))
    expected = within / (within + RIDGE * within.mean())
    assert torch.allclose(spread, expected, atol=0.03)


def test_descriptors_do_not_depend_on_exposure_and_contrast():
    grey = grey_of(CROPS.images[:5])
    directions = unit(pixels(0.5 * grey + 0.2)) * unit(pixels(grey))
    assert torch.allclose(directions.sum(1), torch.ones(5), atol=1e-5)
    plain, other = (gradients(g) for g in (grey, 0.5 * grey + 0.2))
    cosines = (unit(plain) * unit(other)).sum(1)
    assert cosines.min() > 0.97
    assert torch.allclose(gradients(grey + 0.1), plain, atol=1e-3)


def test_of_256_patterns_58_change_twice_at_most_around_the_circle():
    numbers = pattern_numbers()
    assert sorted(numbers.unique().tolist()) == list(range(UNIFORM + 1))
    assert int((numbers == UNIFORM).sum()) == 2**NEIGHBOURS - 58
    # None brighter, all brighter, one brighter, every second one brighter.
    assert numbers[0b01010101] == UNIFORM
    assert UNIFORM not in numbers[[0b0, 0b11111111, 0b1000, 0b11000011]].tolist()


def test_patterns_are_counted_cell_by_cell_and_do_not_change_with_the_strength_of_the_light():
    grey = grey_of(CROPS.images[:5])
    found = patterns(grey)
    assert found.shape == (5, LENGTHS["patterns"])
    # A cell's counts are parts of its pixels.
    cells = found.square().reshape(5, UNIFORM + 1, PATTERN_CELLS**2)
    assert torch.allclose(cells.sum(1), torch.ones(5, PATTERN_CELLS**2), atol=1e-5)
    half = patterns(0.5 * (grey + DARK) - DARK)
    # Rounding moves hardly any comparison across its limit.
    assert float((half.square() - found.square()).abs().mean()) < 1e-4
    assert float((patterns(grey + 0.25).square() - found.square()).abs().mean()) > 1e-3
    flat = patterns(torch.full((1, 1, SIDE, SIDE), 0.5)).reshape(UNIFORM + 1, -1)
    assert torch.equal(flat[pattern_numbers()[0]], torch.ones(PATTERN_CELLS**2))
    # Brighter to the right, by 8 % a pixel: of eight neighbours three are, so that one pattern holds everywhere inside.
    slope = (0.08 * (torch.arange(SIDE) - SIDE)).exp().expand(1, 1, SIDE, SIDE)
    inside = patterns(slope).square().reshape(UNIFORM + 1, PATTERN_CELLS, PATTERN_CELLS)
    number = pattern_numbers()[0b10000011]
    assert torch.allclose(inside[number, :, 1:-1], torch.ones(PATTERN_CELLS, PATTERN_CELLS - 2))


@pytest.mark.parametrize("rows", [20, 60])
def test_principal_components_are_those_of_the_covariance_whichever_square_is_smaller(rows):
    x = torch.randn(rows, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x * torch.linspace(0.1, 3, 40)
    x = x - x.mean(0)
    basis = principal(x, 5)
    expected = torch.linalg.svd(x, full_matrices=False).Vh[:5]
    assert torch.allclose(basis.T @ basis, torch.eye(5, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(
        (expected @ basis).flip(0).abs(), torch.eye(5, dtype=torch.float64), atol=1e-9
    )


def test_every_descriptor_has_its_length():
    grey = grey_of(CROPS.images[:2])
    assert {name: described(name, grey).shape[1] for name in DESCRIPTORS} == dict(LENGTHS)


def test_the_components_of_some_people_tell_other_people_apart():
    whitened = Whitened()
    learned = CROPS.of(range(5))
    assert torch.equal(whitened(CROPS.images[:2], "gradients"), torch.zeros(2, COMPONENTS))
    whitened.fit(learned.images, learned.people)
    others = CROPS.of(range(5, 11))
    for name in DESCRIPTORS:
        features = whitened(others.images, name)
        assert features.shape == (24, COMPONENTS)
        assert torch.allclose(features.norm(dim=1), torch.ones(24), atol=1e-5)
        assert torch.allclose(features, whitened(others.images.flip(3), name), atol=1e-4)
        assert verification(features, others.people)["eer"] < 0.4


def test_a_cosine_is_the_weighted_mean_of_the_parts_cosines():
    torch.manual_seed(0)
    task = Recognition(
        data=Data(people=2, pictures=2, side=48),
        network=Network(whitened=DESCRIPTORS, weight=0.25),
    )
    model = task.model
    assert isinstance(model, Recogniser)
    assert model.whitened is not None
    model.whitened.fit(CROPS.images[:12], CROPS.people[:12])
    first = [buffer.clone() for buffer in model.whitened.buffers()]
    model.whitened.fit(CROPS.images[:12], CROPS.people[:12])
    assert all(torch.equal(a, b) for a, b in zip(first, model.whitened.buffers(), strict=True))
    with task.inference():
        whole = model.embed(CROPS.images[:4])
        alone = Recogniser(model.embedder, model.identity).embed(CROPS.images[:4])
        parts = [alone, *(model.whitened(CROPS.images[:4], name) for name in DESCRIPTORS)]
    assert whole.shape == (4, task.embedding_size) == (4, 128 + 3 * COMPONENTS)
    weights = torch.tensor([0.25, 1, 1, 1])[:, None, None]
    mean = (weights * torch.stack([part @ part.T for part in parts])).sum(0) / weights.sum()
    assert torch.allclose(whole @ whole.T, mean, atol=1e-5)
    before = task.fingerprint()
    model.weight = 0.5
    # Embeddings that are weighted otherwise cannot be compared.
    assert task.fingerprint() != before


@pytest.mark.parametrize(
    ("people", "given", "weight"),
    [(7, None, 0.1), (70, None, 1.0), (900, None, 1.0), (7, 0.5, 0.5)],
)
def test_a_network_counts_the_more_the_more_people_it_learned(people, given, weight):
    data = TrainingData(True, people, True)
    assert weight_beside(Network(weight=given), data) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("whitened", "photographs", "beside"),
    [
        (None, True, ("gradients", "patterns")),
        (None, False, ()),
        ((), True, ()),
        (("pixels",), False, ("pixels",)),
    ],
)
def test_photographs_have_gradients_and_patterns_beside_the_network_unless_others_are_chosen(
    whitened, photographs, beside
):
    data = TrainingData(photographs, 5, True)
    assert descriptors_beside(Network(whitened=whitened), data) == beside
    assert isinstance(Recognition(data=Data(people=2, pictures=2)).model.embedder, Embedder)
