"""What the framework costs beside hand-written loops: ARM, REBAR and RELAX at 200 draws x 64 samples.

    python -m experiments.benchmarks.overhead_coupling

The program draws 200 Bernoulli values one by one; a loop by hand makes the same 200 distributions and tunes the same
things. REBAR and RELAX are written by hand twice: as published, with a hard, a relaxed and a conditionally relaxed
value of each draw; and stacked, with the framework's own closed form in which one relaxed value serves both and all
draws' values are computed at once, which only a cost that takes stacked draws allows. Framework and hand are timed in
turn within one run; the ratio of the medians is printed. The bar is 1.5, against the loop as published.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Bernoulli

from experiments.command import given_arguments
from framework import Context, Program
from framework.gradients.control_variates.rebar import rebar, relax
from framework.gradients.coupled.arm import Arm
from framework.gradients.estimator import Estimator
from framework.parameters import Parameters

DRAWS, SAMPLES, ROUNDS, HIDDEN, BAR = 200, 64, 60, 32, 1.5
Step = Callable[[Tensor], None]
TARGET = torch.linspace(0.1, 0.9, DRAWS)


def cost(drawn: Tensor) -> Tensor:
    """`[n, draws]` -> `[n]`, not separable."""
    return (drawn - TARGET).square().mean(-1) + drawn.mean(-1).square()


def objective(context: Context, parameters: Parameters, batch: None) -> None:
    """200 draws, one cost."""
    logits = parameters["logits"].unbind()
    drawn = [context.sample(f"b{i}", Bernoulli(logits=logit)) for i, logit in enumerate(logits)]
    context.cost(cost(torch.stack(drawn, -1)))


def by_framework(estimator: Estimator) -> Step:
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


def published_by_hand(logits: Tensor) -> tuple[Tensor, ...]:
    """Hard, relaxed and conditionally relaxed values, and the score, `[n, draws]`."""
    hard, latent, conditional, score = [], [], [], []
    for logit in logits.unbind():
        law = Bernoulli(logits=logit)
        uniform, other = (torch.rand(SAMPLES).clamp(1e-6, 1 - 1e-6) for _ in range(2))
        z = law.logits + uniform.log() - (-uniform).log1p()
        b = (z > 0).float()
        inside = torch.where(b > 0, 1 - law.probs + other * law.probs, other * (1 - law.probs))
        hard.append(b)
        latent.append(z)
        conditional.append(law.logits + inside.log() - (-inside).log1p())
        score.append((b - law.probs).detach())
    return tuple(torch.stack(values, -1) for values in (hard, latent, conditional, score))


class ControlVariateByHand:
    """REBAR, or RELAX with a network in the relaxed cost's place; as published or stacked."""

    def __init__(self, network: torch.nn.Module | None, *, published: bool) -> None:
        self.network = network
        self.estimate = self.as_published if published else self.stacked
        self.log_temperature = torch.tensor(0.5).log().requires_grad_()
        self.eta = torch.tensor(1.0, requires_grad=True)
        self.tuned = [self.log_temperature, *(network.parameters() if network else [self.eta])]
        self.adam = torch.optim.Adam(self.tuned, lr=0.01)

    def __call__(self, logits: Tensor) -> None:
        gradient = self.estimate(logits)  # [draws], or [n, draws]
        square = gradient.square().sum(-1).mean()
        found = torch.autograd.grad(square, self.tuned, retain_graph=True)
        mean = gradient.detach().reshape(-1, DRAWS).mean(0)
        (mean * logits).sum().backward()
        for tensor, move in zip(self.tuned, found, strict=True):
            tensor.grad = move
        self.adam.step()

    def as_published(self, logits: Tensor) -> Tensor:
        hard, latent, conditional, score = published_by_hand(logits)
        relaxed, predicted = self.predict(latent), self.predict(conditional)
        difference = (relaxed - predicted).mean()
        (path,) = torch.autograd.grad(difference, logits, create_graph=True)
        return ((cost(hard) - predicted).unsqueeze(-1) * score).mean(0) + path

    def stacked(self, logits: Tensor) -> Tensor:
        drawn = draw_by_hand(logits)
        predicted = self.predict(drawn.latent)
        (slope,) = torch.autograd.grad(predicted.sum(), drawn.latent, create_graph=True)
        chance = torch.where(drawn.hard > 0, drawn.logits, -drawn.logits).sigmoid().detach()
        score = drawn.hard - drawn.logits.sigmoid().detach()
        missed = 1 - chance * (1 - (-drawn.latent.detach().abs()).exp())
        return (cost(drawn.hard) - predicted).unsqueeze(-1) * score + slope * missed

    def predict(self, latent: Tensor) -> Tensor:
        relaxed = (latent / self.log_temperature.exp()).sigmoid()
        if self.network is None:
            return self.eta * cost(relaxed)
        found: Tensor = self.network(relaxed)
        return found.squeeze(-1)


def new_network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(DRAWS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, 1)
    )


def ratio(ours: Step, theirs: Step) -> tuple[float, float, float]:
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
    by_name: dict[str, Estimator] = {"arm": Arm(samples=SAMPLES), "rebar": rebar(samples=SAMPLES)}
    by_name["relax"] = relax(samples=SAMPLES, hidden=HIDDEN)
    print(f"{DRAWS} draws x {SAMPLES} samples, one thread, medians of {ROUNDS} in turn")
    print(f"{'':20}{'framework':>12}{'by hand':>12}{'ratio':>8}")
    for name, form, hand in (
        ("arm", "as published", arm_by_hand),
        ("rebar", "as published", ControlVariateByHand(None, published=True)),
        ("rebar", "stacked", ControlVariateByHand(None, published=False)),
        ("relax", "as published", ControlVariateByHand(new_network(), published=True)),
        ("relax", "stacked", ControlVariateByHand(new_network(), published=False)),
    ):
        ours, theirs, times = ratio(by_framework(by_name[name]), hand)
        verdict = f"  over {BAR}" if times > BAR else ""
        print(f"{name + ', ' + form:20}{ours:9.2f} ms{theirs:9.2f} ms{times:7.2f}x{verdict}")


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    main()
