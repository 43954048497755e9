"""diffobj compare: one experiment by several estimators, written as a table, as data and as a picture."""

from __future__ import annotations

import json

import pytest

from framework.commands import compare
from framework.errors import UserError


def test_it_writes_what_was_measured_and_names_who_cannot_serve(tmp_path, capsys):
    place = tmp_path / "rebar_toy" / "now"
    estimators = "estimators=[rloo,straight_through,reparameterisation]"
    assert (
        compare.run(
            [
                "experiment=rebar_toy",
                estimators,
                "seeds=[0,1]",
                "trainer.steps=3",
                f"hydra.run.dir={place}",
            ]
        )
        == 0
    )
    folder = tmp_path / "compare" / "rebar_toy" / "now"
    assert (folder / "comparison.png").stat().st_size > 10_000
    rows = {row["estimator"]: row for row in json.loads((folder / "comparison.json").read_text())}
    unbiased, biased, unable = rows.values()
    assert unbiased["reference"] == "exact"
    assert unbiased["quality"]["bias_z"] < 4
    assert (unbiased["quality"]["biased"], biased["quality"]["biased"]) == (0, 1)
    assert len(unbiased["results"]) == len(unbiased["curves"]) == 2
    assert "draw 'coin' ~ Bernoulli has no differentiable path" in unable["refused"]
    assert not unable["results"]
    table = (folder / "comparison.md").read_text()
    assert table in capsys.readouterr().out
    assert [line.split("|")[1].strip() for line in table.splitlines()[-3:]] == list(rows)
    assert list((folder / "rloo" / "seed_1").glob("**/events.*"))
    assert list((folder / "comparison").glob("events.*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimators=[rloo]"], "which estimators"),
        (["estimators=[rloo,arm]", "estimator=spsa"], "'estimator' is what is compared"),
    ],
)
def test_it_asks_for_what_is_missing(arguments, words):
    with pytest.raises(UserError, match=words):
        compare.run(["experiment=rebar_toy", *arguments])
