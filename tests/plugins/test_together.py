"""Detectors and face models in several parts: the gradient is that of the whole batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

import framework
from framework import ranks
from framework.batch import map_tensors
from framework.task import TrainingPlan
from framework.training.assembly import make_components
from framework.training.updates.batch_norm import share_batch_norm

# Batches of which no number of parts below is a divisor; one of two faces leaves a part without any.
TRAININGS = {
    "detection": ("experiment=detection", "task.workers=0", "task.batch_size=5"),
    "set prediction": ("experiment=detection_set", "task.workers=0", "task.batch_size=5"),
    "faces": ("experiment=faces", "task.batch_size=4", "task.data.scenes=20"),
    "few faces": ("experiment=faces", "task.batch_size=3", "task.data.scenes=20"),
    "recognition": ("experiment=faces_recognition", "task.batch_size=7"),
}


def first_gradient(settings: Any) -> tuple[Tensor, Tensor]:
    """The gradient of the first step, and the objective, in double precision."""
    components = make_components(settings)
    task, estimator = components.task, components.estimator
    share_batch_norm(task.model)
    task.begin(TrainingPlan(seed=0, steps=10, accumulate=1, learning_rate=0.1, start=0))
    program = task.program(estimator)
    batch = next(task.batches(program, 0, 0))
    batch = map_tensors(lambda t: t.double() if t.is_floating_point() else t, batch)
    task.model.train()
    share = program.share(batch)
    estimate = estimator.backward(program, task.parameters, batch, scale=share)
    objective = ranks.add_gradients([*task.parameters.values()], share * estimate.objective)
    found = [p.grad.flatten() for p in task.parameters.values() if p.grad is not None]
    return torch.cat(found), objective


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAININGS)
def test_parts_have_the_gradient_of_the_whole_batch(name, monkeypatch):
    settings = framework.compose(*TRAININGS[name])
    # Where a network asks for single precision, rounding would hide what is wrong.
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    torch.set_default_dtype(torch.float64)
    try:
        whole, objective = first_gradient(settings)
        for count in (2, 3):
            found: dict[int, tuple[Tensor, Tensor]] = {}

            def part(found: Any = found) -> None:
                found[ranks.rank()] = first_gradient(settings)

            ranks.divided(count, part, part)
            for gradient, value in found.values():
                assert (gradient - whole).norm() <= 1e-10 * whole.norm()
                assert (value - objective).abs() <= 1e-12 * objective.abs()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["validation", "test"])
def test_detections_found_in_parts_have_the_metrics_of_the_whole(split):
    settings = framework.compose(
        "experiment=detection", "task.workers=0", "task.data.validation=7", "task.data.test=5"
    )

    def measured() -> dict[str, float]:
        task = make_components(settings).task
        plan = TrainingPlan(seed=0, steps=10, accumulate=1, learning_rate=0.1, start=0)
        task.begin(plan)
        task.model.eval()
        with torch.no_grad():
            return task.evaluate(0, split)

    whole = measured()
    assert len(whole) > 10
    parts: list[dict[str, float]] = []
    first = ranks.divided(2, measured, lambda: parts.append(measured()))
    assert first == pytest.approx(whole, rel=1e-5)
    # Left to the first.
    assert parts == [{}]
