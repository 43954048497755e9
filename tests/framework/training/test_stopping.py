"""Where a run is, read from a checkpoint of any version; when its evaluations end it."""

import math
from typing import Any

import pytest

from framework.errors import UserError
from framework.training.stopping import Progress

STATE: dict[str, Any] = {
    "step": 7, "seconds": 1.5, "best": {"step": 4, "objective": 0.5}, "without_improvement": 1, "evaluated": 6,
    "skipped": 2, "skipped_in_a_row": 0, "finite": 6, "rolled_back": -2,
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
