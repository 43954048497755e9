"""What a task must bring before anything is trained."""

import pytest
from torch import nn

import framework
from framework.errors import ProgramError


class Unmeasured(framework.Task):
    """Has data and no evaluation of its own."""

    batch_axes = 1

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)

    def objective(self, context, batch):
        context.cost(self.model(batch).square().sum(-1))


def test_a_task_with_data_and_without_an_evaluation_is_refused_before_it_trains(tmp_path):
    with pytest.raises(ProgramError, match=r"has data \(batch_axes = 1\).*write evaluate"):
        framework.train(Unmeasured(), estimator="exact", steps=1, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()
