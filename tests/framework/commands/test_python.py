"""Whatever a command does, a function does: its help names it, and the two agree."""

import importlib
import re
import sys

import pytest
import torch
from torch import nn
from torch.distributions import Normal

import framework
from framework import UserError
from framework.plugin import registry
from tests.runs import Diffobj

COMMANDS = registry().group("commands")


def resolved(name: str) -> object:
    """What a dotted name stands for: a public one of the framework's, or a module's."""
    first, *rest = name.split(".")
    found: object = importlib.import_module(first)
    for number, part in enumerate(rest):
        if not hasattr(found, part):
            importlib.import_module(".".join([first, *rest[: number + 1]]))
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.name)
def test_a_commands_help_names_what_does_the_same_from_python(command):
    said = " ".join(command.documentation().split()).partition("In Python: ")[2]
    names = re.findall(r"`((?:framework|plugins)\.[\w.]+)`", said)
    assert names, f"diffobj {command.name} --help has no line 'In Python: `...`'"
    for name in names:
        found = resolved(name)
        assert callable(found) or isinstance(found, property), name


class Aim(framework.Task):
    """Shoot at 0.6 with an unsteady hand."""

    model: nn.Linear

    def __init__(self, *, charged: bool = True) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.charged = charged
        nn.init.zeros_(self.model.weight)

    def objective(self, context, batch):
        shot = context.sample("shot", Normal(self.model.weight[0, 0], 0.1))  # [n]
        context.cost((shot - 0.6).square() if self.charged else shot.detach() * 0)  # [n]


def test_a_task_object_is_compared_and_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    aim = Aim()
    found = framework.compare(
        aim,
        estimators=["rloo", "reparameterisation", "arm"],
        seeds=[0, 1],
        overrides=["trainer.steps=30", "optimizer.learning_rate=0.1", "monitor.tensorboard=false"],
    )
    assert torch.equal(aim.model.weight, torch.zeros(1, 1))
    assert [row.estimator for row in found.rows] == ["rloo", "reparameterisation", "arm"]
    assert found.folder.parent == found.folder.parents[1] / "aim"
    rloo, path, arm = found.rows
    assert arm.refused.startswith("draw 'shot' ~ Normal: arm serves Bernoulli draws only; ")
    assert path.quality["variance"] < rloo.quality["variance"]
    for row in (rloo, path):
        # The cost at the aim is the spread's square, 0.01, and was 0.37.
        assert [r["metrics"]["objective"] < 0.1 for r in row.results] == [True, True]
        assert row.results[0] != row.results[1]
    assert str(found) == (found.folder / "comparison.md").read_text()
    assert (found.folder / "rloo" / "seed_1" / "config.yaml").is_file()


@pytest.mark.parametrize("estimators", [["rloo"], "rloo,spsa", []])
def test_a_comparison_needs_two_estimators(estimators):
    with pytest.raises(UserError, match="which estimators"):
        framework.compare("javelin", estimators=estimators)


def test_a_task_that_cannot_be_copied_is_refused_in_one_line(tmp_path):
    aim = Aim()
    aim.module = sys  # type: ignore[attr-defined]
    found = framework.compare(aim, estimators=["rloo", "spsa"], folder=tmp_path / "here")
    assert found.rows[0].refused.startswith("Aim cannot be copied for each training: ")
    with pytest.raises(UserError, match=r"^Aim cannot be copied for each training: "):
        framework.check_task(aim)


def test_a_task_object_is_checked_and_stays_as_it_is():
    aim, random = Aim(), torch.get_rng_state()
    found = framework.check_task(aim, estimator="rloo")
    assert found.ok
    assert [f.what for f in found.findings] == [
        "objective",
        "evaluation",
        "show",
        "gradient",
        "resume",
        "speed",
    ]
    assert str(found).endswith("Aim: all checks passed")
    assert torch.equal(aim.model.weight, torch.zeros(1, 1))
    assert torch.equal(torch.get_rng_state(), random)


def test_what_is_wrong_with_a_task_object_is_a_finding():
    found = framework.check_task(Aim(charged=False), estimator="rloo")
    assert not found.ok
    assert "FAIL objective" in str(found)
    assert str(found).endswith(": 1 to fix")


def test_the_listing_holds_what_the_command_prints(diffobj: Diffobj):
    found = framework.plugins()
    assert f"{found}\n" == diffobj("plugins").out
    assert found.components["tasks"]["javelin"].startswith("Find the release angle")
    assert found.experiments["cartpole"]
    assert found.broken == ()


def test_the_script_is_what_the_command_prints(diffobj: Diffobj):
    printed = diffobj("script", "experiment=javelin", "estimator=rloo", "trainer.steps=7").out
    assert framework.script("javelin", estimator="rloo", overrides=["trainer.steps=7"]) == printed


def test_a_plugin_is_written_where_it_is_said(tmp_path):
    home = framework.new_plugin("my_pictures", folder=tmp_path, data=True)
    assert home == tmp_path / "my_pictures"
    assert (home / "my_pictures" / "data.py").is_file()
    with pytest.raises(UserError, match="is there already; nothing was written"):
        framework.new_plugin("my_pictures", folder=tmp_path)


def test_an_objective_without_a_gradient_has_its_cause():
    def objective(context, parameters, batch):
        context.cost(context.sample("z", Normal(parameters["m"].detach(), 1.0)))

    found = framework.check(objective, {"m": torch.tensor(0.5)}, estimators=["rloo"], repeats=4)
    assert not found.ok
    assert found.no_gradient.startswith("neither a cost nor a draw ('z') is made from a parameter")
    assert str(found).endswith(f"no gradient: {found.no_gradient}")
