"""What the framework costs: estimators and the trainer against hand-written torch loops.

Run: python -m experiments.benchmarks.overhead

Each pair is timed in turn within one run, on one thread; the hand-written loops are what a careful author would write
for this one objective and this one estimator.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Normal, RelaxedBernoulli

from experiments.benchmarks.pairs import ratio, report
from experiments.command import given_arguments
from framework import Context, Program, Task, estimate
from framework.gradients.estimator import Estimator
from framework.gradients.registered import make_estimator
from framework.task import Split
from framework.training.assembly import Components, choose_device

Call = Callable[[], object]


def score_function(draws: int, samples: int) -> tuple[Call, Call]:
    """REINFORCE with a leave-one-out baseline over Bernoulli draws."""
    parameters = {f"theta{i}": torch.zeros((), requires_grad=True) for i in range(draws)}

    def program(context: Context, parameters: Any, batch: Any) -> None:
        total = torch.zeros(context.samples)
        for i in range(draws):
            total = total + context.sample(f"b{i}", Bernoulli(logits=parameters[f"theta{i}"]))
        context.cost((total - 0.45 * draws) ** 2)

    def by_hand() -> None:
        total, log_prob = torch.zeros(samples), torch.zeros(samples)
        for i in range(draws):
            distribution = Bernoulli(logits=parameters[f"theta{i}"])
            b = distribution.sample((samples,))
            log_prob = log_prob + distribution.log_prob(b)
            total = total + b
        cost = (total - 0.45 * draws) ** 2
        baseline = (cost.sum() - cost) / (samples - 1)
        ((cost - baseline) * log_prob).mean().backward()

    return through(make_estimator("rloo", samples), program, parameters), fresh(by_hand, parameters)


def reparameterisation(draws: int, samples: int) -> tuple[Call, Call]:
    """The pathwise gradient over Normal draws."""
    parameters = {f"mean{i}": torch.zeros((), requires_grad=True) for i in range(draws)}

    def program(context: Context, parameters: Any, batch: Any) -> None:
        total = torch.zeros(context.samples)
        for i in range(draws):
            total = total + context.sample(f"x{i}", Normal(parameters[f"mean{i}"], 1.0))
        context.cost((total - 0.45 * draws) ** 2)

    def by_hand() -> None:
        total = torch.zeros(samples)
        for i in range(draws):
            total = total + Normal(parameters[f"mean{i}"], 1.0).rsample((samples,))
        ((total - 0.45 * draws) ** 2).mean().backward()

    estimator = make_estimator("reparameterisation", samples)
    return through(estimator, program, parameters), fresh(by_hand, parameters)


def gumbel(draws: int, samples: int) -> tuple[Call, Call]:
    """Relaxed Bernoulli draws; both report the objective of hard draws as well."""
    parameters = {f"theta{i}": torch.zeros((), requires_grad=True) for i in range(draws)}
    temperature = torch.tensor(0.5)

    def program(context: Context, parameters: Any, batch: Any) -> None:
        total = torch.zeros(context.samples)
        for i in range(draws):
            total = total + context.sample(f"b{i}", Bernoulli(logits=parameters[f"theta{i}"]))
        context.cost((total - 0.45 * draws) ** 2)

    def by_hand() -> Tensor:
        total = torch.zeros(samples)
        for i in range(draws):
            relaxed = RelaxedBernoulli(temperature, logits=parameters[f"theta{i}"])
            total = total + relaxed.rsample((samples,))
        ((total - 0.45 * draws) ** 2).mean().backward()
        with torch.no_grad():
            hard = torch.zeros(samples)
            for i in range(draws):
                hard = hard + Bernoulli(logits=parameters[f"theta{i}"]).sample((samples,))
            return ((hard - 0.45 * draws) ** 2).mean()

    return through(make_estimator("gumbel", samples), program, parameters), fresh(
        by_hand, parameters
    )


def vector_site(
    kind: str, size: int, samples: int, *, by_estimate: bool = False
) -> tuple[Call, Call]:
    """One draw of `size` elements; `by_estimate`: by `framework.estimate` instead of `backward`."""
    parameters = {"theta": torch.zeros(size, requires_grad=True)}
    theta = parameters["theta"]

    def distribution(theta: Tensor) -> Distribution:
        return Bernoulli(logits=theta) if kind == "rloo" else Normal(theta, 1.0)

    def program(context: Context, parameters: Any, batch: Any) -> None:
        z = context.sample("z", distribution(parameters["theta"]))
        context.cost((z - 0.45).square().sum(-1))

    def score_function_by_hand() -> None:
        drawn = distribution(theta)
        z = drawn.sample(torch.Size([samples]))
        cost = (z - 0.45).square().sum(-1)
        baseline = (cost.sum() - cost) / (samples - 1)
        ((cost - baseline) * drawn.log_prob(z).sum(-1)).mean().backward()

    def path_by_hand() -> None:
        z = distribution(theta).rsample(torch.Size([samples]))
        (z - 0.45).square().sum(-1).mean().backward()

    by_hand = score_function_by_hand if kind == "rloo" else path_by_hand
    if by_estimate:
        return partial(estimate, program, parameters, estimator=kind, samples=samples), fresh(
            by_hand, parameters
        )
    return through(make_estimator(kind, samples), program, parameters), fresh(by_hand, parameters)


def through(estimator: Estimator, function: Any, parameters: dict[str, Tensor]) -> Call:
    program = Program(function)
    return fresh(lambda: estimator.backward(program, parameters), parameters)


def fresh(call: Call, parameters: dict[str, Tensor]) -> Call:
    """The call with gradients cleared before."""

    def cleared() -> None:
        for parameter in parameters.values():
            parameter.grad = None
        call()

    return cleared


class Regression(Task):
    """A tiny supervised task: what the trainer adds shows most where a step costs least."""

    batch_axes = 1

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
        self.inputs, self.targets = torch.randn(32, 8), torch.randn(32, 1)

    def batches(self, program: Program, seed: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield self.inputs, self.targets

    def objective(self, context: Context, batch: tuple[Tensor, Tensor]) -> None:
        inputs, targets = batch
        context.cost((self.model(inputs) - targets).square())

    def evaluate(self, seed: int, split: Split = "test") -> dict[str, float]:
        return {"objective": (self.model(self.inputs) - self.targets).square().mean().item()}


STEPS = 2000


def train_by_framework() -> float:
    """CPU seconds of a training run by the framework, clipping and logging every 10 steps."""
    from framework.config.composition import compose
    from framework.config.validation import validate
    from framework.training.folders.run_folder import RunFolder
    from framework.training.monitor import Monitor
    from framework.training.trainer import Trainer
    from framework.training.updates.optimization import adam, constant

    overrides = [
        "task=javelin",
        f"trainer.steps={STEPS}",
        "trainer.clip_norm=1.0",
        "trainer.threads=1",
    ]
    settings = validate(compose([*overrides, "monitor.progress=none"]).config)
    task = Regression()
    optimizer = adam(task.parameters.values(), learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stdout(io.StringIO()):
        folder = RunFolder(Path(place) / "run")
        folder.open()
        device = choose_device("cpu")
        exact = make_estimator("exact")
        components = Components(device, task, exact, optimizer, constant(STEPS))
        trainer = Trainer(settings, components, folder)
        monitor = Monitor(
            folder.path, settings.monitor, experiment="regression", steps=STEPS, start=0
        )
        began = time.process_time()
        trainer.loop(monitor)
        seconds = time.process_time() - began
        monitor.close()
        folder.close()
    return seconds


def train_by_hand() -> float:
    """CPU seconds of the same run by a hand-written loop that logs the same numbers to TensorBoard and a file."""
    from torch.utils.tensorboard import SummaryWriter

    task = Regression()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-3)
    with tempfile.TemporaryDirectory() as place:
        writer, file = SummaryWriter(place), (Path(place) / "metrics.jsonl").open("w")
        total, began = torch.zeros(()), time.process_time()
        for step in range(1, STEPS + 1):
            optimizer.zero_grad()
            loss = (task.model(task.inputs) - task.targets).square().sum(-1).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
            optimizer.step()
            total += loss.detach()
            if step % 10 == 0:
                rate = step / (time.process_time() - began)
                numbers = {
                    "objective": total.item() / 10,
                    "norm": norm.item(),
                    "learning_rate": 1e-3,
                    "steps_per_second": rate,
                    "evaluations_per_second": rate,
                }
                for tag, value in numbers.items():
                    writer.add_scalar(tag, value, step)
                file.write(json.dumps({"step": step, **numbers}) + "\n")
                total = torch.zeros(())
        seconds = time.process_time() - began
        writer.close()
        file.close()
    return seconds


def trainer() -> tuple[float, float, float]:
    """The trainer's overhead, from whole runs in turn."""
    pairs = [(train_by_framework(), train_by_hand()) for _ in range(6)][1:]
    ratios = sorted(a / b for a, b in pairs)
    own, other = sorted(a for a, _ in pairs)[2], sorted(b for _, b in pairs)[2]
    return ratios[len(ratios) // 2], own / STEPS, other / STEPS


def main() -> None:
    torch.set_num_threads(1)
    for build in (score_function, reparameterisation, gumbel):
        name = build.__name__.replace("_", " ")
        report(f"{name}, 3 draws x 16 samples", ratio(*build(3, 16)), 1.5)
        report(f"{name}, 200 draws x 64 samples", ratio(*build(200, 64)), 1.15)
    for kind in ("rloo", "reparameterisation"):
        for size, samples, bar in ((3, 16, 1.5), (200, 64, 1.15), (10_000, 64, 1.05)):
            found = ratio(*vector_site(kind, size, samples))
            report(f"{kind}, one draw of {size} x {samples} samples", found, bar)
        found = ratio(*vector_site(kind, 3, 16, by_estimate=True))
        report(f"{kind}, the same of 3 x 16 by framework.estimate", found, 1.5)
    report("training step of a tiny model", trainer(), 1.10)


if __name__ == "__main__":
    given_arguments(__doc__, most=0)
    main()
