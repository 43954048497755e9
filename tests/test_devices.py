"""What runs on a GPU finds all its tensors there, and waits for nothing: shown on one that computes nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal

import framework
from framework import Program, ProgramError, capture
from framework.gradients.registered import make_estimator
from framework.plugin import registry
from framework.recording.sampling import unvalidated
from framework.training import assembly
from framework.training.checkpoints.saving import Saving
from framework.training.trainer import Trainer
from plugins.games.task import Game
from plugins.sketching.raster.render import render
from tests.fake_gpu import GPU, LOOPS, fake_gpu
from tests.test_waits import ON_PURPOSE

OFF_POLICY = ("dqn", "td3", "sac")
RECORDED = ("a2c", "ppo", "vtrace", "upgo", "vtrace_upgo")
# It copies estimators with their tensors, which no fake tensor can be.
NOT_FAKE = ("automatic",)
# What reads numbers by design, to weigh or to walk.
READING = ("alpha_order",)


@pytest.mark.parametrize(
    ("environment", "estimator"),
    [
        ("cart_pole", "ppo"),
        ("bricks", "vtrace_upgo"),
        ("pendulum", "rloo"),
        *(
            pytest.param(environment, estimator, marks=pytest.mark.slow)
            for environment in ("acrobot", "snake", "key_door", "gold_rush", "mountain_car")
            for estimator in ("a2c", "upgo", "vtrace", "reinforce")
        ),
    ],
)
def test_games_are_played_learned_from_and_evaluated_there(environment, estimator):
    with fake_gpu() as found:
        game = Game(environment=environment, games=4, hidden=[4], rollout_steps=5, graph=False)
        game.model.to(GPU)
        own = make_estimator(estimator, None)
        program = game.program(own)
        batches = game.batches(program, 0, 0)
        for step in range(3):
            found.clear()
            batch = next(batches)
            with unvalidated(after=step > 0):
                own.backward(program, game.parameters, batch)
        assert [place for place in found if place.partition(" ")[0] not in LOOPS] == []
        with torch.no_grad():
            assert "return_mean" in game.evaluate(0, "validation")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["experiment=cartpole", "task=cartpole_torch", "estimator=ppo", "task.rollout_steps=4"],
        ["experiment=cartpole_torch"],
    ],
    ids=["ppo", "rloo"],
)
def test_a_whole_training_waits_for_nothing_but_what_is_named(tmp_path, monkeypatch, settings):
    """Graphs are not recorded: what would be is called."""
    # A graph is its function.
    monkeypatch.setattr(
        capture, "record", lambda function, stream: SimpleNamespace(replay=function)
    )
    monkeypatch.setattr(capture, "beside", lambda function, stream: function())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(assembly, "choose_device", torch.device)
    # No fake tensor can be written into a file.
    for name in ("save", "save_best"):
        monkeypatch.setattr(Saving, name, lambda *given: None)
    waits: set[str] = set()
    step = Trainer.step

    def watched(trainer: Trainer, *given: Any) -> Any:
        before = set(found)
        found.clear()
        taken = step(trainer, *given)
        if trainer.begun:
            waits.update(place.partition(" ")[0] for place in found)
        found.update(before)
        return taken

    monkeypatch.setattr(Trainer, "step", watched)
    quiet = ["trainer.quality.every=0", "trainer.log_every=4", "monitor.tensorboard=false"]
    small = ["task.games=4", "task.hidden=[4]", "task.evaluation_episodes=2", "trainer.steps=8"]
    with fake_gpu() as found:
        framework.train(
            folder=tmp_path / "run",
            overrides=[*settings, *quiet, *small, "trainer.device=cuda", "trainer.threads=null"],
        )
    assert waits <= set(ON_PURPOSE)
    assert waits


def bits(context: Any, parameters: Any, batch: Any) -> None:
    drawn = context.sample("drawn", Bernoulli(logits=parameters["mean"]))
    context.cost((drawn.sum(-1) - parameters["scale"]) ** 2)


def numbers(context: Any, parameters: Any, batch: Any) -> None:
    drawn = context.sample("drawn", Normal(parameters["mean"], parameters["scale"].exp()))
    context.cost((drawn.sum(-1) - 1.0) ** 2)


def indices(context: Any, parameters: Any, batch: Any) -> None:
    drawn = context.sample("drawn", Categorical(logits=parameters["mean"]))
    context.cost((drawn - parameters["scale"]) ** 2)


def leaves() -> dict[str, Tensor]:
    return {
        "mean": torch.zeros(3, device=GPU, requires_grad=True),
        "scale": torch.zeros((), device=GPU, requires_grad=True),
    }


@pytest.mark.one_in(4)
@pytest.mark.parametrize("program", [bits, numbers, indices], ids=lambda p: p.__name__)
@pytest.mark.parametrize(
    "name",
    [n for n in registry().names("estimators") if n not in (*RECORDED, *OFF_POLICY, *NOT_FAKE)],
)
def test_an_estimator_finds_all_its_tensors_there(name, program):
    with fake_gpu() as found:
        estimator = make_estimator(name, 16)
        own, parameters = Program(program), leaves()
        try:
            estimator.backward(own, parameters)
        except ProgramError:
            # It does not serve such a draw.
            return
        # After its first calls, which look at the program.
        estimator.backward(own, parameters)
        found.clear()
        with unvalidated():
            estimator.backward(own, parameters)
    assert not found or name in READING


def test_the_tree_of_draws_weighs_its_leaves_there():
    def branching(context: Any, parameters: Any, batch: Any) -> None:
        first = context.sample("first", Bernoulli(logits=parameters["mean"][0]))
        context.cost(first.sum() * parameters["scale"])

    def without_draws(context: Any, parameters: Any, batch: Any) -> None:
        context.cost(parameters["mean"].sum() - parameters["scale"])

    with fake_gpu():
        for program in (branching, without_draws):
            own = Program(program, one_sample_at_a_time=True)
            make_estimator("exact").backward(own, leaves())


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"composition": "over", "colour": torch.full((2, 3), 0.5)},
        {"filled": True, "profile": "flat", "composition": "max"},
        {"taper": torch.tensor([0.5, 1.0, 0.5]), "opacity": torch.tensor([0.5, 1.0])},
    ],
    ids=["lines", "over", "fills", "tapered"],
)
def test_a_picture_is_rendered_there_and_waits_for_nothing(how):
    with fake_gpu() as found:
        points = torch.zeros(2, 3, 2, device=GPU, requires_grad=True)
        given: dict[str, Any] = {
            name: torch.empty(value.shape, device=GPU) if isinstance(value, Tensor) else value
            for name, value in how.items()
        }
        picture = render(points, 1.0, 40, **given)
    assert picture.device.type == "cuda"
    assert not found


def test_what_stays_behind_is_found():
    with fake_gpu(), pytest.raises(RuntimeError, match="same device"):
        torch.zeros(2, device=GPU) + torch.zeros(2)


def test_what_waits_is_noted():
    with fake_gpu() as found:
        torch.zeros(2, device=GPU).sum().item()
        torch.zeros(2).to(GPU)
        torch.zeros(2).to(GPU, non_blocking=True)
    assert found == {"elsewhere read": 1, "elsewhere cpu to cuda": 1}
