"""Losses over pairs of pictures are those of the whole batch, however it is divided."""

import pytest
import torch

from framework import ranks
from framework.training.parted import Parts
from framework.training.updates.batch_norm import share_batch_norm
from plugins.faces.models.recogniser import Network
from plugins.faces.tasks.people_data import Data
from plugins.faces.tasks.recognition import Batch, Recognition

IMAGES = torch.rand(12, 3, 24, 24, generator=torch.Generator().manual_seed(0))
BATCH = Batch(IMAGES, torch.arange(12) % 4, 0)


def recognition(loss: str) -> Recognition:
    torch.manual_seed(0)
    task = Recognition(
        data=Data(people=4, pictures=4, side=24),
        network=Network(widths=(8,), blocks=0),
        loss={"name": loss},
        pictures_per_person=3,
    )
    ranks.side_by_side(2, lambda number: share_batch_norm(task.model))
    return task


@pytest.mark.parametrize("loss", ["cosface", "supcon", "triplet_batch_hard", "adaface"])
def test_the_loss_of_parts_is_that_of_the_whole(loss):
    task = recognition(loss)
    assert Parts(task.as_program(task.objective), task.parameters, BATCH).difference() == ""
