"""The one loop: exact resume, accumulation, averages, precision, budgets, and what survives each way of failing."""

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from framework.commands import train
from framework.config.composition import compose
from framework.config.validation import validate
from framework.errors import UserError
from framework.gradients.estimator import Estimate
from framework.plugin import ROOT
from framework.training.assembly import make_components
from framework.training.checkpoints.checkpoint import list_checkpoints
from framework.training.clock import TrainingClock
from framework.training.folders.run_folder import RunFolder
from framework.training.monitor import Monitor
from framework.training.signals import Interrupted, StopSignals
from framework.training.trainer import Trainer, to_device
from framework.training.updates import optimization
from framework.training.updates.averages import RunningMeans, ema_decay, mean_estimate
from tests.runs import Diffobj, newest, python, records, result

TOY = ("experiment=toy",)


def toy_trainer(*overrides: str) -> Trainer:
    """A trainer of the toy regression, nothing run yet."""
    settings = validate(compose([*TOY, *overrides]).config)
    return Trainer(settings, make_components(settings), RunFolder(Path("unused")))


def alike(a: Any, b: Any) -> bool:
    """Nested state, bit for bit; seconds and the configuration's text are left out."""
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(
            alike(a[k], b[k]) for k in a if k not in {"seconds", "config"}
        )
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    return bool(a == b)


# --- exact resume ---------------------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_after_any_step_and_resumed_ends_with_the_same_bits(toy, tmp_path, workers):
    common = [*TOY, "trainer.steps=9", "trainer.evaluate_every=4", f"task.workers={workers}"]
    whole = tmp_path / "whole"
    train.run([*common, f"hydra.run.dir={whole}"])
    # 6 batches make an epoch, and step 4 ends with an evaluation.
    for stop in (1, 4, 6, 8) if workers == 0 else (6,):
        parted = tmp_path / f"parted_{stop}"
        train.run([*common, f"hydra.run.dir={parted}", f"trainer.stop_at={stop}"])
        assert result(parted)["steps"] == stop
        train.run([f"resume={parted}"])
        assert alike(newest(whole), newest(parted)), f"stopped at step {stop}"
        assert result(parted)["metrics"] == result(whole)["metrics"]
        assert result(parted)["best"] == result(whole)["best"]


def test_the_number_of_data_workers_changes_nothing(toy, tmp_path):
    for workers in (0, 2):
        train.run([*TOY, f"task.workers={workers}", f"hydra.run.dir={tmp_path / str(workers)}"])
    assert alike(newest(tmp_path / "0"), newest(tmp_path / "2"))


def test_the_javelin_resumes_exactly(tmp_path):
    common = ["experiment=javelin", "estimator=rloo", "trainer.steps=6", "monitor.progress=none"]
    common += ["monitor.tensorboard=false", "trainer.evaluate_every=2"]
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train.run([*common, f"hydra.run.dir={whole}"])
    train.run([*common, f"hydra.run.dir={parted}", "trainer.stop_at=3"])
    train.run([f"resume={parted}", "trainer.stop_at=null"])
    assert alike(newest(whole), newest(parted))


@pytest.mark.slow
def test_cartpole_resumes_exactly(tmp_path):
    common = ["experiment=cartpole", "trainer.steps=4", "trainer.evaluate_every=2", "task.games=8"]
    common += ["task.evaluation_episodes=5", "task.video_frames=2", "monitor.progress=none"]
    train.run([*common, f"hydra.run.dir={tmp_path / 'whole'}"])
    train.run([*common, f"hydra.run.dir={tmp_path / 'parted'}", "trainer.stop_at=3"])
    train.run([f"resume={tmp_path / 'parted'}"])
    assert alike(newest(tmp_path / "whole"), newest(tmp_path / "parted"))


