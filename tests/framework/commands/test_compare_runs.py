"""diffobj compare runs=FOLDER: what tells runs apart, and what is said of those that differ by the seed only."""

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import framework
from framework.errors import UserError
from tests.runs import Diffobj, files


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def run_folder(place: str, value: float | None, /, **settings: Any) -> None:
    """What a run of the javelin leaves of text; without a value it was stopped after its first evaluation."""
    folder = Path("runs", place)
    folder.mkdir(parents=True)
    config: dict[str, Any] = {"experiment": "javelin", "seed": 0, "task": {"name": "javelin"}}
    for key, given in settings.items():
        group, _, name = key.partition("__")
        if name:
            config.setdefault(group, {})[name] = given
        else:
            config[group] = given
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    session = {"started": "2026-11-28T10:00:00+0000", "primary_metric": "objective"}
    (folder / "manifest.jsonl").write_text(json.dumps(session) + "\n")
    lines: list[dict[str, Any]] = [
        {"step": 5, "seconds": 0.1, "evaluation/objective": -40.0, "train/objective": -39.0}
    ]
    if value is not None:
        lines += [
            {"step": 10, "seconds": 0.2, "evaluation/objective": value + 1, "train/objective": -50},
            {"step": 10, "seconds": 0.2, "final/objective": value, "final/range_metres": -value},
        ]
        (folder / "result.json").write_text(json.dumps({"seconds": 2.0, "metrics": {}}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def table(page: str) -> dict[str, list[str]]:
    """The rows of a table by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    return {cells[0]: cells for cells in lines}


def test_runs_that_differ_by_the_seed_only_are_one_row_and_the_best_is_first():
    for seed, value in enumerate((-70.0, -72.0, -77.0)):
        run_folder(f"a/{seed}", value, seed=seed, estimator__name="spsa", estimator__samples=4)
        run_folder(f"b/{seed}", value - 2, seed=seed, estimator__name="rloo", estimator__samples=8)
    found = framework.compare_runs("runs", folder="here")
    assert (found.metric, found.mode) == ("objective", "min")
    assert [group.name for group in found.groups] == ["estimator=rloo", "estimator=spsa"]
    assert [run.settings["seed"] for run in found.groups[0].runs] == [0, 1, 2]
    rows = table(str(found))
    spread = statistics.stdev((-70.0, -72.0, -77.0))
    assert rows["spsa"][:3] == ["spsa", "3", f"-73 ± {spread:.2g}"]
    assert list(rows) == ["estimator", "rloo", "spsa"]
    with open("here/comparison.csv") as file:
        listed = list(csv.DictReader(file))
    assert [row["objective"] for row in listed] == [
        "-72.0",
        "-74.0",
        "-79.0",
        "-70.0",
        "-72.0",
        "-77.0",
    ]
    assert listed[0] == {
        "run": "runs/b/0", "estimator": "rloo", "seed": "0", "state": "finished", "steps": "10",
        "seconds": "2.0", "objective": "-72.0", "range_metres": "72.0",
    }  # fmt: skip
    with Image.open("here/comparison.png") as picture:
        assert picture.size[0] > 1000


def test_what_follows_from_a_difference_is_none_of_its_own():
    run_folder(
        "0", -1.0, estimator__name="rloo", estimator__samples=8, optimizer__learning_rate=0.1
    )
    run_folder(
        "1", -2.0, estimator__name="rloo", estimator__samples=8, optimizer__learning_rate=0.2
    )
    run_folder("2", -3.0, estimator__name="spsa", estimator__radius=8, optimizer__learning_rate=0.1)
    run_folder("3", -4.0, estimator__name="spsa", estimator__radius=8, optimizer__learning_rate=0.2,
               monitor__progress="none")  # fmt: skip
    found = framework.compare_runs(["runs/0", "runs/1", "runs/2", "runs", "runs/0"], folder="here")
    assert [group.name for group in found.groups] == [
        "estimator=spsa optimizer.learning_rate=0.2",
        "estimator=spsa optimizer.learning_rate=0.1",
        "estimator=rloo optimizer.learning_rate=0.2",
        "estimator=rloo optimizer.learning_rate=0.1",
    ]
    assert [len(group.runs) for group in found.groups] == [1, 1, 1, 1]


def test_a_run_that_has_not_finished_is_counted_and_no_part_of_the_mean():
    run_folder("0", -70.0)
    run_folder("1", -72.0, seed=1)
    run_folder("2", None, seed=2)
    found = framework.compare_runs("runs", folder="here")
    (group,) = found.groups
    assert group.values("objective") == [-70.0, -72.0]
    assert "| 3 (1 stopped) | -71 ± 1.4 |" in str(found)


def test_another_metric_and_several_tasks():
    run_folder("0", -70.0)
    run_folder("1", -72.0, seed=1, experiment="rebar_toy", task__name="rebar_toy")
    found = framework.compare_runs("runs", metric="range_metres", folder="here")
    assert (found.metric, found.mode) == ("range_metres", "")
    assert "Final evaluations. Mean" in str(found)
    assert [group.name for group in found.groups] == ["experiment=javelin", "experiment=rebar_toy"]


def test_a_configuration_that_cannot_be_read_is_named_and_passed_over(capsys):
    run_folder("0", -70.0)
    run_folder("1", -72.0, seed=1)
    Path("runs/1/config.yaml").write_text("a: &x [1]\nb: *x\n")
    found = framework.compare_runs("runs", folder="here")
    assert [len(group.runs) for group in found.groups] == [1]
    assert (
        "runs/1/config.yaml: YAML aliases are refused; it is passed over" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs=nowhere"], "nowhere: there is no such folder"),
        (["runs=empty"], "no run in empty"),
        (["runs="], "which runs? diffobj compare runs=FOLDER"),
        (
            ["runs=runs", "metric=range_metre"],
            "metric = 'range_metre': did you mean 'range_metres'?",
        ),
        (["runs=runs", "folder="], "folder = '': expected a folder"),
        (["runs=runs", "seeds=[0,1]"], "unknown key 'seeds'; "),
    ],
)
def test_a_mistake_is_one_line(arguments, said, diffobj: Diffobj):
    run_folder("0", -70.0)
    Path("empty").mkdir()
    before = files(Path())
    outcome = diffobj("compare", *arguments)
    assert outcome.status == 2
    assert outcome.err.startswith(f"diffobj: {said}")
    assert outcome.err.count("\n") == 1
    assert files(Path()) == before


def test_the_command_says_what_the_function_says(diffobj: Diffobj):
    run_folder("a/0", -70.0, estimator__name="spsa")
    run_folder("b/0", -71.0, estimator__name="rloo")
    outcome = diffobj("compare", "runs=[runs/a,runs/b]", "folder=here")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith(str(framework.compare_runs("runs", folder="there")))
    assert outcome.out.splitlines()[-1] == str(Path("here").resolve())
    assert (
        diffobj("compare", "runs=runs/a", "runs=runs/b", "folder=again").out.splitlines()[:6]
        == (outcome.out.splitlines()[:6])
    )


def test_no_runs_are_refused():
    with pytest.raises(UserError, match="which runs"):
        framework.compare_runs([])
