"""diffobj compare: one experiment by several estimators."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from framework.commands import compare
from tests.runs import Diffobj, result

SHORT = ["trainer.steps=20", "monitor.tensorboard=false", "monitor.progress=none"]


@pytest.fixture(scope="module")
def javelin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The javelin by three estimators, of which one cannot serve it, and two seeds."""
    folder: Path = tmp_path_factory.mktemp("compare") / "here"
    estimators = "estimators=[rloo,reparameterisation,arm]"
    place = f"hydra.run.dir={folder}"
    assert compare.run(["experiment=javelin", estimators, "seeds=[0,3]", *SHORT, place]) == 0
    return folder


def test_the_table_has_a_row_for_each_estimator_with_what_its_runs_reached(javelin):
    rows = {
        cells[1]: cells
        for line in (javelin / "comparison.md").read_text().splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) > 3
    }
    names = rows["estimator"]
    for estimator in ("rloo", "reparameterisation"):
        results = [result(javelin / estimator / f"seed_{seed}") for seed in (0, 3)]
        angles = [r["metrics"]["angle_degrees"] for r in results]
        mean = float(rows[estimator][names.index("angle_degrees")].partition(" ± ")[0])
        assert mean == pytest.approx(sum(angles) / 2, rel=1e-3)
        assert [r["steps"] for r in results] == [20, 20]


def test_an_estimator_that_cannot_serve_the_task_has_its_reason_for_a_row(javelin):
    (row,) = [r for r in json.loads((javelin / "comparison.json").read_text()) if r["refused"]]
    assert row["estimator"] == "arm"
    assert row["refused"].startswith("draw 'release' ~ Normal: arm serves Bernoulli draws only; ")
    assert f"| arm | {row['refused']} |" in (javelin / "comparison.md").read_text()


def test_reparameterisation_is_measured_with_less_variance_and_neither_as_biased(javelin):
    rows = json.loads((javelin / "comparison.json").read_text())
    quality = {row["estimator"]: row["quality"] for row in rows if not row["refused"]}
    assert quality["reparameterisation"]["variance"] < quality["rloo"]["variance"] / 10
    for figures in quality.values():
        assert abs(figures["bias_z"]) < 4
        assert figures["bias_low"] < 0 < figures["bias_high"]
        assert figures["seconds"] > 0
        product = figures["variance"] * figures["seconds"]
        assert figures["variance_times_seconds"] == pytest.approx(product)


def test_the_table_shows_the_interval_of_the_bias_and_its_two_references(javelin):
    page = (javelin / "comparison.md").read_text()
    assert "| bias (99 %) |" in page
    rows = {row["estimator"]: row for row in json.loads((javelin / "comparison.json").read_text())}
    low, high = (rows["rloo"]["quality"][f"bias_{end}"] for end in ("low", "high"))
    assert f"| {low:+.1%} to {high:+.1%} |" in page
    assert rows["rloo"]["reference"].count(" and ") == 2


def test_the_picture_is_in_the_folder_and_in_tensorboard(javelin):
    with Image.open(javelin / "comparison.png") as picture:
        width, height = picture.size
    events = EventAccumulator(str(javelin / "comparison"))
    events.Reload()
    (shown,) = events.Images("comparison")
    assert (shown.width, shown.height) == (width, height)
    assert "comparison/text_summary" in events.Tags()["tensors"]


def test_a_folder_that_holds_something_is_left_alone(javelin, diffobj: Diffobj):
    before = (javelin / "comparison.md").read_text()
    options = ("experiment=javelin", "estimators=[rloo,spsa]", f"hydra.run.dir={javelin}")
    outcome = diffobj("compare", *options)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {javelin} holds something already")
    assert (javelin / "comparison.md").read_text() == before


@pytest.mark.slow
def test_what_was_compared_before_an_error_is_kept(toy, tmp_path):
    folder = tmp_path / "here"
    options = ["experiment=toy", "task.fault=evaluate", "task.fault_at=0", "task.layers=plain"]
    with pytest.raises(RuntimeError, match="the evaluation is broken"):
        compare.run([*options, "estimators=[arm,rloo]", f"hydra.run.dir={folder}"])
    (row,) = json.loads((folder / "comparison.json").read_text())
    assert row["estimator"] == "arm"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("experiment=javelin",), "which estimators? "),
        (("experiment=javelin", "estimators=[rloo]"), "which estimators? "),
        (("estimators=[rloo,spsa]", "estimator=rloo"), "'estimator' is what is compared"),
        (("estimators=[rloo,spas]",), "unknown estimator 'spas'; did you mean 'spsa'?"),
        (("estimators=[rloo,spsa]", "seeds=[-1]"), "seed = -1: expected "),
    ],
)
def test_a_mistake_is_one_line(arguments, said, diffobj: Diffobj):
    outcome = diffobj("compare", *arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert outcome.err.count("\n") == 1
