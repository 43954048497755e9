"""Parameters that have grown beyond all bounds, and steps that an error ends half-way: nothing unsound is saved."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from framework import Context, Task, UserError, train
from framework.gradients.estimator import Estimate
from framework.randomness import seeded
from framework.task import Split
from framework.training.trainer import Trainer
from tests.runs import newest, result

OPTIONS = [
    "monitor.tensorboard=false",
    "trainer.device=cpu",
    "trainer.quality.every=0",
    "trainer.checkpoint_every=1",
    "trainer.evaluate_every=100",
    "trainer.steps=8",
]


class Aim(Task):
    """A draw whose distribution refuses a mean that is no number; so does the evaluation where `strict`."""

    model: nn.Linear

    def __init__(self, strict: bool = False) -> None:
        with seeded(1):
            self.model = nn.Linear(1, 3, bias=False)
        self.strict = strict

    def objective(self, context: Context, batch: None) -> None:
        context.cost((context.sample("z", Normal(self.model.weight[:, 0], 0.1)) ** 2).sum(-1))

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        if self.strict:
            Normal(self.model.weight, 0.1)
        return {"objective": self.model.weight.square().sum().item()}


def poisoned(task: Aim, at: int) -> Any:
    """A callback that makes the parameters no numbers after a step, as a step that is too long does."""

    def poison(step: int, estimate: Estimate) -> None:
        if step == at:
            with torch.no_grad():
                task.model.weight.fill_(math.nan)

    return poison


def test_a_program_that_fails_on_diverged_parameters_ends_in_one_line(tmp_path):
    task = Aim()
    with pytest.raises(UserError) as error:
        train(task, folder=tmp_path / "run", overrides=OPTIONS, on_step=poisoned(task, 4))
    assert str(error.value).count("\n") == 0
    assert str(error.value).startswith(
        "step 5: the gradient was not finite, as the parameters have diverged (ValueError: Expected parameter loc"
    )
    assert "with trainer.on_nonfinite=roll_back a resume goes back to step 3" in str(error.value)


@pytest.mark.parametrize("strict", [False, True], ids=["the program", "the evaluation, too"])
def test_they_are_rolled_back_at_once_or_by_a_resume(tmp_path, strict):
    """The evaluation at step 4 has nothing to measure; it is no end either."""
    task, back = Aim(strict), "trainer.on_nonfinite=roll_back"
    options = [*OPTIONS, "trainer.evaluate_every=4"]
    train(task, folder=tmp_path / "at once", overrides=[*options, back], on_step=poisoned(task, 4))
    task = Aim(strict)
    with pytest.raises(UserError, match="diverged"):
        train(task, folder=tmp_path / "run", overrides=options, on_step=poisoned(task, 4))
    train(Aim(strict), resume=tmp_path / "run", overrides=[back])
    for name in ("at once", "run"):
        log = (tmp_path / name / "log.txt").read_text()
        assert "back to the parameters of step 3" in log
        assert ("step 4: not evaluated, as the parameters have diverged (ValueError" in log) == (
            strict
        )
        assert result(tmp_path / name)["steps"] == 8
        assert bool(newest(tmp_path / name)["model"]["weight"].isfinite().all())
    assert result(tmp_path / "at once")["skipped"] == 1


def test_diverged_parameters_at_the_end_are_said_in_one_line(tmp_path):
    task = Aim(strict=True)
    with pytest.raises(
        UserError, match=r"^step 8: the parameters have diverged \(ValueError: .*\)"
    ):
        train(task, folder=tmp_path / "run", overrides=OPTIONS, on_step=poisoned(task, 8))


def test_an_error_with_sound_parameters_is_the_programs_own(tmp_path, monkeypatch):
    def broken(self: Aim, context: Context, batch: None) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(Aim, "objective", broken)
    with pytest.raises(ValueError, match=r"^a mistake$"):
        train(Aim(), folder=tmp_path / "run", overrides=OPTIONS)


def ends_as_undisturbed(tmp_path: Path) -> bool:
    """Whether the run in `run`, resumed, ends as one that nothing has disturbed."""
    train(Aim(), resume=tmp_path / "run")
    train(Aim(), folder=tmp_path / "whole", overrides=OPTIONS)
    ends = [newest(tmp_path / name) for name in ("run", "whole")]
    return torch.equal(*[end["model"]["weight"] for end in ends]) and all(
        torch.equal(*[end["optimizer"]["state"]["weight"][part] for end in ends])
        for part in ("exp_avg", "exp_avg_sq", "step")
    )


def test_a_message_that_cannot_be_printed_comes_after_a_whole_step(tmp_path, monkeypatch):
    """Such as into a pipe that nobody reads, with a checkpoint only at the end: the step is counted."""
    loop = Trainer.loop

    def loud(self: Trainer, monitor: Any) -> None:
        self.estimator.messages = lambda: ["hello"] if self.progress.step >= 3 else []  # type: ignore[method-assign]
        log = monitor.log

        def closed(text: str) -> None:
            if text == "hello":
                raise BrokenPipeError
            log(text)

        monitor.log = closed
        loop(self, monitor)

    options = [*OPTIONS, "trainer.checkpoint_every=100"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "loop", loud)
        with pytest.raises(BrokenPipeError):
            train(Aim(), folder=tmp_path / "run", overrides=options)
    assert newest(tmp_path / "run")["step"] == 3
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 3
    assert ends_as_undisturbed(tmp_path)


def test_a_step_that_fails_within_the_optimiser_is_not_saved(tmp_path, monkeypatch):
    move = Trainer.optimizer_step

    def torn(self: Trainer, *given: Any) -> None:
        move(self, *given)
        if self.progress.step == 5:
            raise RuntimeError("no memory")

    options = [*OPTIONS, "trainer.checkpoint_every=2"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "optimizer_step", torn)
        with pytest.raises(RuntimeError, match="no memory"):
            train(Aim(), folder=tmp_path / "run", overrides=options)
    assert newest(tmp_path / "run")["step"] == 4
    assert ends_as_undisturbed(tmp_path)


class Whole(Aim):
    """It has whole numbers that are not learnt, and an error of its own."""

    def __init__(self) -> None:
        super().__init__()
        table = nn.Parameter(torch.zeros(3, dtype=torch.long), requires_grad=False)
        self.model.register_parameter("table", table)

    def objective(self, context: Context, batch: None) -> None:
        self.model.get_parameter("table").softmax(0)


def test_an_error_over_whole_numbers_is_the_programs_own(tmp_path):
    with pytest.raises(RuntimeError, match="softmax"):
        train(Whole(), folder=tmp_path / "run", overrides=OPTIONS)


class Unmoved(Aim):
    """A draw that no cost depends on."""

    def objective(self, context: Context, batch: None) -> None:
        context.sample("z", Normal(self.model.weight[:, 0], 0.1))
        context.cost(3.0)


class Elsewhere(Aim):
    """It learns nothing: what it draws from is not in its model."""

    def objective(self, context: Context, batch: None) -> None:
        mean = torch.zeros(3, requires_grad=True)
        context.cost((context.sample("z", Normal(mean, 0.1)) ** 2).sum(-1))


@pytest.mark.parametrize(("task", "said"), [(Unmoved(), 1), (Elsewhere(), 1), (Aim(), 0)])
def test_a_first_gradient_of_exactly_0_is_said_once(tmp_path, task, said):
    train(task, folder=tmp_path / "run", overrides=[*OPTIONS, "trainer.log_every=2"])
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("step 2: the gradient is exactly 0") == said
    assert log.count("the gradient is exactly 0") == said
