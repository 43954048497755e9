"""diffobj check: try a task, or an objective of your own, as a careful colleague would: diffobj check task=my_task

    diffobj check task=NAME [estimator=NAME] [key=value ...]
    diffobj check experiment=NAME [key=value ...]
    diffobj check environment=ID [key=value ...]
    diffobj check FILE.py:FUNCTION [estimators=[a,b]] [samples=64] [repeats=32] [seed=0] [parameters=NAME] [batch=NAME]

Checks the manifest, the configuration, the objective's contract, its gradient against finite differences, evaluation
and pictures, exact resume, and speed. Says what to fix; exits with 1 where something must be fixed. In Python:
`framework.check_task`, which takes a task object of your own, too.

An environment for game agents is checked by itself: spaces, seeds, ends, rewards, masks, autoreset, the cost of a step.

Of a function `(context, parameters, batch)` in a file of yours, which is imported and so runs, it prints which
estimators serve it, with bias, variance, CPU time and agreement with finite differences; the file's `parameters` (a
mapping of tensors, a list, a module) say where, its `batch`, if it has one, on what. In Python: `framework.check`.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from framework.commands import check_objective
from framework.config.schema import Settings
from framework.config.validation import validate
from framework.errors import ProgramError, UserError
from framework.given_task import copied, task_object
from framework.plugin import registry
from framework.run import check_arguments, composed, train
from framework.training.assembly import make_components, require_extras
from framework.training.together import own_torch_state

if TYPE_CHECKING:
    from torch import Tensor

    from framework.program import Program
    from framework.task import Task
    from framework.training.assembly import Components

# How many estimates, and finite differences, are compared.
REPEATS = 32
# What an estimator says first of an objective that depends on no parameter.
UNREACHED = "the objective depends on no parameter"
# The group of what plugins check besides tasks: a function of the arguments, by the key of the first of them.
SUBJECTS = "check.subjects"
QUIET = ("monitor.tensorboard=false", "trainer.checkpoint_every=0")


@dataclass(frozen=True)
class Finding:
    """What one check found: `fix` says what to do, empty where nothing is to be done."""

    what: str
    detail: str
    fix: str = ""

    def __str__(self) -> str:
        mark, fix = ("FAIL", f"\n       {self.fix}") if self.fix else ("ok", "")
        return f"{mark:<5}{self.what:<14}{self.detail}{fix}"


@dataclass(frozen=True)
class TaskCheck:
    """What the checks of a task found; printed, it is what `diffobj check` prints."""

    name: str
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing must be fixed."""
        return not any(finding.fix for finding in self.findings)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), conclusion(self.name, self.findings)])


Check = Callable[[], Finding]


def run(arguments: Sequence[str]) -> int:
    """Run all checks; returns 1 where something must be fixed."""
    if check_objective.names_a_function(arguments):
        return check_objective.run(arguments)
    subject = arguments[0].partition("=")[0] if arguments else ""
    if subject in registry().names(SUBJECTS):
        return registry().component(SUBJECTS, subject).load()(arguments)  # type: ignore[no-any-return]
    settings = validate(composed(None, {}, arguments).config)
    require_extras(settings)
    return report(settings.task.name, findings(settings, list(arguments)))


def check_task(
    experiment: str | Task | None = None,
    *,
    estimator: str | None = None,
    overrides: Sequence[str] = (),
) -> TaskCheck:
    """Try a task as a careful colleague would: contract, gradient, evaluation, pictures, resume, speed.

    Args:
        experiment: an experiment's name, or a task object of your own, which stays as it is; None: what
            `overrides` choose, such as "task=my_task".
        estimator: by registered name; None: the experiment's.
        overrides: "key=value", as on the command line.

    Raises:
        UserError: a mistake in the settings; what is wrong with the task is a finding with a `fix`.
    """
    own = task_object(experiment)
    check_arguments(overrides)
    chosen = {"experiment": experiment if own is None else None, "estimator": estimator}
    arguments = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    arguments += overrides
    settings = validate(composed(own, {}, arguments).config, registered=own is None)
    with own_torch_state():
        found = list(findings(settings, arguments, own))
    return TaskCheck(settings.task.name, found)


def report(name: str, found: Iterable[Finding]) -> int:
    """Print findings as they are made; returns 1 where something must be fixed."""
    kept = []
    for finding in found:
        kept.append(finding)
        print(finding, flush=True)
    print(conclusion(name, kept))
    return int(any(finding.fix for finding in kept))


def conclusion(name: str, found: Iterable[Finding]) -> str:
    """The last line: how many of the findings are to be fixed."""
    failed = sum(bool(finding.fix) for finding in found)
    return f"{name}: {f'{failed} to fix' if failed else 'all checks passed'}"


