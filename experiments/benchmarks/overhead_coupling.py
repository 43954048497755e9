"""What the framework costs beside hand-written loops: ARM, REBAR and RELAX at 200 draws x 64 samples.

    python -m experiments.benchmarks.overhead_coupling

The program draws 200 Bernoulli values one by one; the loop by hand makes the same 200 distributions and draws, then
computes the same estimate on stacked tensors and tunes the same things. Both are timed in turn within one run; the
ratio of the medians is printed. The bar is 1.5.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from framework import Context, Program
from framework.gradients.control_variate import rebar, relax
from framework.gradients.coupling import Arm
from framework.gradients.estimator import Estimator
from framework.program import Parameters

DRAWS, SAMPLES, ROUNDS, HIDDEN, BAR = 200, 64, 60, 32, 1.5
TARGET = torch.linspace(0.1, 0.9, DRAWS)


def cost(drawn: Tensor) -> Tensor:
    """`[n, draws]` -> `[n]`, not separable."""
    return (drawn - TARGET).square().mean(-1) + drawn.mean(-1).square()


def objective(context: Context, parameters: Parameters, batch: None) -> None:
    """200 draws, one cost."""
    logits = parameters["logits"].unbind()
    drawn = [context.sample(f"b{i}", Bernoulli(logits=logit)) for i, logit in enumerate(logits)]
    context.cost(cost(torch.stack(drawn, -1)))


def by_framework(estimator: Estimator) -> Callable[[Tensor], None]:
    """One gradient of the program."""
    program = Program(objective)

    def step(logits: Tensor) -> None:
        estimator.backward(program, {"logits": logits})

    return step


def arm_by_hand(logits: Tensor) -> None:
    """(f(b) - f(b')) (u - 1/2)."""
    uniforms, first, second, kept = [], [], [], []
    for logit in logits.unbind():
        law = Bernoulli(logits=logit)
        uniform = torch.rand(SAMPLES)
        first.append((uniform > torch.sigmoid(-law.logits)).float())
        second.append((uniform < torch.sigmoid(law.logits)).float())
        uniforms.append(uniform)
        kept.append(law.logits)
    with torch.no_grad():
        difference = cost(torch.stack(first, -1)) - cost(torch.stack(second, -1))
        gradient = (difference.unsqueeze(-1) * (torch.stack(uniforms, -1) - 0.5)).mean(0)
    (gradient * torch.stack(kept)).sum().backward()


@dataclass
class Drawn:
    """What the loop of REBAR and RELAX leaves, stacked: `logits [draws]`, the others `[n, draws]`."""

    logits: Tensor
    hard: Tensor
    latent: Tensor


def draw_by_hand(logits: Tensor) -> Drawn:
    kept, hard, latent = [], [], []
    for logit in logits.unbind():
        law = Bernoulli(logits=logit)
        uniform = torch.rand(SAMPLES).clamp(1e-7, 1 - 1e-7)
        z = law.logits.detach() + uniform.log() - (-uniform).log1p()
        hard.append((z > 0).float())
        latent.append(z)
        kept.append(law.logits)
    return Drawn(torch.stack(kept), torch.stack(hard, -1), torch.stack(latent, -1).requires_grad_())


class ControlVariateByHand:
    """REBAR, or RELAX with a network in the relaxed cost's place."""

    def __init__(self, network: torch.nn.Module | None = None) -> None:
        self.network = network
        self.log_temperature = torch.tensor(0.5).log().requires_grad_()
        self.eta = torch.tensor(1.0, requires_grad=True)
        self.tuned = [self.log_temperature, *(network.parameters() if network else [self.eta])]
        self.adam = torch.optim.Adam(self.tuned, lr=0.01)

    def __call__(self, logits: Tensor) -> None:
        drawn = draw_by_hand(logits)
        relaxed = (drawn.latent / self.log_temperature.exp()).sigmoid()
        predicted = self.network(relaxed).squeeze(-1) if self.network else self.eta * cost(relaxed)
        (slope,) = torch.autograd.grad(predicted.sum(), drawn.latent, create_graph=True)
        chance = torch.where(drawn.hard > 0, drawn.logits, -drawn.logits).sigmoid().detach()
        score = drawn.hard - drawn.logits.sigmoid().detach()
        missed = 1 - chance * (1 - (-drawn.latent.detach().abs()).exp())
        gradient = (cost(drawn.hard) - predicted).unsqueeze(-1) * score + slope * missed
        found = torch.autograd.grad(gradient.square().sum(-1).mean(), self.tuned)
        (gradient.detach().mean(0) * drawn.logits).sum().backward()
        for tensor, move in zip(self.tuned, found, strict=True):
            tensor.grad = move
        self.adam.step()


def ratio(ours: Callable[[Tensor], None], theirs: Callable[[Tensor], None]) -> Sequence[float]:
    """Median milliseconds of both and the ratio of the medians, timed in turn."""
    times: list[list[float]] = [[], []]
    for turn in range(ROUNDS + 5):
        for step, kept in zip((ours, theirs), times, strict=True):
            logits = torch.linspace(-1, 1, DRAWS).requires_grad_()
            started = time.perf_counter()
            step(logits)
            if turn >= 5:  # the first ones warm up
                kept.append(1000 * (time.perf_counter() - started))
    first, second = (statistics.median(kept) for kept in times)
    return first, second, first / second


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(DRAWS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1)
    )
    pairs: dict[str, tuple[Estimator, Callable[[Tensor], None]]] = {
        "arm": (Arm(samples=SAMPLES), arm_by_hand),
        "rebar": (rebar(samples=SAMPLES), ControlVariateByHand()),
        "relax": (relax(samples=SAMPLES, hidden=HIDDEN), ControlVariateByHand(network)),
    }
    print(f"{DRAWS} draws x {SAMPLES} samples, one thread, medians of {ROUNDS} in turn")
    print(f"{'':8}{'framework':>12}{'by hand':>12}{'ratio':>8}")
    for name, (estimator, hand) in pairs.items():
        ours, theirs, times = ratio(by_framework(estimator), hand)
        verdict = "" if times <= BAR else f"  over the bar of {BAR}"
        print(f"{name:8}{ours:9.2f} ms{theirs:9.2f} ms{times:7.2f}x{verdict}")


if __name__ == "__main__":
    main()
