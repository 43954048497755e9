"""Coupled runs of a program: a base run, and counterfactual runs that differ from it in one layer of draws.

A counterfactual run copies the base run's draws before its layer, takes other values in it, and continues after it
with the base run's noise. Whatever changes in its cost is due to the layer; costs charged before the layer cancel.

A layer is a sequence of consecutive draws none of which depends on another: a draw whose parameters carry the sample
axis depends on an earlier draw and begins a new layer. Where one sample is run at a time,
dependence cannot be seen, so every draw is a layer.
Counterfactual runs lie beside each other on the sample axis, `[blocks * n, *batch, ...]`: the base run includes the
first layer's, and one more run serves all other layers. K layers cost (K + 1) n evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from framework.capabilities import alternatives
from framework.errors import ProgramError
from framework.gradients.coupled.coupling import BaseDraw, Coupling, hidden_randomness_error
from framework.gradients.coupled.run_rules import BaseRun, Branch, CounterfactualRun
from framework.gradients.coupled.soft_index import use_error
from framework.gradients.distributions.refusal import refuse_bounds
from framework.parameters import Parameters
from framework.program import Program
from framework.recording.rule import Always, Plain
from framework.recording.trace import Trace
from framework.relaxed import smoothing


@dataclass(eq=False)
class CoupledRuns:
    """A base run and what its counterfactual runs cost.

    Attributes:
        shape: `[n, *batch]`.
        draws: of the base run.
        objective: the hard objective, on the autograd graph: its derivative with the draws held fixed.
        returns: for each draw the costs charged after it in the base run, `[n, *batch]`.
        counterfactual_returns: the same in the counterfactual run of the draw's layer; equal to `returns` where there
            are no counterfactual runs.
        evaluations: how many samples of the objective were run.
        biased: whether the base run used a smooth operation or any run a surrogate gradient.
        hard: the hard objective's value: `objective`, or another run's where smooth operations took part in it.
    """

    shape: tuple[int, ...]
    draws: list[BaseDraw]
    objective: Tensor
    returns: list[Tensor]
    counterfactual_returns: list[Tensor]
    evaluations: int
    biased: bool
    hard: Tensor

    @property
    def size(self) -> int:
        """Samples times data: what the objective is a mean over."""
        return torch.Size(self.shape).numel()


def run_with_counterfactuals(
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    samples: int,
    *,
    counterfactuals: bool = True,
    paired: bool = True,
) -> Iterator[CoupledRuns]:
    """Run the program with a counterfactual run for each layer: once, or once per sample one sample at a time.

    Args:
        counterfactuals: False: the base run only.
        paired: run the first layer's counterfactual run beside the base run.

    Raises:
        IndexDrawn: `paired`, and a draw is an index to be relaxed.
    """
    refuse_recorded(program, coupling)
    for _ in range(samples if program.one_sample_at_a_time else 1):
        n = 1 if program.one_sample_at_a_time else samples
        beside = paired and counterfactuals and not program.one_sample_at_a_time
        with smoothing() as all_runs:
            with smoothing() as base_run:
                runs = run_base(program, parameters, batch, coupling, n, paired=beside)
            if base_run.used and beside and coupling.relaxes:
                # The relaxed draws beside it may be why the base run was smooth: run it alone.
                beside = False
                with smoothing() as base_run:
                    runs = run_base(program, parameters, batch, coupling, n, paired=beside)
            if counterfactuals:
                with torch.set_grad_enabled(coupling.relaxes):
                    add_counterfactuals(runs, program, parameters, batch, coupling, beside)
        runs.biased = base_run.used or all_runs.used_surrogate_gradient
        if base_run.used:
            with torch.no_grad():
                (trace,) = program.run(lambda site: Plain(), parameters, batch, samples=n)
            runs.hard = trace.objective()
            runs.evaluations += n
        yield runs


def run_base(
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    n: int,
    *,
    paired: bool,
) -> CoupledRuns:
    """The base run of n samples; `paired`: with the first layer's counterfactual run beside it."""
    blocks = 2 if paired else 1
    base = BaseRun(coupling, n, paired=paired, loop=program.one_sample_at_a_time)
    trace = run_with_rule(program, base, parameters, batch, blocks * n)
    refuse_observed(trace, base.draws, coupling)
    refuse_bounds(trace, coupling.name)
    for draw, recorded in zip(base.draws, trace.draws, strict=True):
        draw.per_datum = recorded.axes.per_datum
    returns = trace.costs_after(trace.charged())
    mean = trace.total_cost()[: n if coupling.relaxes else blocks * n].mean()
    return CoupledRuns(
        shape=(n, *trace.shape[1:]),
        draws=base.draws,
        objective=mean,
        returns=select_block(returns, 0, n),
        counterfactual_returns=select_block(returns, blocks - 1, n),
        evaluations=blocks * n,
        biased=False,
        hard=mean.detach(),
    )