def findings(
    settings: Settings, arguments: list[str], own: Task | None = None
) -> Iterator[Finding]:
    """The checks in order; the first failure of the basic ones ends them, since the rest would only repeat it."""
    from framework.task import TrainingPlan

    if own is None:
        yield manifest(settings)
    components = make_components(settings, copied(own))
    program = components.task.program(components.estimator)
    components.task.begin(TrainingPlan(seed=settings.seed, steps=settings.trainer.steps))
    basics: dict[str, Check] = {
        "objective": lambda: contract(components, program, settings),
        "evaluation": lambda: evaluation(components),
        "show": lambda: pictures(components),
    }
    others: dict[str, Check] = {
        "gradient": lambda: gradient(components, settings),
        "resume": lambda: resume(arguments, own),
        "speed": lambda: speed(components, program, settings),
    }
    for what, check in (basics | others).items():
        finding = made(what, check)
        yield finding
        if finding.fix and what in basics:
            return


def made(what: str, check: Check) -> Finding:
    """What a check finds; where the task's code raises, that, with its line."""
    from framework.data import explained

    try:
        return check()
    except UserError as error:
        return Finding(what, "refused", str(error))
    except Exception as error:
        return Finding(what, "raised", explained(f"the task's {what}", error))


def manifest(settings: Settings) -> Finding:
    """The plugin's manifest must be light: listings import every one of them."""
    component = registry().component("tasks", settings.task.name)
    origin = next(f.origin for f in registry().found if f.name == component.plugin)
    code = (
        "import sys; from framework.plugin import _own_plugins_package as own; own(); "
        f"import {origin}; heavy = {{'torch', 'gymnasium', 'hydra', 'matplotlib'}} & set(sys.modules); "
        "print(*sorted(heavy))"
    )
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    heavy = done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]
    fix = f"import {heavy} in the task's module, not in {origin}/__init__.py" if heavy else ""
    return Finding("manifest", f"plugin '{component.plugin}' ({origin})", fix)


def contract(components: Components, program: Program, settings: Settings) -> Finding:
    """One estimate runs, is finite, reaches parameters, and is the same again from the same seed."""
    import torch

    try:
        first, gradients = one_estimate(components, program, settings, 0)
    except ProgramError as error:
        why = why_zero(components, program, settings) if str(error).startswith(UNREACHED) else ""
        return Finding("objective", "refused", why or str(error))
    again, _ = one_estimate(components, program, settings, 0)
    count = sum(bool(g.any()) for g in gradients)
    detail = f"objective {first:.4g}; {count} of {len(gradients)} parameters have a gradient"
    if not math.isfinite(first) or not all(torch.isfinite(g).all() for g in gradients):
        return Finding("objective", detail, "the objective or its gradient is not finite")
    if count == 0:
        why = why_zero(components, program, settings) or "does the cost depend on the model?"
        return Finding("objective", detail, f"no parameter has a gradient: {why}")
    if messages := program.findings.read():
        return Finding("objective", detail, messages[0])
    if first != again:
        fix = "twice the same seed gives different values: draw from torch's generators or framework.randomness only"
        return Finding("objective", f"{first} and then {again}", fix)
    return Finding("objective", detail)


def why_zero(components: Components, program: Program, settings: Settings) -> str:
    """Why no gradient reaches a parameter in batch 0; "" where it is not to be seen."""
    from framework.gradients.selection.zero_gradient import cause
    from framework.training.trainer import to_device

    batch = next(components.task.batches(program, settings.seed, 0))
    return cause(program, components.task.parameters, to_device(batch, components.device))


def one_estimate(
    components: Components, program: Program, settings: Settings, number: int
) -> tuple[float, list[Tensor]]:
    """The objective and the gradients of batch `number`."""
    from framework.randomness import key, seed_torch
    from framework.training.trainer import to_device

    task = components.task
    task.model.zero_grad()
    batches = task.batches(program, settings.seed, number)
    seed_torch(key(settings.seed, "check", number))
    batch = to_device(next(batches), components.device)
    estimate = components.estimator.backward(program, task.parameters, batch)
    gradients = [p.grad.clone() for p in task.parameters.values() if p.grad is not None]
    return estimate.value, gradients


def evaluation(components: Components) -> Finding:
    """Metrics are finite numbers, the same again from the same seed, and the primary metric is among them."""
    import torch

    task = components.task
    task.model.eval()
    with torch.no_grad():
        metrics, again = task.evaluate(1), task.evaluate(1)
    task.model.train()
    detail = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    if task.primary_metric not in metrics:
        return Finding("evaluation", detail, f"add the primary metric '{task.primary_metric}'")
    if wrong := [name for name, value in metrics.items() if not math.isfinite(value)]:
        return Finding("evaluation", detail, f"not finite: {', '.join(wrong)}")
    if metrics != again:
        return Finding(
            "evaluation", detail, "differs the second time: derive all randomness from the seed"
        )
    return Finding("evaluation", detail)


