"""A study's runs are trained once, gone on with where they were stopped, and end the study when they are stopped."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

import framework
from experiments.runs import finished, records, result, trained

QUICK = (
    "experiment=javelin",
    "trainer.steps=6",
    "trainer.log_every=1",
    "trainer.checkpoint_every=3",
)


def logged_steps(place):
    return [record["step"] for record in records(place) if "train/objective" in record]


def test_a_run_is_trained_once(tmp_path, capsys):
    place = tmp_path / "run"
    assert not finished(place)
    assert trained(place, *QUICK) == place
    assert finished(place)
    before = (place / "metrics.jsonl").read_bytes()
    trained(place, *QUICK)
    assert (place / "metrics.jsonl").read_bytes() == before
    assert capsys.readouterr().err.count(f"{place} ...") == 1
    assert logged_steps(place) == [1, 2, 3, 4, 5, 6]


def test_a_run_that_was_stopped_goes_on(tmp_path):
    place = tmp_path / "run"
    trained(place, *QUICK)
    expected = result(place)["metrics"]
    stopped = result(place) | {"metrics": {}, "stopped": "signal"}
    (place / "result.json").write_text(json.dumps(stopped))
    assert not finished(place)
    trained(place, *QUICK)
    assert result(place)["metrics"] == expected


def test_a_stopped_run_stops_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(framework, "train", lambda **options: SimpleNamespace(stopped_by=2))
    with pytest.raises(SystemExit) as stopped:
        trained(tmp_path / "run", *QUICK)
    assert stopped.value.code == 130