def test_resuming_a_finished_run_trains_no_further_step(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    diffobj("train", *TOY, f"hydra.run.dir={folder}")
    before, end = newest(folder), result(folder)
    assert diffobj("train", f"resume={folder}").status == 0
    assert alike(before, newest(folder))
    assert result(folder)["metrics"] == end["metrics"]
    assert result(folder)["steps"] == 12


def test_a_finished_run_can_be_given_more_steps(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    diffobj("train", *TOY, f"hydra.run.dir={folder}")
    assert diffobj("train", f"resume={folder}", "trainer.steps=15").status == 0
    assert result(folder)["steps"] == 15


def test_an_average_asked_for_on_resume_begins_at_the_parameters_of_now(toy, tmp_path):
    folder = tmp_path / "run"
    train.run([*TOY, "trainer.ema=null", "trainer.stop_at=6", f"hydra.run.dir={folder}"])
    now = newest(folder)["model"]["0.weight"]
    trainer = toy_trainer("trainer.ema=0.9")
    trainer.load(newest(folder))
    assert trainer.average is not None
    assert torch.equal(trainer.evaluation.averages["0.weight"], now)


@pytest.mark.parametrize(("first", "then"), [("float32", "float16"), ("float16", "float32")])
def test_a_resume_may_change_the_precision(toy, tmp_path, first, then):
    folder = tmp_path / "run"
    train.run([*TOY, f"trainer.precision={first}", "trainer.stop_at=6", f"hydra.run.dir={folder}"])
    train.run([f"resume={folder}", f"trainer.precision={then}"])
    assert result(folder)["steps"] == 12


def test_loading_copies_the_optimisers_state(toy, tmp_path):
    trainer = toy_trainer()
    trainer.loop(SilentMonitor())
    state = trainer.state()
    torch.save(state, tmp_path / "state.pt")
    frozen = torch.load(tmp_path / "state.pt")
    other = toy_trainer("trainer.steps=20")
    other.load(frozen)
    other.loop(SilentMonitor())
    assert other.progress.step == 20
    assert alike(frozen["optimizer"], torch.load(tmp_path / "state.pt")["optimizer"])


class SilentMonitor(Monitor):
    """Takes what a monitor takes and keeps the scalars and the sentences."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []
        self.said: list[str] = []

    def log(self, text: str) -> None:
        self.said.append(text)

    def scalars(self, step: int, values: Mapping[str, float], *, announce: bool = False) -> None:
        self.seen.append((step, dict(values)))


# --- one step -------------------------------------------------------------------------------------------------------


def test_two_batches_of_8_accumulated_are_one_batch_of_16(toy):
    plain = (
        "task.layers=plain",
        "task.spread=0",
        "estimator=exact",
        "trainer.steps=3",
        "optimizer=sgd",
    )
    one = toy_trainer(*plain, "task.batch_size=16")
    two = toy_trainer(*plain, "task.batch_size=8", "trainer.accumulate=2")
    one_monitor, two_monitor = SilentMonitor(), SilentMonitor()
    one.loop(one_monitor)
    two.loop(two_monitor)
    for a, b in zip(one.parameters.values(), two.parameters.values(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    for (_, ours), (_, theirs) in zip(one_monitor.seen, two_monitor.seen, strict=True):
        for tag in ("train/objective", "gradient/norm"):
            assert ours[tag] == pytest.approx(theirs[tag], abs=1e-5)


def test_estimates_of_several_batches_have_the_mean_objective_and_all_evaluations():
    parts = [Estimate(objective=torch.tensor(v), evaluations=4, biased=False) for v in (1.0, 4.0)]
    both = mean_estimate(parts)
    assert both.value == 2.5
    assert both.evaluations == 8


def test_the_average_follows_its_formula_and_evaluation_uses_it(toy):
    trainer = toy_trainer("trainer.ema=0.2", "trainer.steps=4")
    expected = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    for step, kept in enumerate([1 / 10, 2 / 11, 0.2, 0.2], 1):  # 3 / 12 would be more than 0.2
        trainer.options.__dict__["steps"] = step
        trainer.stop_reason = ""
        trainer.loop(SilentMonitor())
        for name, p in trainer.parameters.items():
            expected[name] = kept * expected[name] + (1 - kept) * p.detach()
    assert trainer.average is not None
    for name, value in expected.items():
        assert torch.allclose(trainer.evaluation.averages[name], value, atol=1e-6)
    with_average = trainer.evaluation.metrics("test")["objective"]
    own = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(trainer.evaluation.averages[name])
    trainer.evaluation.average = None
    assert trainer.evaluation.metrics("test")["objective"] == with_average
    with torch.no_grad():
        for name, p in trainer.parameters.items():
            p.copy_(own[name])
    assert trainer.evaluation.metrics("test")["objective"] != with_average


def test_a_slow_average_soon_forgets_where_it_began():
    """Of the first value only the product of all decays is left: a millionth of a percent after 30 steps."""
    assert 0.9995**30 > 0.98
    assert math.prod(ema_decay(0.9995, step) for step in range(30)) < 1e-8
    assert ema_decay(0.9995, 17_989) < ema_decay(0.9995, 17_990) == 0.9995


def test_the_gradient_is_clipped_to_the_norm_and_its_own_norm_is_logged(toy):
    trainer = toy_trainer(
        "trainer.clip_norm=0.01", "trainer.steps=1", "optimizer=sgd", "optimizer.learning_rate=1"
    )
    before = {name: p.detach().clone() for name, p in trainer.parameters.items()}
    monitor = SilentMonitor()
    trainer.loop(monitor)
    moves = [trainer.parameters[name].detach() - value for name, value in before.items()]
    assert torch.cat([m.flatten() for m in moves]).norm().item() == pytest.approx(0.01, rel=1e-4)
    assert monitor.seen[0][1]["gradient/norm"] > 0.1


def test_a_gradient_below_the_norm_is_left_alone(toy):
    ends = []
    for clip in ("null", "1e6"):
        trainer = toy_trainer(f"trainer.clip_norm={clip}")
        trainer.loop(SilentMonitor())
        ends.append(dict(trainer.parameters))
    assert alike(*ends)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("constant", lambda t: 1.0),
        ("linear", lambda t: 1 - 0.8 * t),
        ("cosine", lambda t: 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * t))),
    ],
)
def test_schedules_follow_their_closed_forms(name, at):
    options = {} if name == "constant" else {"final": 0.2}
    factor = getattr(optimization, name)(110, warmup=10, **options)
    for step in range(10):
        assert factor(step) == pytest.approx((step + 1) / 11)
    for step in range(10, 111, 5):
        assert factor(step) == pytest.approx(at((step - 10) / 100))
    assert factor(500) == pytest.approx(at(1.0))


def test_the_learning_rate_of_each_step_is_the_schedules(toy):
    monitor = SilentMonitor()
    toy_trainer("optimizer.learning_rate=0.5", "scheduler=linear").loop(monitor)
    rates = [values["train/learning_rate"] for _, values in monitor.seen]
    assert rates == pytest.approx([0.5 * (1 - step / 12) for step in range(12)])


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_trains_on_the_cpu(toy, precision):
    trainer = toy_trainer(
        f"trainer.precision={precision}", "trainer.steps=150", "optimizer.learning_rate=0.03"
    )
    before = trainer.evaluation.metrics("test")["objective"]
    trainer.loop(SilentMonitor())
    assert trainer.evaluation.metrics("test")["objective"] < 0.3 * before
    assert all(p.dtype == torch.float32 for p in trainer.parameters.values())
    assert trainer.progress.skipped < 20


def test_batches_of_any_nesting_are_moved():
    from collections import namedtuple

    pair = namedtuple("pair", "a b")
    nested = {"x": [torch.ones(2), (torch.zeros(1), "text")], "y": pair(torch.ones(1), None)}
    there = to_device(nested, torch.device("cpu"))
    assert alike(there, nested)
    assert isinstance(there["y"], pair)


# --- when to stop ---------------------------------------------------------------------------------------------------


def test_the_target_stops_training_at_the_evaluation_that_reaches_it(
    toy, tmp_path, diffobj: Diffobj
):
    folder = tmp_path / "run"
    options = ("trainer.evaluate_every=2", "trainer.early_stopping.target=1e9")
    assert diffobj("train", *TOY, *options, f"hydra.run.dir={folder}").status == 0
    assert result(folder)["steps"] == 2
    assert "reached" in result(folder)["stopped"]


def test_patience_counts_evaluations_without_improvement(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    options = ["trainer.evaluate_every=1", "trainer.early_stopping.patience=3", "trainer.steps=50"]
    options += [
        "optimizer=sgd",
        "optimizer.learning_rate=1e-12",
        "trainer.ema=null",
        "task.layers=plain",
    ]
    assert diffobj("train", *TOY, *options, f"hydra.run.dir={folder}").status == 0
    assert result(folder)["steps"] == 4
    # Of equals the later.
    assert result(folder)["best"]["step"] == 4


def test_a_budget_of_seconds_ends_training(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    options = ("trainer.seconds=0.3", "trainer.steps=100000", "task.fault=slow")
    assert diffobj("train", *TOY, *options, f"hydra.run.dir={folder}").status == 0
    end = result(folder)
    assert 1 <= end["steps"] <= 15  # of 0.02 s at least
    assert end["seconds"] >= 0.3
    assert end["metrics"]


def test_the_best_evaluations_checkpoint_is_kept(toy, tmp_path):
    folder = tmp_path / "run"
    options = [
        "trainer.evaluate_every=1",
        "optimizer=sgd",
        "optimizer.learning_rate=0.9",
        "trainer.ema=null",
    ]
    train.run([*TOY, *options, "scheduler=constant", f"hydra.run.dir={folder}"])
    scores = {
        r["step"]: r["evaluation/objective"] for r in records(folder) if "evaluation/objective" in r
    }
    best = min(range(1, 13), key=lambda step: scores[step])
    assert result(folder)["best"]["step"] == best
    assert [p.stem for p in (folder / "checkpoints").glob("best*.pt")] == [f"best_{best:09d}"]


def test_an_evaluation_that_is_not_a_number_is_never_the_best(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    options = (
        "trainer.evaluate_every=1",
        "task.fault=metric",
        "task.fault_at=2",
        "trainer.steps=5",
    )
    assert diffobj("train", *TOY, *options, f"hydra.run.dir={folder}").status == 0
    assert result(folder)["best"]["step"] == 2
    assert result(folder)["metrics"] == {"objective": None}  # JSON has no NaN


# --- when something goes wrong --------------------------------------------------------------------------------------


def test_a_step_without_a_finite_gradient_is_skipped_and_leaves_no_trace(toy):
    trainer = toy_trainer(
        "task.fault=poison", "task.fault_at=3", "task.fault_until=5", "trainer.steps=3"
    )
    trainer.loop(SilentMonitor())
    before = trainer.state()
    frozen = {
        part: {k: v.clone() for k, v in before[part].items()} for part in ("model", "average")
    }
    trainer.options.__dict__["steps"] = 5
    trainer.stop_reason = ""
    trainer.loop(SilentMonitor())
    assert trainer.progress.skipped == trainer.progress.skipped_in_a_row == 2
    assert alike(frozen, {part: trainer.state()[part] for part in frozen})
    trainer.options.__dict__["steps"] = 6
    trainer.stop_reason = ""
    trainer.loop(SilentMonitor())
    assert trainer.progress.skipped_in_a_row == 0
    assert not alike(frozen["model"], trainer.state()["model"])


def test_what_an_estimator_tells_is_logged_as_a_mean_over_the_steps_since_the_last_record():
    window = RunningMeans()
    told: list[dict[str, Tensor | float]] = [{"kl": torch.tensor(1.0)}, {"kl": 3.0, "rare": 5.0}]
    for extras in told:
        window.add(Estimate(objective=torch.zeros(()), evaluations=1, biased=False, extras=extras))
    assert window.extras() == {"kl": 2.0, "rare": 5.0}


@pytest.mark.parametrize("times", [1, 2])
def test_what_making_a_batch_changed_in_the_model_outlives_a_skipped_step(toy, times):
    trainer = toy_trainer(
        "task.fault=poison", "task.fault_at=3", "trainer.steps=5", f"trainer.accumulate={times}"
    )
    noted, normalised = torch.zeros(()), [buffer.clone() for buffer in trainer.rollback.buffers]
    trainer.rollback.before.append(noted.clone())
    trainer.rollback.buffers.append(noted)
    original = trainer.task.batches

    def batches(*arguments: Any) -> Iterator[Any]:
        for batch in original(*arguments):
            noted.add_(1)
            yield batch

    trainer.task.__dict__["batches"] = batches
    trainer.loop(SilentMonitor())
    assert trainer.progress.skipped >= 1
    assert noted == 5 * times
    assert all(bool(buffer.isfinite().all()) for buffer in trainer.rollback.buffers)
    assert not alike(normalised, trainer.rollback.buffers[:-1])


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_too_many_skipped_steps_in_a_row_stop_the_run_and_lose_nothing(
    toy, tmp_path, diffobj: Diffobj, precision
):
    folder = tmp_path / "run"
    options = [
        "task.fault=poison",
        "task.fault_at=4",
        "trainer.nonfinite_patience=3",
        "trainer.steps=60",
    ]
    options += [f"trainer.precision={precision}"]
    outcome = diffobj("train", *TOY, *options, f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert outcome.err.startswith("diffobj: step ")
    assert "not finite" in outcome.err
    assert outcome.err.count("\n") == 1
    state, end = newest(folder), result(folder)
    assert state["step"] == end["steps"]
    assert all(bool(value.isfinite().all()) for value in state["model"].values())
    assert "not finite" in end["stopped"]
    held = torch.load(folder / "nonfinite_batch.pt")
    assert [tuple(t.shape) for t in held] == [(8, 4), (8,)]
    if precision == "float32":
        assert end["steps"] == 6  # 4 good ones and 2 skipped; the third in a row ended it


def checkpoints(folder: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return [int(path.stem.partition("_")[2]) for path in list_checkpoints(folder / "checkpoints")]


POISON = (*TOY, "task.fault=poison", "task.fault_at=4", "trainer.checkpoint_every=1")


def test_skipped_steps_push_no_sound_checkpoint_out(toy, tmp_path, diffobj: Diffobj):
    """The gradient at step 4's parameters was never finite: those of step 3 are the newest known to be sound."""
    folder = tmp_path / "run"
    options = ("trainer.nonfinite_patience=5", f"hydra.run.dir={folder}")
    outcome = diffobj("train", *POISON, *options)
    assert outcome.status == 2
    assert "step 9: the gradient was not finite 5 times in a row;" in outcome.err
    assert checkpoints(folder) == [3, 4, 8]


def test_a_divergence_keeps_a_checkpoint_from_before_it(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    options = ("optimizer=sgd", "scheduler=constant", "trainer.steps=40", "task.layers=plain")
    diffobj("train", *TOY, *options, "trainer.stop_at=6", f"hydra.run.dir={folder}")
    changes = ("optimizer.learning_rate=1e38", "trainer.checkpoint_every=1")
    outcome = diffobj("train", f"resume={folder}", *changes)
    assert outcome.status == 2
    assert "the gradient was not finite 10 times in a row" in outcome.err
    assert checkpoints(folder)[0] == 6


def test_stop_ends_the_run_at_the_first_gradient_that_is_not_finite(
    toy, tmp_path, diffobj: Diffobj
):
    folder = tmp_path / "run"
    outcome = diffobj("train", *POISON, "trainer.on_nonfinite=stop", f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert outcome.err.startswith("diffobj: step 5: the gradient was not finite; a smaller")
    assert result(folder)["steps"] == 4


ROLL_BACK = (
    *POISON,
    "trainer.on_nonfinite=roll_back",
    "trainer.nonfinite_patience=3",
    "task.fault_until=8",
    "trainer.evaluate_every=2",
)


def test_roll_back_goes_on_from_the_newest_sound_parameters(toy, tmp_path, diffobj: Diffobj):
    """Steps 5 to 7 are skipped; then the parameters are those of step 3 again, and step 8 is skipped, too."""
    folder = tmp_path / "run"
    assert diffobj("train", *ROLL_BACK, f"hydra.run.dir={folder}", "trainer.stop_at=3").status == 0
    sound = newest(folder)
    assert diffobj("train", f"resume={folder}", "trainer.stop_at=8").status == 0
    log = (folder / "log.txt").read_text()
    said = "step 7: the gradient was not finite 3 times in a row; back to the parameters of step 3"
    assert said in log.splitlines()
    state = newest(folder)
    for part in ("model", "average", "estimator"):
        assert alike(sound[part], state[part]), part
    # The learning rate is that of the step.
    assert alike(sound["optimizer"]["state"], state["optimizer"]["state"])
    assert (state["step"], state["progress"]["skipped"]) == (8, 4)


@pytest.mark.slow
def test_a_run_that_was_rolled_back_resumes_exactly(toy, tmp_path):
    """Stopped before the fault, among the skipped steps, at the step that goes back, and after it."""
    whole = tmp_path / "whole"
    train.run([*ROLL_BACK, f"hydra.run.dir={whole}"])
    assert result(whole)["skipped"] == 4
    for stop in (3, 6, 7, 8):
        parted = tmp_path / f"parted_{stop}"
        train.run([*ROLL_BACK, f"hydra.run.dir={parted}", f"trainer.stop_at={stop}"])
        train.run([f"resume={parted}"])
        assert alike(newest(whole), newest(parted)), f"stopped at step {stop}"


def test_a_roll_back_that_brings_no_finite_gradient_is_the_last(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    outcome = diffobj("train", *ROLL_BACK, "task.fault_until=100", f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert "step 10: the gradient was not finite 3 times in a row;" in outcome.err


def test_a_roll_back_without_a_sound_checkpoint_says_so(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    outcome = diffobj("train", *ROLL_BACK, "task.fault_at=0", f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert "there is no checkpoint with a finite gradient to go back to" in outcome.err


def test_a_run_that_skipped_every_step_has_failed(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    options = ("task.fault=poison", "trainer.steps=5", f"hydra.run.dir={folder}")
    outcome = diffobj("train", *TOY, *options)
    assert outcome.status == 2
    said = "nothing was learned: the gradient was not finite in any of 5 steps"
    assert outcome.err == f"diffobj: {said}\n"
    assert result(folder)["stopped"] == f"UserError: {said}"
    assert list((folder / "checkpoints").glob("best*")) == []


def test_a_final_evaluation_that_is_no_number_is_not_the_best(toy, tmp_path, diffobj: Diffobj):
    folder = tmp_path / "run"
    outcome = diffobj("train", *TOY, "task.fault=metric", f"hydra.run.dir={folder}")
    assert outcome.status == 0
    assert "objective is nan: there is no best checkpoint\n" in (folder / "log.txt").read_text()
    assert list((folder / "checkpoints").glob("best*")) == []
    assert result(folder)["best"] == {}


def without_fault(folder: Path) -> None:
    """Mend the task of a stopped run."""
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub("fault: .*", "fault: null", text))


def test_an_evaluation_that_raised_is_made_up_for_by_a_resume(toy, tmp_path):
    """Also at the last step: the best checkpoint and patience are those of an uninterrupted run."""
    options = [*TOY, "trainer.evaluate_every=4", "trainer.early_stopping.patience=9"]
    whole = tmp_path / "whole"
    train.run([*options, f"hydra.run.dir={whole}"])
    for at in (3, 11):
        made_up_for(options, whole, tmp_path / f"parted_{at}", at)


def made_up_for(options: list[str], whole: Path, parted: Path, at: int) -> None:
    """A run whose evaluation after step `at` raised is, once resumed, the whole one."""
    with pytest.raises(RuntimeError, match="evaluation is broken"):
        train.run(
            [*options, "task.fault=evaluate", f"task.fault_at={at}", f"hydra.run.dir={parted}"]
        )
    assert newest(parted)["step"] == at + 1
    without_fault(parted)
    train.run([f"resume={parted}"])
    assert alike(newest(whole), newest(parted))
    assert result(whole)["best"] == result(parted)["best"]
    evaluated = [
        [
            (r["step"], r["evaluation/objective"])
            for r in records(place)
            if "evaluation/objective" in r
        ]
        for place in (whole, parted)
    ]
    assert evaluated[0] == evaluated[1]


def test_a_step_that_raised_leaves_no_trace_in_what_is_saved(toy, tmp_path):
    """Its forward pass has moved running means already."""
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train.run([*TOY, f"hydra.run.dir={whole}"])
    with pytest.raises(RuntimeError, match="objective is broken"):
        train.run([*TOY, "task.fault=late_objective", "task.fault_at=5", f"hydra.run.dir={parted}"])
    without_fault(parted)
    train.run([f"resume={parted}"])
    assert alike(newest(whole), newest(parted))


@pytest.mark.parametrize("stopping", ["patience=2", "target=1e9"])
def test_a_run_that_stopped_early_is_over_when_it_is_resumed(
    toy, tmp_path, diffobj: Diffobj, stopping
):
    folder = tmp_path / "run"
    options = ["trainer.evaluate_every=3", "optimizer=sgd", "optimizer.learning_rate=1e-12"]
    options += ["trainer.ema=null", "task.layers=plain", f"trainer.early_stopping.{stopping}"]
    diffobj("train", *TOY, *options, "trainer.steps=50", f"hydra.run.dir={folder}")
    before = result(folder)
    assert diffobj("train", f"resume={folder}").status == 0
    assert result(folder) == before


@pytest.mark.slow
def test_the_best_checkpoint_that_the_newest_one_names_is_there(toy, tmp_path):
    """After a kill at step 8 a resume goes on from step 4, whose best is not that of steps to come."""
    folder = tmp_path / "run"
    options = ["trainer.evaluate_every=1", "trainer.checkpoint_every=4", "task.fault=kill"]
    process = python(
        *("-m", "framework.commands.main", "train", *TOY, *options),
        *("task.fault_at=7", f"hydra.run.dir={folder}"),
        cwd=tmp_path,
        path=f"{toy}:{ROOT}",
    )
    process.communicate(timeout=300)
    best = newest(folder)["progress"]["best"]["step"]
    assert newest(folder)["step"] == 4
    assert (folder / "checkpoints" / f"best_{best:09d}.pt").exists()
    without_fault(folder)
    train.run([f"resume={folder}", "trainer.stop_at=5", "trainer.evaluate_every=0"])
    assert [p.stem for p in (folder / "checkpoints").glob("best*.pt")] == [f"best_{best:09d}"]


def test_a_checkpoint_carries_the_configuration(toy, tmp_path):
    folder = tmp_path / "run"
    train.run([*TOY, f"hydra.run.dir={folder}"])
    assert newest(folder)["config"] == (folder / "config.yaml").read_text()


def test_seconds_go_on_over_a_resume(toy, tmp_path):
    folder = tmp_path / "run"
    train.run([*TOY, "task.fault=slow", "trainer.stop_at=6", f"hydra.run.dir={folder}"])
    train.run([f"resume={folder}"])
    seconds = [record["seconds"] for record in records(folder)]
    assert seconds == sorted(seconds)
    # Twelve steps of 0.02 s at least.
    assert newest(folder)["progress"]["seconds"] >= 0.24
    assert seconds[-1] >= 0.24


def test_time_in_which_the_process_was_stopped_is_no_training_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("framework.training.clock.time.monotonic", lambda: now[0])
    clock = TrainingClock()
    signals = StopSignals(clock.restart)
    now[0] += 2.0
    assert clock.lap() == 2.0
    with signals.handled():
        # Stopped for an hour in the next step, which takes half a second after it.
        now[0] += 3600.0
        signal.raise_signal(signal.SIGCONT)
        now[0] += 0.5
    assert clock.lap() == 2.5
    assert signal.getsignal(signal.SIGCONT) == signal.SIG_DFL
    assert signals.received is None


def test_a_moving_average_baseline_survives_a_cost_that_is_not_a_number(toy):
    trainer = toy_trainer(
        "estimator=reinforce", "task.fault=poison", "task.fault_at=2", "task.fault_until=3"
    )
    trainer.loop(SilentMonitor())
    assert trainer.progress.skipped == 1


@pytest.mark.parametrize("fault", ["objective", "evaluate"])
def test_a_mistake_in_the_task_is_an_honest_traceback_and_loses_nothing(toy, tmp_path, fault):
    folder = tmp_path / "run"
    options = [f"task.fault={fault}", "task.fault_at=5", "trainer.evaluate_every=1"]
    with pytest.raises(RuntimeError, match="is broken"):
        train.run([*TOY, *options, f"hydra.run.dir={folder}"])
    made = 5 if fault == "objective" else 6
    assert newest(folder)["step"] == made
    assert result(folder)["steps"] == made
    assert (
        result(folder)["stopped"]
        == f"RuntimeError: the {fault.replace('evaluate', 'evaluation')} is broken"
    )


def test_a_picture_that_fails_at_the_end_costs_no_result(toy, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RuntimeError, match="picture"):
        train.run([*TOY, "task.fault=show", f"hydra.run.dir={folder}"])
    assert result(folder)["metrics"]["objective"] > 0
    assert newest(folder)["step"] == 12


def test_a_headline_that_is_not_among_the_metrics_is_told_in_one_line(
    toy, tmp_path, diffobj: Diffobj
):
    folder = tmp_path / "run"
    outcome = diffobj("train", *TOY, "task.fault=primary_metric", f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert (
        outcome.err
        == "diffobj: the task's primary metric 'objective' is not among its metrics: error\n"
    )
    assert newest(folder)["step"] == 12


def test_a_failure_before_the_first_step_leaves_no_folder(
    toy, tmp_path, monkeypatch, diffobj: Diffobj
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for place in ("hydra.run.dir=mine/run", "seed=0"):
        outcome = diffobj(
            "train", *TOY, "estimator=exact", "estimator.states=1", "estimator.nodes=2", place
        )
        assert outcome.status == 2, outcome.err
        assert outcome.err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "site-packages"]


def test_batches_that_end_are_told_in_one_line(toy):
    trainer = toy_trainer()
    trainer.task.batches = lambda *given: iter([])  # type: ignore[method-assign]
    with pytest.raises(UserError, match="batches ended"):
        trainer.loop(SilentMonitor())


def test_a_signal_stops_between_steps_and_a_resume_ends_with_the_same_bits(toy, tmp_path):
    assert train.run([*TOY, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        parted = tmp_path / number.name
        options = ["task.fault=interrupt", f"task.signal={int(number)}", "task.fault_at=4"]
        assert train.run([*TOY, *options, f"hydra.run.dir={parted}"]) == 128 + number
        assert result(parted)["stopped"] == f"stopped by {number.name}"
        assert result(parted)["steps"] == newest(parted)["step"] == 5
        train.run([f"resume={parted}"])
        assert alike(newest(tmp_path / "whole"), newest(parted)), number.name
        assert signal.getsignal(number) is not None


def test_a_second_signal_leaves_at_once_and_keeps_what_was_saved(toy, tmp_path, monkeypatch):
    options = ["trainer.checkpoint_every=2", "trainer.accumulate=2", "task.fault=interrupt"]
    options += ["task.fault_at=6", f"hydra.run.dir={tmp_path / 'run'}"]  # in the fourth step

    def twice(*given: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("tests.framework.toy.task.os.kill", twice)
    with pytest.raises(Interrupted) as interrupted:
        train.run([*TOY, *options])
    assert interrupted.value.number == signal.SIGTERM
    assert newest(tmp_path / "run")["step"] == 2


def test_a_signal_that_comes_while_processes_agree_waits_for_the_next_time(toy, monkeypatch):
    trainer = toy_trainer()
    monkeypatch.setattr("framework.ranks.size", lambda: 2)

    def meanwhile(*numbers: float) -> list[float]:
        trainer.signals.on_signal(signal.SIGTERM, None)
        return list(numbers)

    monkeypatch.setattr("framework.ranks.largest", meanwhile)
    trainer.agree()
    # The other process has not seen it: both go on.
    assert trainer.signals.received is None
    monkeypatch.setattr("framework.ranks.largest", lambda *numbers: list(numbers))
    trainer.agree()
    assert trainer.signals.received == signal.SIGTERM


def test_a_hangup_is_heeded_unless_it_is_ignored_as_under_nohup(toy):
    trainer, other = toy_trainer(), toy_trainer()
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with trainer.signals.handled():
            signal.raise_signal(signal.SIGHUP)
        assert trainer.signals.received == signal.SIGHUP
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with other.signals.handled():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert other.signals.received is None


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_reaches_data_workers_too_and_the_run_still_stops_cleanly(
    toy, tmp_path
):
    folder = tmp_path / "run"
    command = [
        "-m",
        "framework.commands.main",
        "train",
        *TOY,
        "trainer.steps=5000",
        "task.workers=2",
    ]
    options = ["task.fault=slow", f"hydra.run.dir={folder}"]
    process = python(*command, *options, cwd=tmp_path, path=f"{toy}:{ROOT}", start_new_session=True)
    deadline = time.monotonic() + 300
    while len(records(folder)) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group hears it
    out, err = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT, err
    assert err == ""
    assert out.splitlines()[-1] == str(folder)
    assert newest(folder)["step"] == result(folder)["steps"] >= 3


@pytest.mark.slow
def test_a_killed_run_resumes_from_its_last_checkpoint(toy, tmp_path):
    common = [*TOY, "trainer.checkpoint_every=4"]
    command = [
        "-m",
        "framework.commands.main",
        "train",
        *common,
        "task.fault=kill",
        "task.fault_at=10",
    ]
    folder, whole = tmp_path / "run", tmp_path / "whole"
    process = python(*command, f"hydra.run.dir={folder}", cwd=tmp_path, path=f"{toy}:{ROOT}")
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert newest(folder)["step"] == 8
    assert [r["step"] for r in records(folder)] == list(range(1, 11))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("fault: kill", "fault: null"))
    train.run([f"resume={folder}"])
    train.run([*common, f"hydra.run.dir={whole}"])
    assert alike(newest(folder), newest(whole))
    steps = [r["step"] for r in records(folder) if "train/objective" in r]
    assert steps == list(range(1, 13)), "each step is recorded once"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("making a small file system needs the rights to")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)


@pytest.mark.parametrize(
    "filled_by", ["trainer.checkpoint_every=1", "monitor.histograms_every=1", "trainer.log_every=1"]
)
def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_was_saved(
    toy, small_disk, filled_by, diffobj: Diffobj
):
    options = [
        "trainer.keep_checkpoints=1000",
        "trainer.checkpoint_every=2",
        "trainer.steps=20000",
    ]
    options += [f"monitor.tensorboard={'true' if 'histograms' in filled_by else 'false'}"]
    folder = small_disk / "run"
    outcome = diffobj("train", *TOY, *options, filled_by, f"hydra.run.dir={folder}")
    assert outcome.status == 2
    assert outcome.err.count("\n") == 1
    assert "No space left on device" in outcome.err
    state = newest(folder)
    assert state["step"] >= 1
    assert not list((folder / "checkpoints").glob(".*"))


# --- measuring ------------------------------------------------------------------------------------------------------


@pytest.mark.one_in(2)
@pytest.mark.parametrize("estimator", ["reinforce", "rloo", "reparameterisation"])
def test_measuring_the_estimators_quality_changes_nothing(toy, estimator):
    ends = []
    for every in (0, 2):
        quality = (f"trainer.quality.every={every}", "trainer.quality.repeats=4")
        trainer = toy_trainer(f"estimator={estimator}", *quality, "trainer.steps=5")
        trainer.loop(SilentMonitor())
        ends.append(trainer.state())
    assert alike(*ends)
