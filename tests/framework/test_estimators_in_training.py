"""Every registered estimator in the trainer: it resumes exactly and survives a cost that is not a number."""

from pathlib import Path

import pytest

from framework.commands import train
from framework.errors import ProgramError
from framework.plugin import registry
from tests.framework.training.test_trainer import alike
from tests.runs import newest, result

# Of those that keep nothing between calls the others say enough.
STATELESS = {
    *("exact", "reparameterisation", "straight_through", "straight_through_gumbel", "gumbel_rao"),
    *("reinmax", "arm", "disarm", "measure_valued", "spsa", "forward_gradient"),
}
ESTIMATORS = [
    pytest.param(name, marks=pytest.mark.slow) if name in STATELESS else name
    for name in registry().names("estimators")
]
QUIET = ("monitor.tensorboard=false", "monitor.progress=none", "optimizer.learning_rate=0.05")


def trained(estimator: str, folder: Path) -> list[str]:
    """Train on the first kind of draw that the estimator can serve; returns the run's options."""
    for kind in ("bernoulli", "normal"):
        options = ["task=toy_draws", f"estimator={estimator}", f"task.kind={kind}", *QUIET]
        options += ["trainer.steps=16", "task.nan_at=7"]
        try:
            train.run([*options, f"hydra.run.dir={folder}"])
        except ProgramError:
            continue
        return options
    pytest.skip("it learns from recorded episodes only")


@pytest.mark.one_in(4)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_it_resumes_exactly_and_survives_a_cost_that_is_not_a_number(toy, tmp_path, estimator):
    whole = tmp_path / "whole"
    options = trained(estimator, whole)
    state = newest(whole)
    assert state["progress"]["skipped"] == 1
    assert all(bool(value.isfinite().all()) for value in state["model"].values())
    assert result(whole)["steps"] == 16
    parted = tmp_path / "parted"
    train.run([*options, f"hydra.run.dir={parted}", "trainer.stop_at=9"])
    train.run([f"resume={parted}"])
    assert alike(state, newest(parted))


def test_most_can_be_tried():
    assert len(ESTIMATORS) >= 7
