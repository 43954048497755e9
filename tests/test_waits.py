"""Between two logs a training on an accelerator waits for nothing but what is named here, with its reason."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical

import framework
from framework import Program, ProgramError, waiting
from framework.gradients.registered import make_estimator
from framework.plugin import registry
from framework.recording.sampling import sampled, unvalidated
from framework.training.trainer import Trainer
from plugins.games.ended import EndedEpisodes, EpisodeStatistics
from plugins.games.environments.making import make_games
from plugins.sketching.raster import render
from plugins.sketching.strokes.canvas import Style
from plugins.sketching.strokes.drawing import Drawing, Strokes
from plugins.sketching.strokes.primitives import primitive
from tests.kernels import interpreted
from tests.waits import noted

# Where a wait stays, and why.
ON_PURPOSE = {
    "framework/randomness.py:fresh_key": "a key is drawn from the CPU's own generator, which has no queue",
    "framework/training/updates/queued.py:QueuedSteps.read": "the log: all counters at once",
    "framework/waiting.py:read": "the log: all that was noted",
    "plugins/games/rollouts.py:play": "whole episodes end when the last game has: one look in LOOK_EVERY steps",
    "plugins/games/ended.py:EndedEpisodes.read": "the log: all episodes that have ended",
}
QUIET = [
    "trainer.evaluate_every=0",
    "trainer.quality.every=0",
    "trainer.log_every=4",
    "trainer.steps=7",
    "monitor.tensorboard=false",
]
GAMES = ["task=cartpole_torch", "task.games=4", "task.evaluation_episodes=1", "task.hidden=[4]"]


def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *overrides: str) -> Counter[str]:
    """Where the steps 5 and 6 of a training wait, as if the CPU were an accelerator; a log follows the fourth."""
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    found: Counter[str] = Counter()
    step = Trainer.step

    def watched(self: Trainer, *arguments: Any) -> Any:
        if self.progress.step not in (4, 5):
            return step(self, *arguments)
        with noted() as seen:
            taken = step(self, *arguments)
        found.update(seen)
        return taken

    monkeypatch.setattr(Trainer, "step", watched)
    framework.train(folder=tmp_path / "run", overrides=[*overrides, *QUIET])
    return found


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "experiment=cartpole",
            "estimator=ppo",
            *GAMES,
            "task.rollout_steps=8",
            "estimator.epochs=1",
            "estimator.minibatches=1",
            "task.normalise_observations=true",
            "task.normalise_returns=true",
        ],
        ["experiment=cartpole_torch", *GAMES],
        pytest.param(
            [
                "experiment=cartpole_torch",
                "estimator=evolution_strategies",
                *GAMES,
                "estimator.samples=2",
                "estimator.directions=1",
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ppo", "rloo", "evolution strategies"],
)
def test_games_wait_for_nothing_else(monkeypatch, tmp_path, overrides):
    found = waits(monkeypatch, tmp_path, *overrides)
    assert [each for each in found if each.partition(" ")[0] not in ON_PURPOSE] == []


@pytest.mark.parametrize("name", registry().names("games.environments"))
def test_a_game_in_torch_copies_nothing_to_the_device(name):
    """Nor back; so that a rollout can be recorded as a CUDA graph."""
    games = make_games(name, 3)
    with noted() as found:
        games.reset(0)
        space = games.action_space
        choices = getattr(space, "n", None)
        for _ in range(3):
            actions = torch.zeros(3, *(space.shape or ()))
            games.step(actions if choices is None else actions.long())
    assert not found


def program(context: Any, parameters: Any, batch: Any) -> None:
    """A draw of each kind whose parameters torch would look at."""
    chosen = context.sample("chosen", Categorical(logits=parameters["logits"]))
    one = context.sample("one", OneHotCategorical(logits=parameters["logits"]))
    kept = context.sample("kept", Bernoulli(probs=parameters["logits"].sigmoid()))
    moved = context.sample("moved", Normal(parameters["logits"][0], parameters["scale"].exp()))
    context.cost((chosen - 1.0) ** 2 + one[..., 2] + kept.sum(-1) + moved**2)


def parameters() -> dict[str, Tensor]:
    return {
        "logits": torch.tensor([0.3, -0.2, 0.1], requires_grad=True),
        "scale": torch.tensor(0.0, requires_grad=True),
    }


@pytest.mark.parametrize("name", ["rloo", "reinforce", "evolution_strategies", "spsa", "arm"])
def test_an_estimator_of_the_core_waits_for_nothing(name):
    """After its first call, which looks at the program."""
    estimator, own = make_estimator(name, 4), Program(program)
    if name == "arm":
        own = Program(bits)
    estimator.backward(own, parameters())
    with noted() as found, waiting.deferred(torch.device("cpu")), unvalidated():
        estimator.backward(own, parameters())
    assert [each for each in found if each.partition(" ")[0] not in ON_PURPOSE] == []


def bits(context: Any, parameters: Any, batch: Any) -> None:
    drawn = context.sample("drawn", Bernoulli(logits=parameters["logits"]))
    context.cost((drawn.sum(-1) - parameters["scale"]) ** 2)


def test_a_drawing_of_lines_waits_for_nothing_by_tritons_kernel(monkeypatch):
    """Once it has been drawn: which strokes are there is known, and what is wrong is seen at the next log."""
    model = drawing()
    monkeypatch.setattr(render, "triton_suits", lambda points: True)
    with interpreted(), noted() as found, waiting.deferred(torch.device("cpu")):
        model().sum().backward()
        found.clear()
        model.confine(0.1, 10.0)
        model().sum().backward()
        assert not found
        model.widths.data.fill_(float("nan"))
        model()
        waiting.read()
        with pytest.raises(ProgramError, match="width has the value nan"):
            model()


def drawing() -> Drawing:
    strokes = Strokes(8 * torch.rand(2, 2, 2), torch.ones(2), torch.ones(2), torch.zeros(2, 3))
    style = Style("soft_or", False, False, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    return Drawing(primitive("line"), (8, 8), strokes, style, frozenset({"width"}))


@pytest.mark.parametrize(
    "how",
    [
        {"composition": "over", "colour": torch.full((2, 3), 0.5)},
        {"composition": "smooth_max", "filled": True},
        {"composition": "max", "profile": "flat", "taper": torch.tensor([0.5, 1.0, 0.5])},
    ],
    ids=["over", "fills", "tapered"],
)
def test_whatever_triton_renders_is_not_waited_for(how):
    points = (8 * torch.rand(2, 3, 2)).requires_grad_()
    with interpreted(), noted() as found, waiting.deferred(torch.device("cpu")):
        render.render(points, 1.0, 8, backend="triton", **how).sum().backward()
    assert not found


@pytest.mark.parametrize("name", ["rebar", "relax", "gumbel", "straight_through"])
def test_a_relaxation_waits_for_nothing(name):
    own = Program(bits)
    with noted() as found, waiting.deferred(torch.device("cpu")):
        estimator = make_estimator(name, 4)
        for _ in range(2):
            found.clear()
            with unvalidated():
                estimator.backward(own, parameters())
    assert [each for each in found if each.partition(" ")[0] not in ON_PURPOSE] == []


def test_what_waits_is_noted_with_its_place():
    with noted() as found:
        ended = EndedEpisodes.whole(EpisodeStatistics(torch.ones(3), torch.ones(3)))
        assert not found
        ended.read()
        for wait in (lambda x: float(x.sum()), lambda x: bool(x.any()), lambda x: x[x > 0]):
            wait(torch.ones(3))
        torch.ones(2).cpu()
        torch.tensor([1.0, 2.0], device="cpu")
    assert found == {
        "plugins/games/ended.py:EndedEpisodes.read tolist": 1,
        "elsewhere _local_scalar_dense": 2,
        "elsewhere index by a mask": 1,
        "elsewhere cpu": 1,
        "elsewhere tensor": 1,
    }


@pytest.mark.parametrize(
    "distribution",
    [
        Normal(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 0.1])),
        Bernoulli(probs=torch.tensor([0.0, 0.3, 1.0])),
        Categorical(logits=torch.tensor([0.2, -1.0, 1.0])),
        OneHotCategorical(probs=torch.tensor([0.0, 0.2, 0.8])),
        Independent(Normal(torch.zeros(2), torch.ones(2)), 1),
    ],
    ids=lambda d: type(d).__name__,
)
def test_draws_that_wait_for_nothing_follow_the_distribution(monkeypatch, distribution):
    monkeypatch.setattr(waiting, "queues", lambda device: True)
    torch.manual_seed(0)
    count = 40_000
    with waiting.deferred(torch.device("cpu")):
        drawn = sampled(distribution, torch.Size((count,)))
    own = distribution.sample(torch.Size((count,)))
    assert drawn.shape == own.shape
    assert drawn.dtype == own.dtype
    for power in (1, 2):
        a, b = drawn.double() ** power, own.double() ** power
        noise = ((a.var(0) + b.var(0)) / count).sqrt()
        assert ((a.mean(0) - b.mean(0)).abs() <= 4 * noise).all()
