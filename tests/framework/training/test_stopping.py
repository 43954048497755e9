"""Where a run is, read from a checkpoint of any version; when its evaluations end it."""

import math
from typing import Any

import pytest

from framework.config.schema import EarlyStopping
from framework.errors import UserError
from framework.training.stopping import Progress, early_stop, improves, is_best

BEST = {"step": 4, "objective": 0.5}
STATE: dict[str, Any] = {
    "step": 7, "seconds": 1.5, "best": {"step": 4, "objective": 0.5}, "without_improvement": 1, "evaluated": 6,
    "record": {}, "skipped": 2, "skipped_in_a_row": 0, "finite": 6, "rolled_back": -2,
}  # fmt: skip


def test_what_was_saved_comes_back():
    assert vars(Progress.from_state(STATE)) == STATE
    assert vars(Progress.from_state(vars(Progress()))) == vars(Progress())


def test_a_checkpoint_from_before_a_key_was_written_counts_as_evaluated_and_sound():
    older = {k: v for k, v in STATE.items() if k not in {"evaluated", "finite", "rolled_back"}}
    read = Progress.from_state(older)
    assert (read.evaluated, read.finite, read.rolled_back) == (7, 6, -2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step": -5}, "progress.step = -5 cannot be"),
        ({"step": "7"}, "progress.step = '7' cannot be"),
        ({"step": True}, "progress.step = True cannot be"),
        ({"seconds": math.nan}, "progress.seconds = nan cannot be"),
        ({"seconds": math.inf}, "progress.seconds = inf cannot be"),
        ({"best": [1]}, r"progress.best = \[1\] cannot be"),
        ({"best": {"objective": 1.0}}, "progress.best has no step"),
        ({"best": {"step": 1.5}}, "progress.best.step = 1.5 cannot be"),
        ({"best": {"step": 1, "a": [2]}}, r"progress.best.a = \[2\] cannot be"),
        ({"best": {"step": 1, 2: 3.0}}, "progress.best.2 = 3.0 cannot be"),
        ({"record": 3}, "progress.record = 3 cannot be"),
        ({"record": {"objective": "1"}}, "progress.record.objective = '1' cannot be"),
        ({"best": {"step": 8}}, "progress.best.step = 8 cannot be after 7 steps"),
        ({"evaluated": 8}, "progress.evaluated = 8 cannot be after 7 steps"),
        ({"finite": 10**9}, "progress.finite = 1000000000 cannot be after 7 steps"),
        ({"skipped": 8}, "progress.skipped = 8 cannot be after 7 steps"),
        ({"skipped": 2.5}, "progress.skipped = 2.5 cannot be"),
        ({"skiped": 2}, "progress has an unknown key 'skiped': a newer version saved it"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(change, said):
    with pytest.raises(UserError, match=f"^checkpoint: {said}$"):
        Progress.from_state(STATE | change)


def test_progress_without_a_step_is_refused():
    with pytest.raises(UserError, match=r"^checkpoint: progress has no step$"):
        Progress.from_state({k: v for k, v in STATE.items() if k != "step"})
    with pytest.raises(UserError, match=r"^checkpoint: progress has no step$"):
        Progress.from_state([])  # type: ignore[arg-type]


class Lowest:
    """As much of a task as judging needs."""

    primary_metric, metric_mode = "objective", "min"


class Highest:
    primary_metric, metric_mode = "objective", "max"


def judged(task: Any, *evaluations: tuple[float, float]) -> tuple[list[int], Progress]:
    """The evaluations, each (value, standard error), that become the best, as the trainer goes through them."""
    progress, chosen = Progress(), []
    for number, (value, error) in enumerate(evaluations):
        metrics = {"objective": value} | ({"objective_standard_error": error} if error else {})
        improved = improves(progress, task, metrics)
        if is_best(progress, task, metrics):
            chosen.append(number)
            progress.best = {"step": number, **metrics}
        progress.record = metrics if improved else progress.record
        progress.without_improvement = 0 if improved else progress.without_improvement + 1
    return chosen, progress


@pytest.mark.parametrize(("task", "sign"), [(Lowest, -1), (Highest, 1)])
def test_of_equals_the_later_is_the_best(task, sign):
    exact = [(sign * value, 0.0) for value in (1.0, 3.0, 3.0, 2.9, 3.0, 4.0, 3.99)]
    assert judged(task, *exact)[0] == [0, 1, 2, 4, 5]


@pytest.mark.parametrize(("task", "sign"), [(Lowest, -1), (Highest, 1)])
def test_what_falls_short_by_a_standard_error_of_the_difference_at_most_is_equal(task, sign):
    # sqrt(0.3^2 + 0.4^2) = 0.5
    values = [(sign * 3.0, 0.3), (sign * 2.5, 0.4), (sign * 2.49, 0.4), (sign * 2.69, 0.1)]
    assert judged(task, *values)[0] == [0, 1, 3]


def test_many_small_steps_backwards_do_not_add_up():
    values = [(10.0 - 0.1 * step, 0.25) for step in range(10)]
    chosen, progress = judged(Highest, *values)
    # Each is measured against 10, whatever was chosen since: 10 - 0.1 n >= 10 - 0.354.
    assert chosen == [0, 1, 2, 3]
    assert progress.record["objective"] == 10.0
    assert progress.without_improvement == 9


def test_a_value_that_is_not_finite_is_never_the_best_and_an_error_that_is_not_counts_for_nothing():
    assert judged(Lowest, (math.nan, 1.0), (1.0, 1.0), (math.nan, 1.0), (math.inf, math.inf))[
        0
    ] == [1]
    assert judged(Lowest, (1.0, math.nan), (1.1, math.nan), (1.0, math.inf))[0] == [0, 2]


def test_a_target_is_reached_by_the_best_value_and_patience_counts_improvements_only():
    _, progress = judged(Highest, (10.0, 0.5), (9.8, 0.5), (9.9, 0.5))
    task: Any = Highest
    assert progress.best["objective"] == 9.9
    assert early_stop(EarlyStopping(target=10.0), progress, task) == "objective reached 10"
    assert (
        early_stop(EarlyStopping(patience=2), progress, task) == "no improvement in 2 evaluations"
    )
    assert early_stop(EarlyStopping(patience=3), progress, task) == ""


def test_a_run_of_an_earlier_version_is_judged_by_its_best():
    task: Any = Lowest
    older = Progress.from_state(
        {k: v for k, v in (STATE | {"best": BEST}).items() if k != "record"}
    )
    assert not is_best(older, task, {"objective": 0.6})
    assert is_best(older, task, {"objective": 0.5})
    assert not improves(older, task, {"objective": 0.5})
    assert improves(older, task, {"objective": 0.4})
