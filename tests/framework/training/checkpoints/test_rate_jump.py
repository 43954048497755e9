"""A resumed run says where its learning rate does not go on from where it was."""

from __future__ import annotations

import pytest

from tests.runs import Diffobj

QUIET = ["monitor.tensorboard=false", "trainer.evaluate_every=0", "trainer.quality.every=0"]


@pytest.mark.parametrize(
    ("scheduler", "changes", "jump"),
    [
        # The last of 10 steps had a tenth of the rate; the eleventh of 20 has a half.
        ("linear", ["trainer.steps=20"], "from 0.001 to 0.005"),
        ("constant", ["trainer.steps=20"], None),
        ("constant", ["trainer.steps=20", "optimizer.learning_rate=0.02"], "from 0.01 to 0.02"),
    ],
)
def test_more_steps_or_another_rate_are_said_where_the_rate_jumps(
    tmp_path, diffobj: Diffobj, scheduler, changes, jump
):
    run = tmp_path / "run"
    first = ["experiment=javelin", f"scheduler={scheduler}", "optimizer.learning_rate=0.01"]
    started = diffobj("train", *first, "trainer.steps=10", f"hydra.run.dir={run}", *QUIET)
    assert "jumps" not in started.out + started.err
    resumed = diffobj("train", f"resume={run}", *changes)
    assert resumed.status == 0
    said = [line for line in (resumed.out + resumed.err).splitlines() if "jumps" in line]
    assert len(said) == (jump is not None)
    if jump:
        assert said[0].startswith(f"the learning rate jumps {jump}: its schedule")


def test_a_run_that_was_interrupted_goes_on_without_a_word(tmp_path, diffobj: Diffobj):
    from framework.training.trainer import Trainer

    run = tmp_path / "run"
    common = ["experiment=javelin", "scheduler=linear", "trainer.steps=10", *QUIET]
    save_periodic = Trainer.run_periodic

    def stop_at_four(trainer: Trainer, monitor: object) -> None:
        save_periodic(trainer, monitor)  # type: ignore[arg-type]
        if trainer.progress.step == 4:
            trainer.stop_reason = "here"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run_periodic", stop_at_four)
        diffobj("train", *common, f"hydra.run.dir={run}")
    resumed = diffobj("train", f"resume={run}")
    assert "10 steps in" in resumed.out + resumed.err
    assert "jumps" not in resumed.out + resumed.err
