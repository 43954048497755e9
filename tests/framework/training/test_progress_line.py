"""The line that shows how far a run is: its columns at every width, its numbers, the time left."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from torch import nn

import framework
from framework.errors import ProgramError
from framework.plugin import registry
from framework.training.progress_line import ProgressLine, duration, number, shortened
from tests.runs import Diffobj

NUMBERS = {"train": "train/objective", "norm": "gradient/norm", "angle": "evaluation/angle_degrees"}
LONG = {"identity_over_chance": "a", "gradient": "b", "environment_steps_per_second": "c"}


def line(**given):
    """A line whose clock says 0 when it begins and is then set by hand."""
    now = [0.0]
    options: dict[str, Any] = {
        "steps": 500,
        "start": 0,
        "metric": "objective",
        "numbers": NUMBERS,
        **given,
    }
    return ProgressLine("javelin", clock=lambda: now[0], **options), now


def test_the_line_has_step_time_left_primary_metric_and_the_tasks_numbers():
    shown, now = line()
    now[0] = 3.0
    shown.update(120, {"train/objective": -53.8812, "gradient/norm": 107.25, "train/other": 1.0})
    shown.update(120, {"evaluation/objective": -57.1, "evaluation/angle_degrees": 23.444})
    left = "0:00:10"
    numbers = "objective  -57.1  train -53.88  norm  107.2  angle  23.44"
    assert shown.plain(120) == f"step 120/500 {left} left  {numbers}"
    assert shown.bar(100) == f"javelin {'━' * 4}{'─' * 13} 120/500 {left}  {numbers}"


def test_what_was_not_logged_yet_is_a_dash_in_its_column():
    shown, _ = line()
    before = shown.plain(120)
    shown.update(7, {"train/objective": 1.0, "evaluation/objective": 2.0})
    after = shown.plain(120)
    assert before == (
        "step   0/500 -:--:-- left  objective      -  train      -  norm      -  angle      -"
    )
    assert after.startswith(
        "step   7/500 0:00:00 left  objective      2  train      1  norm      -"
    )
    assert len(before) == len(after)
    assert shown.unseen == {"norm": "gradient/norm", "angle": "evaluation/angle_degrees"}


def test_the_final_evaluation_counts():
    shown, _ = line()
    shown.update(500, {"final/objective": -79.2, "final/angle_degrees": 45.0})
    assert "objective  -79.2" in shown.plain(120)
    assert "angle     45" in shown.plain(120)


@pytest.mark.parametrize(
    ("metric", "numbers", "steps"),
    [("objective", NUMBERS, 500), ("mean_average_precision", LONG, 1_000_000), ("AP", {}, 9)],
)
def test_no_line_is_too_wide_and_none_loses_a_number(metric, numbers, steps):
    shown, now = line(metric=metric, numbers=numbers, steps=steps)
    now[0] = 1e6
    tags = [f"evaluation/{metric}", *numbers.values()]
    shown.update(
        steps // 3, dict(zip(tags, (-1.23456e-5, 1.2e9, -0.123456, 12345.6), strict=False))
    )
    for width in range(80, 201):
        bar = shown.bar(width)
        for text in (shown.plain(width), bar):
            assert len(text) <= width
            assert f"{steps // 3}/{steps} " in text
            for value in ("-1e-05", "1.2e9", "-0.123", "1.23e4")[: len(tags)]:
                assert f" {value}" in text
        length = bar.count("━") + bar.count("─")
        assert length >= 5
        assert bar.count("━") == math.floor(length * (steps // 3) / steps)


def test_the_columns_of_all_lines_are_the_same():
    shown, _ = line()
    lengths = set()
    for step, value in ((1, 1.0), (20, -123.456), (300, 1e-9), (500, math.nan)):
        shown.update(step, dict.fromkeys(["evaluation/objective", *NUMBERS.values()], value))
        lengths.add((len(shown.plain(90)), shown.plain(90).index("norm")))
    assert len(lengths) == 1


def test_the_time_left_goes_by_the_speed_of_this_session_and_to_where_it_ends():
    shown, now = line(start=100, end=300)
    assert shown.seconds_left() is None
    now[0] = 20.0
    shown.update(140, {})
    # Half a second a step, 160 of them.
    assert shown.seconds_left() == 80.0
    shown.update(300, {})
    assert shown.seconds_left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-:--:--"), (0, "0:00:00"), (59.6, "0:01:00"), (3723, "1:02:03"), (35999, "9:59:59"),
     (36000, "10 h 00"), (359999, "99 h 59"), (360000, "4 d"), (1e9, "11574 d"), (1e30, "99999 d")],
)  # fmt: skip
def test_a_duration_has_seven_characters_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (45.0, "45"), (-53.8812, "-53.88"), (1234567.8, "1.23e6"), (-1234.5, "-1234"),
     (12345.6, "1.23e4"), (0.0001234567, "1.2e-4"), (-1.23456e-5, "-1e-05"), (-1e-300, "0"),
     (1e300, "1e+300"), (-1e300, "-1e300"), (math.nan, "nan"), (-math.inf, "-inf")],
)  # fmt: skip
def test_a_number_has_six_characters_at_most(value, text):
    assert number(value) == text
    assert len(number(value)) <= 6


def test_the_longest_names_are_cut_first_and_say_so():
    assert shortened(["objective", "train"], 14) == ["objective", "train"]
    assert shortened(["objective", "train"], 11) == ["objec.", "train"]
    assert shortened(["objective", "train"], 0) == ["ob.", "tr."]


@pytest.mark.parametrize("name", registry().names("tasks"))
def test_a_task_names_three_numbers_by_short_names(name):
    numbers = registry().component("tasks", name).load().progress_numbers
    assert len(numbers) <= 3
    assert all(len(short) <= 8 for short in numbers)
    prefixes = {tag.partition("/")[0] for tag in numbers.values()}
    assert prefixes <= {"train", "gradient", "evaluation", "time"}


class Named(framework.Task):
    """A task that names numbers of its own."""

    progress_numbers: ClassVar[Mapping[str, str]] = {"train": "train/objective", "odd": "train/odd"}

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)

    def objective(self, context, batch):
        context.cost(self.parameters["weight"].square().sum())


def test_a_number_that_was_never_logged_is_named_at_the_end(tmp_path, capsys, monkeypatch):
    options: dict[str, Any] = {
        "steps": 2,
        "estimator": "exact",
        "overrides": ["monitor.tensorboard=false"],
    }
    framework.train(Named(), folder=tmp_path / "run", progress=True, **options)
    said = "progress_numbers: 'odd' has shown nothing: no 'train/odd' was logged\n"
    assert capsys.readouterr().out.count(said) == 1
    monkeypatch.setattr(Named, "progress_numbers", dict.fromkeys("abcd", "train/objective"))
    with pytest.raises(ProgramError, match="names a, b, c, d; expected three at most"):
        framework.train(Named(), folder=tmp_path / "other", **options)


def test_every_number_that_javelin_names_is_shown(tmp_path, diffobj: Diffobj):
    outcome = diffobj(
        "train", "experiment=javelin", "trainer.steps=4", "trainer.log_every=2",
        "monitor.tensorboard=false", f"hydra.run.dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert "shown nothing" not in outcome.out
    lines = [li for li in outcome.out.splitlines() if li.startswith("step ")]
    assert lines
    assert "objective" in lines[-1]
    assert "  angle " in lines[-1]
    assert " -  " not in lines[-1]
