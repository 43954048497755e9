"""Synthetic people learned beside a folder's: in each batch, as classes of their own, and nowhere else."""

import pytest
import torch

from framework import UserError
from plugins.faces.tasks.people_data import EXTRA_PICTURES, Data
from plugins.faces.tasks.recognition import Recognition
from tests.plugins.faces.stand_in import write_stand_in


@pytest.mark.parametrize("each", [1, 2])
def test_half_of_a_batch_is_of_synthetic_people_with_numbers_after_the_folders(tmp_path, each):
    root = str(write_stand_in(tmp_path / "people", people=8, pictures=4))
    task = Recognition(
        data=Data(root=root, side=24, extra_people=6), batch_size=8, pictures_per_person=each
    )
    own = task.training_data.people
    assert own == len(task.people.training.names) == 5
    assert task.model.identity.people == own + 6
    assert len(task.people.extra) == 6 * EXTRA_PICTURES
    batches = task.batches(task.as_program(task.objective), 0, 0)
    seen = [next(batches) for _ in range(3)]
    for batch in seen:
        extra = batch.people >= own
        assert int(extra.sum()) in {6, 8}
        assert bool((batch.people[extra] < own + 6).all())
        assert bool((batch.people[~extra] < own).all())
        assert batch.images.shape == (len(batch.people), 3, 24, 24)
    (again,) = (next(task.batches(task.as_program(task.objective), 0, 2)),)
    assert torch.equal(again.images, seen[2].images)
    # What is tested, whitened by and kept of photographs is the folder's.
    assert len(task.people.seen) == len(task.people.training)
    assert not any("synthetic" in name for name in task.people.evaluated(0, "test").names)


def test_without_a_folder_all_people_are_synthetic_and_extra_ones_are_refused_in_one_line():
    with pytest.raises(UserError, match=r"^task\.data\.extra_people = 3: expected 0 without"):
        Recognition(data=Data(extra_people=3))
