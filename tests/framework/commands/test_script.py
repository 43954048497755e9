"""diffobj script: one readable file whose optimiser steps leave the same bits as the trainer's."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import framework
from framework import UserError
from framework.commands.script import script, templates
from framework.plugin import ROOT
from tests.runs import Diffobj, forget_plugins, install, python

PAIRS = sorted(pair for pair, _ in templates())
ALLOWED = {*sys.stdlib_module_names, "torch", "gymnasium", "numpy"}
QUIET = ("monitor.tensorboard=false", "trainer.evaluate_every=0", "trainer.quality.every=0")


def written(pair, *changes):
    experiment, estimator = pair
    return script(experiment, estimator=estimator, overrides=changes)


def assert_same_bits(pair, tmp_path, *changes, steps):
    """Train both, on a budget of their own so that schedules are those of a whole run; returns the evaluations."""
    place = tmp_path / "training.py"
    place.write_text(written(pair, *changes))
    alone = runpy.run_path(str(place))
    found = alone["train"](steps)
    experiment, estimator = pair
    overrides = [*QUIET, "trainer.device=cpu", f"trainer.stop_at={steps}", *changes]
    run = framework.train(
        experiment, estimator=estimator, overrides=overrides, folder=tmp_path / "run"
    )
    assert run.step == steps
    ours = [found] if isinstance(found, torch.Tensor) else list(found.parameters())
    trained = list(run.task.parameters.values())
    assert len(ours) == len(trained)
    assert all(torch.equal(a, b) for a, b in zip(ours, trained, strict=True))
    return alone["evaluate"](found), run.metrics


def test_scripts_exist_for_these():
    assert PAIRS == [
        ("cartpole", "ppo"),
        ("cartpole", "rloo"),
        ("javelin", "reparameterisation"),
        ("javelin", "rloo"),
    ]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_short_formatted_and_imports_nothing_of_ours(pair, tmp_path):
    source = written(pair)
    assert len(source.splitlines()) < 250
    assert "$" not in source
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= ALLOWED
    place = tmp_path / "script.py"
    place.write_text(source)
    for settings in (["--isolated"], ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]):
        for verb in (["check"], ["format", "--check"]):
            subprocess.run([sys.executable, "-m", "ruff", *verb, *settings, place], check=True)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "pair",
    # Whole episodes take their time.
    [p if p != ("cartpole", "rloo") else pytest.param(p, marks=pytest.mark.slow) for p in PAIRS],
)
def test_its_first_hundred_steps_leave_the_trainers_bits(pair, tmp_path):
    # rloo's budget in cartpole is below 100 steps.
    steps = ["trainer.steps=120"] if pair == ("cartpole", "rloo") else []
    evaluation, metrics = assert_same_bits(pair, tmp_path, *steps, steps=100)
    assert evaluation == {name: metrics[name] for name in evaluation}


CHANGES = {
    ("javelin", "rloo"): ["estimator.samples=7", "task.start_degrees=70"],
    ("javelin", "reparameterisation"): ["estimator.samples=1", "optimizer.beta1=0.5"],
    ("cartpole", "rloo"): ["task.games=5", "task.hidden=[8,8]"],
    ("cartpole", "ppo"): [
        "task.games=5",
        "task.rollout_steps=7",
        "task.hidden=[8,8]",
        "estimator.minibatches=1",
        "estimator.entropy_weight=0.01",
        "estimator.normalise_advantages=false",
        "trainer.clip_norm=null",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_changed_settings_are_honoured(pair, tmp_path):
    changes = ["optimizer.learning_rate=0.002", "seed=3", "trainer.steps=30", *CHANGES[pair]]
    source = written(pair, *changes)
    assert "SEED = 3\n" in source
    assert "LEARNING_RATE = 0.002\n" in source
    assert_same_bits(pair, tmp_path, *changes, steps=20)


@pytest.mark.slow
def test_it_is_printed_and_runs_by_itself(tmp_path, diffobj: Diffobj):
    outcome = diffobj("script", "experiment=javelin", "estimator=rloo", "trainer.steps=20")
    assert outcome.status == 0
    (tmp_path / "alone.py").write_text(outcome.out)
    process = python("alone.py", cwd=tmp_path, path="")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    first, second, evaluation = out.splitlines()
    assert first.startswith("step 10: objective -")
    assert second.startswith("step 20: objective -")
    assert set(ast.literal_eval(evaluation)) == {"angle_degrees", "range_metres", "objective"}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("experiment=javelin", "estimator=spsa"),
            "there is no script of javelin with spsa; there is: cartpole with ppo, cartpole with rloo, "
            "javelin with reparameterisation, javelin with rloo",
        ),
        (("experiment=javelin", "trainer.ema=0.9"), "trainer.ema = 0.9: not honoured by the script of javelin"),
        (("experiment=javelin", "seed=1", "trainer.ema=0.9", "task.drag=1"), "task.drag = 1.0, trainer.ema = 0.9: "),
        (("experiment=javelin", "scheduler=linear"), "scheduler.name = \"linear\": "),
        (("experiment=javelin", "optimizer=sgd"), "optimizer.name = \"sgd\""),
        (("experiment=javelin", "estimator.sites={'r*':reparameterisation}"), "estimator.sites"),
        (("experiment=cartpole", "task.environment=Acrobot-v1"), "task.environment = \"Acrobot-v1\": "),
        (("experiment=cartpole", "estimator=ppo", "estimator.clip_value=0.2"), "estimator.clip_value = 0.2: "),
        (("experiment=javelin", "hydra.run.dir=x"), "'hydra.run.dir=x': a script is one training"),
        (("experiment=javelin", "-m"), "'-m': a script is one training"),
        (("experiment=javelin", "estimator.samples=0"), "estimator.samples = 0"),
        (("experiment=javelyn",), "unknown experiment 'javelyn'; did you mean 'javelin'?"),
    ],
)  # fmt: skip
def test_what_a_script_does_not_honour_is_refused_in_one_line(
    arguments, complaint, diffobj: Diffobj
):
    outcome = diffobj("script", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert complaint in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An installed plugin with nothing but a template for the javelin; its file."""
    package = tmp_path / "site" / "shipped"
    template = package / "scripts" / "javelin" / "spsa.py.txt"
    template.parent.mkdir(parents=True)
    manifest = "from framework.plugin import Plugin\nplugin = Plugin(name='shipped', summary='x')\n"
    (package / "__init__.py").write_text(manifest)
    install(tmp_path / "site", "shipped", "shipped")
    monkeypatch.syspath_prepend(tmp_path / "site")
    forget_plugins()
    yield template
    monkeypatch.undo()
    sys.modules.pop("shipped", None)
    forget_plugins()


def test_a_plugin_brings_scripts_of_its_own(shipped):
    shipped.write_text("STEPS = ${trainer.steps}\nNAME = ${task.name}\nPRICE = '$$5'\n")
    changes = ["trainer.steps=7"]
    assert written(("javelin", "spsa"), *changes) == "STEPS = 7\nNAME = \"javelin\"\nPRICE = '$5'\n"
    with pytest.raises(UserError, match=r"which honours task\.name, trainer\.steps"):
        written(("javelin", "spsa"), "seed=3")


def test_a_template_that_names_no_setting_is_refused(shipped):
    shipped.write_text("STEPS = ${trainer.stepps}\n")
    with pytest.raises(UserError, match=r"spsa\.py\.txt: there is no setting 'trainer\.stepps'"):
        written(("javelin", "spsa"))
