"""The task that trains the bundled detector."""

import pytest
import torch

from framework import UserError
from framework.task import TrainingPlan
from plugins.faces.synthetic import textures
from plugins.faces.tasks import generated_detection
from plugins.faces.tasks.generated_detection import GeneratedDetection


def small() -> GeneratedDetection:
    return GeneratedDetection(side=96, scenes=3, people=3, max_faces=3, test_scenes=2, batch_size=3)


def test_it_learns_from_its_scenes_and_is_evaluated_on_others(monkeypatch):
    photographs = tuple(
        torch.randint(0, 255, (3, 40, 50), generator=torch.Generator().manual_seed(k)).byte()
        for k in range(3)
    )
    monkeypatch.setattr(generated_detection, "textures", lambda: photographs)
    monkeypatch.setattr(generated_detection, "TEST_PEOPLE", 3)
    torch.manual_seed(0)
    task = small()
    batch = next(task.batches(task.as_program(task.objective), 0, 0))
    assert batch.images.shape == (3, 3, 96, 96)
    assert bool((batch.people == -1).all())
    terms = task.model.finder.losses(task.model.finder.raw_outputs(batch.images), batch)
    torch.stack(list(terms.values())).sum().backward()
    assert all(bool(term.isfinite()) for term in terms.values())
    tested = task.evaluated(0, "test")
    assert len(tested) == 2
    assert not torch.equal(tested.images[0], task.training.images[0])


def test_too_few_textures_are_refused_before_the_training(monkeypatch):
    textures.textures.cache_clear()
    monkeypatch.setattr(textures, "PHOTOGRAPHS", {})
    with pytest.raises(UserError, match="expected 10 or more: make install EXTRAS=textures"):
        small().begin(TrainingPlan.__new__(TrainingPlan))
    textures.textures.cache_clear()


def test_it_does_not_warn_against_its_use_on_people(capsys):
    task = small()
    task.warn()
    assert task.synthetic
    assert capsys.readouterr().err == ""
    assert not task.embeds_identity
