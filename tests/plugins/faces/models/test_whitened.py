"""Whitened components: differences within a person count little, and they stand beside a network's features."""

import pytest
import torch

from plugins.faces.evaluation.verification import verification
from plugins.faces.models.networks import Embedder, unit
from plugins.faces.models.recogniser import Network, Recogniser, TrainingData, descriptors_beside
from plugins.faces.models.whitened import (
    COMPONENTS,
    DESCRIPTORS,
    RIDGE,
    Whitened,
    components,
    gradients,
    grey_of,
    pixels,
)
from plugins.faces.synthetic.crops import synthetic_crops
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Recognition

CROPS = synthetic_crops(0, 0, 12, 6, 48)


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


def test_the_components_of_some_people_tell_other_people_apart():
    whitened = Whitened()
    learned = CROPS.of(range(6))
    assert torch.equal(whitened(CROPS.images[:2], "gradients"), torch.zeros(2, COMPONENTS))
    whitened.fit(learned.images, learned.people)
    others = CROPS.of(range(6, 12))
    for name in DESCRIPTORS:
        features = whitened(others.images, name)
        assert features.shape == (36, COMPONENTS)
        assert torch.allclose(features.norm(dim=1), torch.ones(36), atol=1e-5)
        assert torch.allclose(features, whitened(others.images.flip(3), name), atol=1e-4)
        assert verification(features, others.people)["eer"] < 0.4
    again = Whitened()
    again.fit(learned.images, learned.people)
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), whitened.buffers(), strict=True))


def test_a_cosine_is_the_mean_of_the_parts_cosines():
    torch.manual_seed(0)
    task = Recognition(
        data=Data(people=2, pictures=2, side=48), network=Network(whitened=DESCRIPTORS)
    )
    model = task.model
    assert isinstance(model, Recogniser)
    assert model.whitened is not None
    model.whitened.fit(CROPS.images, CROPS.people)
    with task.inference():
        whole = model.embed(CROPS.images[:4])
        alone = Recogniser(model.embedder, model.identity).embed(CROPS.images[:4])
        parts = [alone, *(model.whitened(CROPS.images[:4], name) for name in DESCRIPTORS)]
    assert whole.shape == (4, task.embedding_size) == (4, 128 + 2 * COMPONENTS)
    mean = torch.stack([part @ part.T for part in parts]).mean(0)
    assert torch.allclose(whole @ whole.T, mean, atol=1e-5)


@pytest.mark.parametrize(
    ("whitened", "photographs", "beside"),
    [
        (None, True, ("gradients",)),
        (None, False, ()),
        ((), True, ()),
        (("pixels",), False, ("pixels",)),
    ],
)
def test_photographs_have_gradients_beside_the_network_unless_they_are_not_wanted(
    whitened, photographs, beside
):
    data = TrainingData(photographs, 5, True)
    assert descriptors_beside(Network(whitened=whitened), data) == beside
    assert isinstance(Recognition(data=Data(people=2, pictures=2)).model.embedder, Embedder)