def pictures(components: Components) -> Finding:
    """What the task shows can be written."""
    import torch

    from framework.media import Media
    from framework.randomness import seeded

    components.task.model.eval()
    with torch.no_grad(), seeded(1), tempfile.TemporaryDirectory() as folder:
        shown = list(components.task.show(1))
        if wrong := [type(m).__name__ for m in shown if not isinstance(m, Media)]:
            return Finding("show", "", f"yield Image, Video or Text, not {', '.join(wrong)}")
        for media in shown:
            media.save(Path(folder))
    components.task.model.train()
    return Finding(
        "show", ", ".join(media.name for media in shown) or "nothing (a picture says more)"
    )


def gradient(components: Components, settings: Settings) -> Finding:
    """The estimator's slope along a random direction against finite differences of the objective."""
    import torch

    from framework.gradients.numerical import FiniteDifference
    from framework.randomness import generator, key, seed_torch
    from framework.training.trainer import to_device

    task, numerical = components.task, FiniteDifference(samples=64)
    program, played = task.program(components.estimator), task.program(numerical)
    random = generator(settings.seed, "direction")
    names = [name for name, p in task.parameters.items() if p.requires_grad]
    direction = {n: torch.randn(task.parameters[n].shape, generator=random) for n in names}
    length = torch.stack([d.square().sum() for d in direction.values()]).sum().sqrt()
    direction = {n: (d / length).to(components.device) for n, d in direction.items()}
    estimated, measured = [], []
    for number in range(REPEATS):
        one_estimate(components, program, settings, number)
        slopes = [
            (g * direction[n]).sum() for n in names if (g := task.parameters[n].grad) is not None
        ]
        estimated.append(float(torch.stack(slopes).sum()))
        seed_torch(key(settings.seed, "difference", number))
        batch = to_device(next(task.batches(played, settings.seed, number)), components.device)
        evaluate = numerical.evaluator(played, task.parameters, batch)
        shifts = (
            {n: task.parameters[n].detach() + h * direction[n] for n in names}
            for h in (0.01, -0.01)
        )
        sides = evaluate(shifts, 2)
        measured.append(float(sides[0] - sides[1]) / 0.02)
    a, b = torch.tensor(estimated), torch.tensor(measured)
    difference, scale = float(a.mean() - b.mean()), float(b.abs().mean())
    error = float(((a.var() + b.var()) / REPEATS).sqrt())
    detail = (
        f"slope {a.mean():.4g} by {settings.estimator.name}, {b.mean():.4g} by finite differences; "
        f"their difference is {abs(difference) / max(error, 1e-12):.1f} standard errors"
    )
    if abs(difference) <= max(4 * error, 0.02 * scale, 1e-6):
        return Finding("gradient", detail)
    fix = (
        "the estimator does not differentiate this objective: is a cost charged before its draw, a draw detached, "
        "or the objective discontinuous in a reparameterised draw?"
    )
    return Finding("gradient", detail, fix)


def resume(arguments: list[str], own: Task | None) -> Finding:
    """Four steps at once and two plus two must end with the same bits."""
    import torch

    from framework.training.checkpoints.checkpoint import load_newest

    with tempfile.TemporaryDirectory() as place:
        whole, parted = Path(place, "whole"), Path(place, "parted")
        common = [*arguments, *QUIET, "trainer.steps=4"]
        train(copied(own), overrides=common, folder=whole)
        train(copied(own), overrides=[*common, "trainer.stop_at=2"], folder=parted)
        train(copied(own), resume=parted, overrides=["trainer.stop_at=null"])
        ends = [load_newest(run / "checkpoints", print)["model"] for run in (whole, parted)]
    if all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0]):
        return Finding("resume", "4 steps at once = 2 + 2 steps, bit for bit")
    fix = "save what the objective remembers in state_dict, and derive batches from (seed, number) only"
    return Finding("resume", "4 steps at once differ from 2 + 2 steps", fix)


def speed(components: Components, program: Program, settings: Settings) -> Finding:
    """How fast a step is and where its time goes."""
    from framework.training.trainer import to_device

    batches, fetching, differentiating = (
        components.task.batches(program, settings.seed, 0),
        0.0,
        0.0,
    )
    steps = 0
    while steps < 3 or (fetching + differentiating < 1 and steps < 200):
        began = time.perf_counter()
        batch = to_device(next(batches), components.device)
        fetched = time.perf_counter()
        components.estimator.backward(program, components.task.parameters, batch)
        fetching += fetched - began
        differentiating += time.perf_counter() - fetched
        steps += 1
    total = fetching + differentiating
    share = fetching / total
    detail = f"{steps / total:.3g} steps/s, {share:.0%} of it making batches"
    return Finding("speed", detail)
