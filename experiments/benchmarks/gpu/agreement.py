"""Agreement with the CPU: the same inputs, the same numbers to 1e-4 of the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from experiments.benchmarks.gpu.drawing import curves
from experiments.benchmarks.gpu.figures import Figure, Machine
from framework import Context, Program
from framework.gradients.policy_gradient.advantages import Transitions, gae, upgo, vtrace
from framework.gradients.registered import make_estimator
from plugins.games.environments.making import make_games
from plugins.games.environments.native.games import NativeGames
from plugins.sketching.raster.render import render

TOLERANCE = 1e-4
# Steps of each game, at a level at which no rounding ends one game's episode a step earlier.
STEPS = 20


def agreement(machine: Machine) -> Iterator[Figure]:
    """The largest difference from the CPU, over the largest number."""
    for name, found in CHECKS.items():
        here, there = found(torch.device("cpu")), found(machine.device)
        pairs = zip(here, there, strict=True)
        each = [(b.cpu() - a).abs().max() / a.abs().max().clamp(min=1e-8) for a, b in pairs]
        # Of torch's: Python's own largest number may leave out one that is none.
        worst = float(torch.stack(each).max())
        yield Figure(f"difference from the CPU: {name}", worst, "", TOLERANCE, most=True)


def played(name: str) -> Callable[[torch.device], list[Tensor]]:
    """Observations and rewards of a native game from the same first states under the same actions."""

    def play(device: torch.device) -> list[Tensor]:
        torch.manual_seed(0)
        first = make_games(name, 64, "cpu")
        assert isinstance(first, NativeGames)
        first.reset(0)
        games = make_games(name, 64, device)
        games.load_state_dict(first.state_dict())
        draw = torch.Generator().manual_seed(1)
        space = games.action_space
        seen, rewards = [], []
        for _ in range(STEPS):
            if hasattr(space, "n"):
                actions = torch.randint(int(space.n), (64,), generator=draw)
            else:
                actions = torch.rand(64, *(space.shape or ()), generator=draw) - 0.5
            outcome = games.step(actions.to(device))
            running = ~(outcome.terminated | outcome.truncated | outcome.episode_start)
            seen.append(outcome.observations.float().flatten(1).sum(1) * running)  # type: ignore[union-attr]
            rewards.append(outcome.rewards * running)
            if not bool(running.all()):
                # First states are random.
                break
        return [torch.stack(seen), 1 + torch.stack(rewards)]

    return play


def advantages(device: torch.device) -> list[Tensor]:
    """GAE, V-trace and UPGO of random steps."""
    draw = torch.Generator().manual_seed(0)
    shape = (32, 64)
    rewards, values, following = torch.randn(3, *shape, generator=draw).to(device)
    chances = torch.rand(3, *shape, generator=draw).to(device)
    over, cut, valid = chances[0] < 0.05, chances[1] < 0.05, chances[2] < 0.95
    steps = Transitions(rewards, values, following, over, cut, valid)
    ratios = rewards.exp()
    return [gae(steps, 0.99, 0.95), *vtrace(steps, ratios, 0.99), upgo(steps, 0.99)]


def drawn(device: torch.device) -> list[Tensor]:
    """A picture of curves and their gradient."""
    points = curves(50, 64).to(device).requires_grad_()
    width = torch.linspace(0.5, 3, 50).to(device).requires_grad_()
    picture = render(points, width, 64)
    weight = torch.rand(64, 64, generator=torch.Generator().manual_seed(2)).to(device)
    (picture * weight).sum().backward()
    assert points.grad is not None
    assert width.grad is not None
    return [picture.detach(), points.grad, width.grad]


def painted(device: torch.device) -> list[Tensor]:
    """A picture of coloured shapes that cover each other, and the gradients of their edges and colours."""
    points = curves(12, 48).to(device).requires_grad_()
    colour = torch.rand(12, 3, generator=torch.Generator().manual_seed(3)).to(device)
    colour.requires_grad_()
    picture = render(points, 1.0, 48, colour=colour, opacity=0.8, composition="over", filled=True)
    weight = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(2)).to(device)
    (picture * weight).sum().backward()
    assert points.grad is not None
    assert colour.grad is not None
    return [picture.detach(), points.grad, colour.grad]


def exact(device: torch.device) -> list[Tensor]:
    """The gradient of an expectation over bits, by enumeration."""
    theta = torch.tensor([0.3, -1.0, 0.5], device=device, requires_grad=True)

    def program(context: Context, parameters: Any, batch: Any) -> None:
        bits = context.sample("bits", Bernoulli(logits=parameters["theta"]))
        context.cost((bits.sum(-1) - 1.35) ** 2)

    make_estimator("exact").backward(Program(program), {"theta": theta})
    assert theta.grad is not None
    return [theta.grad]


CHECKS: dict[str, Callable[[torch.device], list[Tensor]]] = {
    "cart-pole": played("cart_pole"),
    "bricks": played("bricks"),
    "pendulum": played("pendulum"),
    "advantages": advantages,
    "curves": drawn,
    "shapes": painted,
    "expectation": exact,
}