def add_counterfactuals(
    runs: CoupledRuns,
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    paired: bool,
) -> None:
    """Run the counterfactual runs of the layers that the base run did not include."""
    branches = []
    for layer, members in groupby(enumerate(runs.draws), lambda item: item[1].layer):
        if layer > 0 or not paired:
            values = {i: counterfactual_value(coupling, draw) for i, draw in members}
            branches.append(Branch(values))
    for group in branches_per_run(branches, loop=program.one_sample_at_a_time):
        costs = counterfactual_costs(runs, program, parameters, batch, coupling, group)
        for block, branch in enumerate(group):
            indices = list(branch.values)
            selected = select_block([costs[i] for i in indices], block, runs.shape[0])
            for i, cost in zip(indices, selected, strict=True):
                runs.counterfactual_returns[i] = cost


def counterfactual_value(coupling: Coupling, draw: BaseDraw) -> Tensor:
    """The draw in its layer's counterfactual run, `[1, n, ...]`."""
    value = coupling.counterfactual(draw)
    if coupling.relaxes:
        draw.leaf = value.requires_grad_()
    return value.unsqueeze(0)


def branches_per_run(branches: Sequence[Branch], *, loop: bool) -> Iterator[Sequence[Branch]]:
    """The branches that one run can serve: all of them, or one block one sample at a time."""
    if loop:
        for branch in branches:
            for block in branch.split():
                yield [block]
    elif branches:
        yield branches


def counterfactual_costs(
    runs: CoupledRuns,
    program: Program,
    parameters: Parameters,
    batch: Any,
    coupling: Coupling,
    branches: Sequence[Branch],
) -> dict[int, Tensor]:
    """Run the branches together; returns for each draw the costs charged after it, `[blocks * n, *batch]`."""
    n = runs.shape[0]
    rule = CounterfactualRun(coupling, runs.draws, branches, n, loop=program.one_sample_at_a_time)
    blocks = rule.offsets[-1]
    runs.evaluations += blocks * n
    with explain_soft_index(rule):
        trace = run_with_rule(program, rule, parameters, batch, blocks * n)
    for branch in branches:
        for i in branch.values:
            if i not in rule.positions:
                raise hidden_randomness_error(runs.draws[i], coupling)
    costs = trace.costs_after(trace.charged())
    return {i: costs[position] for i, position in rule.positions.items()}


@contextmanager
def explain_soft_index(rule: CounterfactualRun) -> Iterator[None]:
    """Explain an error that the hard run, before, did not have.

    Raises:
        ProgramError: a relaxed index takes part in the run, and torch failed.
    """
    try:
        yield
    except (TypeError, RuntimeError, IndexError) as error:
        if not rule.soft:
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise use_error(rule.soft, rule.name, f"fails with it ({reason})") from error


def run_with_rule(
    program: Program,
    rule: BaseRun | CounterfactualRun,
    parameters: Parameters,
    batch: Any,
    samples: int,
) -> Trace:
    """One run with the same rule at every draw."""
    return program.run(Always(rule), parameters, batch, samples=samples)[0]


def select_block(values: Sequence[Tensor], block: int, n: int) -> list[Tensor]:
    """One block of n rows of each tensor; what was shared stays shared."""
    selected: dict[int, Tensor] = {}
    for value in values:
        if id(value) not in selected:
            selected[id(value)] = value[block * n : (block + 1) * n]
    return [selected[id(value)] for value in values]


def refuse_recorded(program: Program, coupling: Coupling) -> None:
    """Refuse programs of recorded episodes: they cannot be run with other draws."""
    if program.recorded_trajectories:
        raise ProgramError(
            f"'{coupling.name}' needs to play the episodes itself, and the program holds recorded ones; "
            f"{alternatives(recorded_actions=True)}"
        )


def refuse_observed(trace: Trace, draws: Sequence[BaseDraw], coupling: Coupling) -> None:
    """Refuse draws made earlier, which the base run has not recorded."""
    if len(trace.draws) > len(draws):
        made = [*(draw.site for draw in draws), ""]
        site = next(d.name for d, own in zip(trace.draws, made, strict=False) if d.name != own)
        raise ProgramError(
            f"draw '{site}' was made earlier, and '{coupling.name}' needs to draw it itself; "
            f"{alternatives(recorded_actions=True)}"
        )
