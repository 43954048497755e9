"""Settings that were tuned for an estimator: where they stand, and what another estimator makes of them."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pytest

from framework.commands import train
from framework.config.composition import compose, config_options
from framework.config.tuning import PAIRS, untuned_notice
from framework.config.validation import validate
from framework.errors import UserError
from framework.plugin import registry


def composed(*overrides: str) -> Any:
    found = compose(overrides)
    settings = validate(found.config)
    return settings, untuned_notice(settings, found.choices, config_options())


def test_an_experiment_holds_the_settings_of_its_default_estimator():
    settings, notice = composed("experiment=pendulum")
    assert settings.estimator.name == "ppo"
    assert settings.estimator.options["discount"] == 0.95
    assert (settings.trainer.steps, settings.optimizer.options["learning_rate"]) == (4800, 0.001)
    assert notice == ""


def test_another_estimator_runs_with_the_experiments_settings_and_says_so():
    settings, notice = composed("experiment=pendulum", "estimator=rloo")
    assert "discount" not in settings.estimator.options
    assert notice == (
        "experiment pendulum is tuned for ppo, sac and td3; with estimator rloo it runs untuned: "
        "trainer.steps=4800, optimizer.learning_rate=0.001"
    )


def test_options_that_the_other_estimator_has_too_are_kept():
    settings, _ = composed("experiment=pendulum", "estimator=a2c")
    assert settings.estimator.options["discount"] == 0.95
    assert "epochs" not in settings.estimator.options


@pytest.mark.parametrize("estimator", ["a2c", "ppo", "reinforce", "rloo", "vtrace"])
def test_a_pair_with_settings_of_its_own_takes_them_and_says_nothing(estimator):
    settings, notice = composed("experiment=cartpole", f"estimator={estimator}")
    assert settings.optimizer.options["learning_rate"] > 0.001
    assert notice == ""


def test_a_pair_without_settings_names_those_that_have_some():
    pairs = [
        pair for pair in config_options()["experiment_estimator"] if pair.startswith("cartpole_")
    ]
    *names, last = sorted(pair.removeprefix("cartpole_") for pair in pairs)
    _, notice = composed("experiment=cartpole", "estimator=upgo")
    assert notice == (
        f"experiment cartpole is tuned for {', '.join(names)} and {last}; with estimator upgo it runs untuned: "
        "trainer.steps=1000, optimizer.learning_rate=0.001"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("task=acrobot", "estimator=rloo"),
        ("experiment=javelin", "estimator=spsa"),
        ("experiment=cartpole_smooth", "estimator=ppo"),
    ],
)
def test_nothing_is_said_where_no_settings_belong_to_an_estimator(overrides):
    assert composed(*overrides)[1] == ""


def test_an_option_that_the_user_gives_is_refused_and_not_dropped():
    with pytest.raises(UserError, match=r"unknown key 'estimator\.entropy_weight'"):
        composed("experiment=acrobot", "estimator=rloo", "estimator.entropy_weight=0.1")


def test_every_file_of_the_group_is_named_after_an_experiment_and_an_estimator():
    experiments, estimators = config_options()["experiment"], registry().names("estimators")
    for name in config_options()[PAIRS]:
        assert any(f"{e}_{s}" == name for e in experiments for s in estimators), name


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=3"]])
def test_the_notice_stands_below_the_start_summary(tmp_path, sweep):
    place = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        train.run(
            [
                *sweep,
                "experiment=branch_and_loop",
                "estimator=reinforce",
                "trainer.steps=1",
                "monitor.tensorboard=false",
                f"{place}={tmp_path / 'run'}",
            ]
        )
    lines = printed.getvalue().splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith("branch_and_loop: task ")]
    assert lines[at + 1].startswith("experiment branch_and_loop is tuned for rloo; with estimator")
